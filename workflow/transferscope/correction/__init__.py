"""Correction of embeddings for batches: stores or tables in, corrected ones out."""
