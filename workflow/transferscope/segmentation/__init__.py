"""Segmentation: how well masks are predicted, as pixels, as outlines and as objects."""

# Raised when the results of its step change, so that its jobs run again.
VERSION = 2
