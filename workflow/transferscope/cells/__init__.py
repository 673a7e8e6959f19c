"""From fields to single cells: segmentation, measures, and a tile store with one tile per cell."""

# Raised when the results of its step change, so that its jobs run again.
VERSION = 1
