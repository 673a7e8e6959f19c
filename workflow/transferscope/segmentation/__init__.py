"""Segmentation: how well masks are predicted, as pixels, as outlines and as objects."""
