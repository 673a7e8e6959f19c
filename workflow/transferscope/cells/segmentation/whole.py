"""Each field is one cell."""

from __future__ import annotations

import numpy as np

from transferscope.cells.segmentation.segmented import SegmentedField


def whole_field(shape: tuple[int, int]) -> SegmentedField:
    """Return the segmented field in which every pixel is of cell 1.

    Parameters
    ----------
    shape
        Height and width in px.
    """
    return SegmentedField(np.ones(shape, np.int32), np.ones(1, np.int64))
