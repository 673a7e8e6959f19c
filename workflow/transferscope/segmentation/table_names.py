"""Columns and names of the tables of segmentation, which its step writes and others read."""

from __future__ import annotations

# The floor: every pixel of which the truth is known is called foreground, of each class.
ALL_FOREGROUND = "all-foreground"
DICE, JACCARD = "dice", "jaccard"
POOLED_DICE, POOLED_JACCARD = "pooled_dice", "pooled_jaccard"
# Of a training: validation loss of the weights that were kept, and the step after which they were.
VALIDATION_LOSS, STEPS = "validation_loss", "steps"
TASK = "segmentation"
DIVISION = ["head", "scheme", "seed", "fold", "fraction"]
# One row per decoder, division, test tile and class.
IMAGE_COLUMNS = [
    *DIVISION,
    "row",
    "tile_id",
    "group",
    "class",
    DICE,
    JACCARD,
    "floor_dice",
    "floor_jaccard",
    "overlap",
    "predicted",
    "true",
    "known",
]
# Tables of the comparison: scores, gains of one backbone over another, and up to where they hold.
MASK_SCORES, MASK_GAINS, MASK_LIMITS = MASK_TABLES = ("masks", "mask_gains", "mask_limits")
