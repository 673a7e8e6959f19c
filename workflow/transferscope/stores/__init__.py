"""Zarr stores that fill block by block, survive a kill, and are described by a manifest."""
