"""From fields to single cells: segmentation, measures, and a tile store with a tile a cell."""
