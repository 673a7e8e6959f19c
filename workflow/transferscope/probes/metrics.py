"""Classification metrics from counts, for many heads at once.

Arrays end in [N, C], tiles x classes; any leading axes are a batch. Values equal scikit-learn's;
what is undefined is NaN and is left out of macro averages.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True)
class Counts:
    """True positives, false positives and false negatives a class, int64 [..., C]."""

    true_positives: npt.NDArray[np.int64]
    false_positives: npt.NDArray[np.int64]
    false_negatives: npt.NDArray[np.int64]

    @classmethod
    def of(cls, truth: Bools, predicted: Bools) -> Counts:
        """Count over the tiles of [..., N, C]."""
        both = (truth & predicted).sum(axis=-2)
        return cls(both, predicted.sum(axis=-2) - both, truth.sum(axis=-2) - both)

    def total(self) -> Counts:
        """Return the counts summed over classes, [..., 1]."""
        return Counts(*(c.sum(axis=-1, keepdims=True) for c in vars(self).values()))

    def f1(self) -> Floats:
        """Return 2 tp / (2 tp + fp + fn), float64 [..., C]; NaN where that is 0 / 0."""
        doubled = 2.0 * self.true_positives
        return _divide(doubled, doubled + self.false_positives + self.false_negatives)


def _divide(numerator: npt.NDArray[Any], denominator: npt.NDArray[Any]) -> Floats:
    shape = np.broadcast_shapes(numerator.shape, denominator.shape)
    empty = np.full(shape, np.nan)
    return np.asarray(np.divide(numerator, denominator, out=empty, where=denominator != 0))


def mean_of_defined(values: Floats) -> Floats:
    """Return the mean over the last axis without NaN; NaN where nothing is defined."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # "Mean of empty slice"
        return np.asarray(np.nanmean(values, axis=-1))


def macro_f1(truth: Bools, predicted: Bools) -> Floats:
    """Return the mean F1 over the classes that occur or are predicted, [...]."""
    return mean_of_defined(Counts.of(truth, predicted).f1())


def micro_f1(truth: Bools, predicted: Bools) -> Floats:
    """Return F1 of the counts summed over classes, [...]."""
    return np.asarray(Counts.of(truth, predicted).total().f1()[..., 0])


def accuracy(truth: Bools, predicted: Bools) -> Floats:
    """Return the share of tiles whose set of classes is predicted exactly, [...]."""
    return np.asarray((truth == predicted).all(axis=-1).mean(axis=-1))


def average_precision(truth: Bools, scores: npt.NDArray[Any]) -> Floats:
    """Return the average precision of each class, float64 [..., C]; NaN without positives.

    The sum over distinct scores of (recall gained) x (precision), so that tied tiles count
    together, as in `sklearn.metrics.average_precision_score`.
    """
    ranked = _Ranked.of(truth, scores)
    precision = ranked.hits_at_end / (ranked.end + 1.0)
    return _divide((ranked.truth * precision).sum(axis=-2), ranked.truth.sum(axis=-2))


@dataclass(frozen=True)
class _Ranked:
    """Tiles by falling score, a class [..., N, C].

    `end` is the last rank with the same score, `hits_at_end` the positives up to there.
    """

    truth: Bools
    scores: npt.NDArray[Any]
    end: npt.NDArray[np.int64]
    hits_at_end: npt.NDArray[np.int64]

    @classmethod
    def of(cls, truth: Bools, scores: npt.NDArray[Any]) -> _Ranked:
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
    scores: npt.NDArray[Any],
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
    f1 = _divide(2.0 * ranked.hits_at_end, ranked.end + 1.0 + positives)
    best = f1.argmax(axis=-2, keepdims=True)
    last = np.take_along_axis(ranked.end, best, axis=-2)
    below = np.minimum(last + 1, scores.shape[-2] - 1)
    pair = [np.take_along_axis(ranked.scores, at, axis=-2)[..., 0, :] for at in (last, below)]
    thresholds = (pair[0].astype(np.float64) + pair[1].astype(np.float64)) / 2
    count = positives[..., 0, :]
    enough = (count >= minimum) & (scores.shape[-2] - count >= minimum)
    return np.where(enough, thresholds, otherwise)
