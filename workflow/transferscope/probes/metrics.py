"""Classification metrics, each defined once: of tiles as they are, and of any weighting of groups.

Values equal scikit-learn's; what is undefined is NaN and is left out of macro averages.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transferscope.runtime.arrays import Bools, Floats, Floats32, Integers, Values

DEFAULT_THRESHOLD = 0.5


def metrics_of(truth: Bools, predicted: Bools) -> dict[str, Floats]:
    """Compute every metric that depends on counts alone; see `metrics_of_counts`.

    Parameters
    ----------
    truth, predicted
        Label indicators, [tiles, classes].
    """
    return metrics_of_counts(_outcomes(truth, predicted).sum(axis=0))


def count_by_group(true: Bools, predicted: Bools, group: Integers, n_groups: int) -> Floats32:
    """Count hits and misses per group.

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
        True positives, false positives and false negatives of each class, then the tiles whose
        label set is exactly right, then all tiles.
    """
    features = _outcomes(true, predicted)
    counts = np.zeros((n_groups, features.shape[1]), dtype=np.float32)
    if len(group):
        order = np.argsort(group, kind="stable")
        present, starts = np.unique(group[order], return_index=True)
        counts[present] = np.add.reduceat(features[order].astype(np.float32), starts, axis=0)
    return counts


def metrics_of_counts(counts: Values) -> dict[str, Floats]:
    """Compute every metric that depends on counts alone.

    Parameters
    ----------
    counts
        As `count_by_group` lays them out along the last axis, [..., 3 * classes + 2], summed over
        groups with any weights.

    Returns
    -------
    dict
        `macro_f1`, `micro_f1` and `accuracy` [...], `class_f1` [..., classes]. NaN where nothing
        is to be counted; such classes are left out of `macro_f1`, as scikit-learn's
        `f1_score(zero_division=nan)` leaves them out.
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
    """Return of each tile what `count_by_group` counts, [tiles, 3 * classes + 2]."""
    right = (truth == predicted).all(axis=1, keepdims=True)
    outcomes = [truth & predicted, predicted & ~truth, truth & ~predicted, right]
    return np.concatenate([*outcomes, np.ones_like(right)], axis=1)


def ratio(numerator: Values, denominator: Values) -> Floats:
    """Divide; NaN where the denominator is zero."""
    undefined = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    np.divide(numerator, denominator, out=undefined, where=denominator != 0)
    return undefined


def mean_of_defined(values: Floats, axis: int = -1) -> Floats:
    """Average over an axis, leaving out NaN; NaN where nothing is left."""
    return ratio(np.nansum(values, axis=axis), np.isfinite(values).sum(axis=axis).astype(float))


@dataclass(frozen=True)
class _Ranked:
    """Tiles by falling score, a class [..., N, C].

    `end` is the last rank with the same score, `hits_at_end` the positives up to there.
    """

    truth: Bools
    scores: Values
    end: Integers
    hits_at_end: Integers

    @classmethod
    def of(cls, truth: Bools, scores: Values) -> _Ranked:
        order = np.argsort(-scores, axis=-2, kind="stable")
        truth = np.take_along_axis(truth, order, axis=-2)
        scores = np.take_along_axis(scores, order, axis=-2)
        count = scores.shape[-2]
        is_end = np.ones(scores.shape, dtype=bool)
        is_end[..., :-1, :] = scores[..., :-1, :] != scores[..., 1:, :]
        rank = np.where(is_end, np.arange(count)[:, None], count)
        end = np.flip(np.minimum.accumulate(np.flip(rank, axis=-2), axis=-2), axis=-2)
        hits = np.take_along_axis(truth.cumsum(axis=-2), end, axis=-2)
        return cls(truth, scores, end, hits)


def best_thresholds(
    truth: Bools,
    scores: Values,
    minimum: int,
    otherwise: float = DEFAULT_THRESHOLD,
) -> Floats:
    """Return the threshold of each class with the best F1, float64 [..., C].

    Candidates lie halfway between neighbouring distinct scores, and at the lowest score; of equals
    the highest wins. All are tried in one pass over the sorted scores.

    Parameters
    ----------
    truth, scores
        Validation tiles, [..., N, C]. A class is predicted where score >= threshold.
    minimum
        A class with fewer positives or fewer negatives has no threshold of its own.
    otherwise
        The threshold of such a class.
    """
    if scores.shape[-2] == 0:
        return np.full((*scores.shape[:-2], scores.shape[-1]), otherwise)
    ranked = _Ranked.of(truth, scores)
    positives = truth.sum(axis=-2, keepdims=True)
    f1 = ratio(2.0 * ranked.hits_at_end, ranked.end + 1.0 + positives)
    best = f1.argmax(axis=-2, keepdims=True)
    last = np.take_along_axis(ranked.end, best, axis=-2)
    below = np.minimum(last + 1, scores.shape[-2] - 1)
    pair = [np.take_along_axis(ranked.scores, at, axis=-2)[..., 0, :] for at in (last, below)]
    thresholds = (pair[0].astype(np.float64) + pair[1].astype(np.float64)) / 2
    count = positives[..., 0, :]
    enough = (count >= minimum) & (scores.shape[-2] - count >= minimum)
    return np.where(enough, thresholds, otherwise)
