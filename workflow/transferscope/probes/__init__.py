"""What is asked of embeddings: labels, splits, heads, neighbours and their metrics."""
