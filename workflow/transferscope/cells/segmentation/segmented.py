"""What every segmentation method returns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transferscope.runtime.arrays import Integers, Labels, Mask, Pixels


@dataclass(frozen=True)
class SegmentedField:
    """The cells of one field.

    Parameters
    ----------
    cells
        [H, W] int32: each pixel's cell, counted 1, 2, 3 without gaps; 0 outside all cells.
    numbers
        [n] int64: the number that a cell has in the mask that it came from, in the same order.
    nuclei
        [H, W] bool: nuclei; a nucleus is that of the cell whose pixels it covers. None: unknown.
    """

    cells: Labels
    numbers: Integers
    nuclei: Mask | None = None

    @property
    def count(self) -> int:
        """Number of cells."""
        return len(self.numbers)


def counted(labels: Pixels, nuclei: Mask | None = None) -> SegmentedField:
    """Return the segmented field of instance labels with any numbers.

    One pass over the pixels, however many labels there are.

    Parameters
    ----------
    labels
        [H, W], not negative.
    nuclei
        [H, W] bool.
    """
    highest = int(labels.max(initial=0))
    if highest <= labels.size:
        present = np.flatnonzero(np.bincount(labels.ravel(), minlength=1))
        numbers = present[present > 0].astype(np.int64)
        lookup = np.zeros(highest + 1, np.int32)
        lookup[numbers] = np.arange(1, len(numbers) + 1)
        return SegmentedField(lookup[labels], numbers, nuclei)
    present, inverse = np.unique(labels, return_inverse=True)
    zero = int(present[0] == 0)
    cells = inverse.reshape(labels.shape).astype(np.int32) + (1 - zero)
    return SegmentedField(cells, present[zero:].astype(np.int64), nuclei)
