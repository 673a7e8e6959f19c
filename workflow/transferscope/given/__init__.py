"""Features and embeddings that exist already: a table as a dataset of its own, without images."""

# Raised when the tile table or the stores that are made of a table change.
VERSION = 1
