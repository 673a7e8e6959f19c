"""Label maps: images that hold the number of each pixel's object, and 0 outside."""

from __future__ import annotations

import numpy as np
import pandas as pd

from transferscope.runtime.arrays import Labels, Pixels


def numbered(labels: Pixels) -> Labels:
    """Return a label map with objects numbered 1, 2, 3, without gaps and in the same order.

    Parameters
    ----------
    labels
        Any shape; bool, or integers that are at least 0.

    Raises
    ------
    ValueError
        Where the values are something else.

    Examples
    --------
    >>> numbered(np.array([[0, 70, 70, 9]]))
    array([[0, 2, 2, 1]], dtype=int32)
    """
    if labels.dtype.kind not in "bui" or (labels.size and labels.min() < 0):
        raise ValueError("the numbers of objects are not integers that are at least 0")
    inside = labels != 0
    found = np.zeros(labels.shape, dtype=np.int32)
    # By hashing: sorting the pixels would take several times as long.
    found[inside] = pd.factorize(labels[inside], sort=True)[0] + 1
    return found
