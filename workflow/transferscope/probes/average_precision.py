"""Average precision under many weightings of the groups at once.

Average precision is a sum over the positives of weight times precision at their score. Only
thresholds at the score of a positive matter; of all other tiles only their number per group between
two such thresholds is needed: a sparse matrix, which is multiplied by the weights.
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
from scipy import sparse

from transferscope.probes.metrics import ratio
from transferscope.runtime.arrays import Bools, Floats, Integers

VALUES_AT_ONCE = 4_000_000
# Bootstrap weights are float32; results have the precision of the weights.
Reals = npt.NDArray[np.floating]


def average_precision(true: Bools, score: Reals) -> Floats:
    """Return the average precision of each class, with equal weights.

    Parameters
    ----------
    true, score
        As in `weighted_average_precision`.

    Returns
    -------
    float64 [classes]
        NaN without positives.
    """
    group = np.zeros(len(true), dtype=np.int64)
    return np.asarray(weighted_average_precision(true, score, group, np.ones((1, 1)))[0])


def weighted_average_precision(
    true: Bools, score: Reals, group: Integers, weights: Reals
) -> Floats:
    """Return the average precision of each class under each weighting of the groups.

    Equal to scikit-learn's `average_precision_score(sample_weight=weights[draw][group])`.

    Parameters
    ----------
    true
        Label indicators, [tiles, classes].
    score
        Scores, higher if more likely, [tiles, classes].
    group
        Index of each tile's group, [tiles].
    weights
        Weight of each group in each draw, integers, [draws, groups]; fastest in Fortran order.

    Returns
    -------
    float64 [draws, classes]
        NaN if a draw has no positive of a class.
    """
    columns = [_one_class(true[:, j], score[:, j], group, weights) for j in range(true.shape[1])]
    return np.stack(columns, axis=1)


def _one_class(true: Bools, score: Reals, group: Integers, weights: Reals) -> Floats:
    if not true.any():
        return np.full(len(weights), np.nan)
    every, positive = _between_thresholds(true, score, group, weights.shape[1])
    step = max(1, VALUES_AT_ONCE // every.shape[0])
    blocks = (weights.T[:, start : start + step] for start in range(0, len(weights), step))
    parts = [_precision_of_draws(every, positive, np.ascontiguousarray(b)) for b in blocks]
    return np.concatenate(parts)


def _between_thresholds(
    true: Bools, score: Reals, group: Integers, n_groups: int
) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Count the tiles, and the positives, of each group between successive thresholds.

    Tiles of equal score share a threshold. Thresholds without a positive add no recall, and tiles
    below the last positive have no effect.
    """
    order = np.argsort(-score, kind="stable")
    ordered, labels, groups = score[order], true[order], group[order]
    threshold = np.concatenate([[0], np.cumsum(ordered[1:] != ordered[:-1])])
    with_positive = np.unique(threshold[labels])
    segment = np.searchsorted(with_positive, threshold)
    inside = segment < len(with_positive)
    shape = (len(with_positive), n_groups)

    def count(chosen: Bools) -> sparse.csr_array:
        ones = np.ones(int(chosen.sum()), dtype=np.float32)
        return sparse.csr_array((ones, (segment[chosen], groups[chosen])), shape=shape)

    return count(inside), count(labels)


def _precision_of_draws(
    every: sparse.csr_array, positive: sparse.csr_array, weights: Reals
) -> Floats:
    gained = positive @ weights
    found = _add_up(gained)
    retrieved = _add_up(every @ weights)
    # Above the highest score in a draw there are neither true nor false positives.
    precision = np.divide(found, retrieved, out=np.zeros_like(found), where=retrieved > 0)
    total = np.einsum("td,td->d", gained, precision, dtype=np.float64)
    return ratio(total, found[-1].astype(np.float64))


def _add_up(rows: Reals) -> Reals:
    """Return cumulative sums over rows; four times as fast as cumsum, which runs along columns."""
    sums = rows.copy()
    for previous, row in itertools.pairwise(sums):
        row += previous
    return sums
