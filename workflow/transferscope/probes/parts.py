"""The columns of several stores that are joined: each store counts as much as any other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from transferscope.runtime.arrays import Floats


def part_columns(widths: Sequence[int]) -> list[slice]:
    """Return the columns of each part.

    Examples
    --------
    >>> part_columns([2, 3])
    [slice(0, 2, None), slice(2, 5, None)]
    """
    ends = np.cumsum(widths, dtype=np.int64).tolist()
    return [slice(end - width, end) for end, width in zip(ends, widths, strict=True)]


def part_weights(widths: Sequence[int]) -> Floats:
    """Return a weight for each standardised column, so that no part drowns another one.

    Columns of variance 1 make a part of d columns weigh d. With these weights, all P parts have the
    same total variance, and together that of one part of mean width m: the weight of a column is
    sqrt(m / (P d)). Products of rows are then the mean over the parts of their products, so that a
    store joined with its own copy is the same problem to a head with an L2 penalty.

    Parameters
    ----------
    widths
        Number of columns of each of P parts.

    Returns
    -------
    float64 [sum of widths]

    Examples
    --------
    >>> part_weights([1, 3]).round(3).tolist()
    [1.0, 0.577, 0.577, 0.577]
    """
    columns = np.asarray(widths, dtype=np.float64)
    return np.repeat(np.sqrt(columns.mean() / (len(columns) * columns)), widths)
