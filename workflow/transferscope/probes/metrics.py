"""Classification metrics, of all tiles and under any weighting of groups.

Values equal scikit-learn's; undefined values are NaN and are excluded from macro averages.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from transferscope.runtime.arrays import Bools, Floats, Floats32, Integers, Values

DEFAULT_THRESHOLD = 0.5
# Metrics that depend on counts only, which are summed over the folds of a repeat.
COUNTED = ("macro_f1", "micro_f1", "accuracy", "class_f1")


def metrics_of(truth: Bools, predicted: Bools) -> dict[str, Floats]:
    """Compute all metrics that depend only on counts; see `metrics_of_counts`.

    Parameters
    ----------
    truth, predicted
        Label indicators, [tiles, classes].
    """
    return metrics_of_counts(count(truth, predicted))


def count(truth: Bools, predicted: Bools) -> Integers:
    """Count the outcomes of all tiles, int64 [3 * classes + 2]; see `count_by_group`."""
    return np.asarray(_outcomes(truth, predicted).sum(axis=0))


def count_by_group(true: Bools, predicted: Bools, group: Integers, n_groups: int) -> Floats32:
    """Count true and false predictions per group.

    Parameters
    ----------
    true, predicted
        Label indicators, [tiles, classes].
    group
        Index of each tile's group, [tiles].
    n_groups
        Number of groups.

    Returns
    -------
    float32 [n_groups, 3 * classes + 2]
        True positives, false positives and false negatives per class, then tiles with an exactly
        correct label set, then all tiles.
    """
    features = _outcomes(true, predicted)
    counts = np.zeros((n_groups, features.shape[1]), dtype=np.float32)
    if len(group):
        order = np.argsort(group, kind="stable")
        present, starts = np.unique(group[order], return_index=True)
        counts[present] = np.add.reduceat(features[order].astype(np.float32), starts, axis=0)
    return counts


def metrics_of_counts(counts: Values) -> dict[str, Floats]:
    """Compute all metrics that depend only on counts.

    Parameters
    ----------
    counts
        Columns of `count_by_group` on the last axis, [..., 3 * classes + 2], summed over groups
        with any weights.

    Returns
    -------
    dict
        `macro_f1`, `micro_f1` and `accuracy` [...], `class_f1` [..., classes]. NaN if the
        denominator is zero; such classes are excluded from `macro_f1`, as in scikit-learn's
        `f1_score(zero_division=nan)`.
    """
    n_classes = (counts.shape[-1] - 2) // 3
    sums = counts.astype(np.float64)
    hits = 2 * sums[..., :n_classes]
    misses = sums[..., n_classes : 2 * n_classes] + sums[..., 2 * n_classes : 3 * n_classes]
    class_f1 = ratio(hits, hits + misses)
    return {
        "macro_f1": mean_of_defined(class_f1, axis=-1),
        "micro_f1": ratio(hits.sum(axis=-1), (hits + misses).sum(axis=-1)),
        "accuracy": ratio(sums[..., -2], sums[..., -1]),
        "class_f1": class_f1,
    }


def _outcomes(truth: Bools, predicted: Bools) -> Bools:
    """Return the indicators that `count_by_group` counts, [tiles, 3 * classes + 2]."""
    right = (truth == predicted).all(axis=1, keepdims=True)
    outcomes = [truth & predicted, predicted & ~truth, truth & ~predicted, right]
    return np.concatenate([*outcomes, np.ones_like(right)], axis=1)


def ratio(numerator: Values, denominator: Values) -> Floats:
    """Divide; NaN if the denominator is zero."""
    undefined = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    np.divide(numerator, denominator, out=undefined, where=denominator != 0)
    return undefined


def mean_of_defined(values: Floats, axis: int = -1) -> Floats:
    """Average over an axis without NaN; NaN if no value is left."""
    return ratio(np.nansum(values, axis=axis), np.isfinite(values).sum(axis=axis).astype(float))


def best_thresholds(
    truth: Bools,
    scores: Values,
    minimum: int,
    otherwise: float = DEFAULT_THRESHOLD,
) -> Floats:
    """Return the threshold of each class with the best F1, float64 [..., C].

    Candidates are the midpoints between adjacent distinct scores, and the lowest score; of equally
    good ones the highest is taken. All are evaluated in one pass over the sorted scores.

    Parameters
    ----------
    truth, scores
        Validation tiles, [..., N, C]. A class is predicted where score >= threshold.
    minimum
        Classes with fewer positives or fewer negatives get `otherwise`.
    otherwise
        Threshold of such a class.
    """
    n = scores.shape[-2]
    positives = truth.sum(axis=-2)
    if n == 0:
        return np.full(positives.shape, otherwise)
    take = partial(np.take_along_axis, axis=-2)
    order = np.argsort(-scores, axis=-2, kind="stable")
    ranked = take(scores, order)
    end = _last_equal(ranked)
    hits = take(take(truth, order).cumsum(axis=-2), end)
    f1 = ratio(2.0 * hits, end + 1.0 + positives[..., None, :])
    last = take(end, f1.argmax(axis=-2, keepdims=True))
    below = np.minimum(last + 1, n - 1)
    pair = [take(ranked, at)[..., 0, :].astype(np.float64) for at in (last, below)]
    enough = (positives >= minimum) & (n - positives >= minimum)
    return np.where(enough, (pair[0] + pair[1]) / 2, otherwise)


def _last_equal(ranked: Values) -> Integers:
    """Return the last rank with the same score, for scores [..., N, C] in descending order."""
    n = ranked.shape[-2]
    is_last = np.ones(ranked.shape, dtype=bool)
    is_last[..., :-1, :] = ranked[..., :-1, :] != ranked[..., 1:, :]
    rank = np.where(is_last, np.arange(n)[:, None], n)
    return np.flip(np.minimum.accumulate(np.flip(rank, axis=-2), axis=-2), axis=-2)
