"""Known biology from embeddings: pairs of entities that databases know, and replicates."""

# Raised when tables change, so that finished studies make them again.
VERSION = 2
