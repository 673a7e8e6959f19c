"""Known biology from embeddings: pairs of entities that databases know, and replicates."""
