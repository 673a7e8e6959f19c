"""Columns and names of the tables of segmentation, which its step writes and others read."""

from __future__ import annotations

from typing import get_args

from transferscope.config.segmentation import DecoderName

# The floor: every pixel of which the truth is known is called foreground, of each class.
ALL_FOREGROUND = "all-foreground"
DICE, JACCARD = "dice", "jaccard"
POOLED_DICE, POOLED_JACCARD = "pooled_dice", "pooled_jaccard"
# Of single objects, where they are found.
PQ, AJI, F1 = "pq", "aji", "f1_50"
OBJECT_METRICS = ("pq", "dq", "sq", "aji", "aji_plus", "f1_50", "f1_60", "f1_70", "f1_80", "f1_90")
OBJECT_COLUMNS = [
    *OBJECT_METRICS,
    *(f"floor_{name}" for name in OBJECT_METRICS),
    "true_objects",
    "predicted_objects",
]
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
# In memory, and while a job runs: a predicted mask, as `kept_masks.packed` returns it.
MASK = "mask"
# Tables of the comparison: scores, gains of one backbone over another, and up to where they hold.
MASK_TABLES: tuple[str, ...] = ("masks", "mask_gains", "mask_limits")
# Out of domain: what each store loses there, and pairs of stores.
TESTED_ON = "tested_on"
SHIFT_TABLES: tuple[str, ...] = ("mask_shifts", "mask_shift_pairs")
# The same gains and limits of panoptic quality, where single objects are found.
OBJECT_TABLES: tuple[str, ...] = ("object_gains", "object_limits")


def tuned_decoder(decoder: str, mode: str) -> str:
    """Return the name of a decoder whose backbone was trained with it.

    Examples
    --------
    >>> tuned_decoder("unet", "full")
    'unet-full'
    """
    return f"{decoder}-{mode}"


def is_tuned_decoder(name: str) -> bool:
    """Tell whether a decoder's backbone was trained with it.

    Examples
    --------
    >>> is_tuned_decoder("unet-last-2"), is_tuned_decoder("conv-image")
    (True, False)
    """
    return name not in (ALL_FOREGROUND, *get_args(DecoderName))
