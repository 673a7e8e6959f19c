"""Correction of embeddings for batches: stores or tables in, corrected ones out."""

# Raised when corrected values change, so that finished studies make them again.
VERSION = 2
