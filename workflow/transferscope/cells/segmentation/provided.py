"""Cells from a mask that the sample sheet names."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from transferscope.cards import ProvidedMasks
from transferscope.cells.segmentation.segmented import SegmentedField, counted
from transferscope.cells.segmentation.splitting import split_touching
from transferscope.runtime.arrays import Labels, Mask, Pixels

WHITES = (1, 255, 65535)


def cells_of_mask(
    mask: Pixels, settings: ProvidedMasks, nuclei: Mask | None = None
) -> SegmentedField:
    """Return the cells of a mask.

    Parameters
    ----------
    mask
        [H, W], bool or integer, not negative.
    settings
        How to read it.
    nuclei
        [H, W] bool, where a mask of the nuclei is given, too.
    """
    binary = settings.values == "binary" or (settings.values == "auto" and is_binary(mask))
    if not binary:
        return counted(mask, nuclei)
    separate = split_touching if settings.split else connected
    return counted(separate(mask > 0), nuclei)


def is_binary(mask: Pixels) -> bool:
    """Return whether a mask holds one value in addition to 0, and one that means cell."""
    if mask.dtype == np.bool_:
        return True
    highest = int(mask.max(initial=0))
    return highest in WHITES and bool(((mask == 0) | (mask == highest)).all())


def connected(mask: Mask) -> Labels:
    """Return the connected pieces of a mask (neighbours across corners too), numbered from 1."""
    labels, _ = ndimage.label(mask, structure=np.ones((3, 3)), output=np.int32)
    return np.asarray(labels)
