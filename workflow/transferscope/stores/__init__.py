"""Zarr stores that are written block by block, resume after a kill, and have a manifest."""
