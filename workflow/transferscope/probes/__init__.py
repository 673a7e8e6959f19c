"""Evaluation of frozen embeddings: labels, splits, heads, nearest neighbours and metrics."""
