"""Metrics of objects: panoptic quality, F1 at several overlaps, aggregated Jaccard indices.

Two label maps are reduced to the pairs of objects that overlap, of which there are about as many as
objects: a field with 10,000 cells takes seconds, and no table of all pairs. Numbers of objects may
have gaps; an object may be in several pieces. Where neither map has an object all metrics are NaN,
and where exactly one of them has none, or nothing matches, they are 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from transferscope.probes.metrics import ratio
from transferscope.runtime.arrays import Bools, Floats, Indices, Integers, Pixels
from transferscope.segmentation.label_maps import numbered

# Above a half, no object has two partners: matching needs no optimisation.
UNIQUE_IOU = 0.5
IOU_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
# Weight of the overlap among equally good assignments, so that they do not depend on numbering.
TIE_WEIGHT = 1e-10


@dataclass(frozen=True)
class Overlaps:
    """The objects of two label maps, and which of them overlap.

    Parameters
    ----------
    true, predicted
        Objects of each pair, counted from 0 in the order of their numbers, [pairs]; sorted by
        true, then predicted.
    pixels
        Pixels that the two have in common, at least 1, int64 [pairs].
    true_sizes, predicted_sizes
        Pixels of each object, int64 [objects].
    """

    true: Indices
    predicted: Indices
    pixels: Integers
    true_sizes: Integers
    predicted_sizes: Integers

    @property
    def unions(self) -> Integers:
        """Pixels that at least one of a pair has, int64 [pairs]."""
        return self.true_sizes[self.true] + self.predicted_sizes[self.predicted] - self.pixels

    @property
    def iou(self) -> Floats:
        """Intersection over union of each pair, float64 [pairs]."""
        return ratio(self.pixels, self.unions)


@dataclass(frozen=True)
class InstanceScores:
    """The metrics of one image; see the functions of the same names.

    Parameters
    ----------
    aji, aji_plus
        Aggregated Jaccard indices.
    pq, dq, sq
        Panoptic quality, and its factors: quality of detection and of segmentation.
    f1
        F1 score of objects by IoU threshold.
    n_true, n_predicted
        Numbers of objects.
    """

    aji: float
    aji_plus: float
    pq: float
    dq: float
    sq: float
    f1: dict[float, float]
    n_true: int
    n_predicted: int


def instance_scores(
    predicted: Pixels, true: Pixels, thresholds: Sequence[float] = IOU_THRESHOLDS
) -> InstanceScores:
    """Compute all metrics of one image.

    Parameters
    ----------
    predicted, true
        Number of each pixel's object, [H, W]; 0 outside.
    thresholds
        Values of IoU that a pair must exceed to match; at least 0.5.

    Raises
    ------
    ValueError
        Where the shapes differ, or the maps are not of integers that are at least 0.
    """
    found = overlaps_of(predicted, true)
    pq, dq, sq = panoptic_quality(found)
    return InstanceScores(
        aji=aggregated_jaccard(found),
        aji_plus=aggregated_jaccard_plus(found),
        pq=pq,
        dq=dq,
        sq=sq,
        f1={threshold: f1_of_objects(found, threshold) for threshold in thresholds},
        n_true=len(found.true_sizes),
        n_predicted=len(found.predicted_sizes),
    )


def overlaps_of(predicted: Pixels, true: Pixels) -> Overlaps:
    """Find which objects of two label maps overlap, and by how much.

    Parameters
    ----------
    predicted, true
        Number of each pixel's object, [H, W]; 0 outside.

    Raises
    ------
    ValueError
        Where the shapes differ, or the maps are not of integers that are at least 0.

    Examples
    --------
    >>> found = overlaps_of(np.array([[0, 7, 7, 9]]), np.array([[4, 4, 4, 0]]))
    >>> found.pixels.tolist(), found.true_sizes.tolist(), found.predicted_sizes.tolist()
    ([2], [3], [2, 1])
    """
    if predicted.shape != true.shape or predicted.ndim != 2:
        raise ValueError(f"{predicted.shape} and {true.shape} are not the same [H, W]")
    of_true, of_predicted = numbered(true), numbered(predicted)
    n_predicted = int(of_predicted.max(initial=0))
    in_both = (of_predicted > 0) & (of_true > 0)
    codes = (of_true[in_both] - 1).astype(np.int64) * n_predicted + (of_predicted[in_both] - 1)
    pairs, pixels = np.unique(codes, return_counts=True)
    first, second = np.divmod(pairs, max(n_predicted, 1))
    sizes = [np.bincount(objects.ravel(), minlength=1)[1:] for objects in (of_true, of_predicted)]
    return Overlaps(first, second, pixels, *sizes)


def f1_of_objects(found: Overlaps, threshold: float) -> float:
    """Return TP / (TP + FP / 2 + FN / 2), where pairs match whose IoU exceeds a threshold.

    Raises
    ------
    ValueError
        Where the threshold is below 0.5, so that an object could have several partners.
    """
    return _ratio(int(_matches(found, threshold).sum()), _mean_count(found))


def panoptic_quality(found: Overlaps) -> tuple[float, float, float]:
    """Return PQ = DQ x SQ, and its factors.

    Pairs match where IoU > 0.5. DQ, of detection, is the F1 score of objects; SQ, of segmentation,
    the mean IoU of the matched pairs (Kirillov et al. 2019, doi:10.1109/CVPR.2019.00963).
    """
    matched = found.iou[_matches(found, UNIQUE_IOU)]
    dq = _ratio(len(matched), _mean_count(found))
    # Without a match there is no mean, but the product is 0.
    sq = float(matched.mean()) if len(matched) else 0 * dq
    return dq * sq, dq, sq


def aggregated_jaccard(found: Overlaps) -> float:
    """Return the aggregated Jaccard index, AJI.

    Each true object is paired with the predicted one of the largest IoU, which may be that of
    another true object too; of equal ones, with the first. The sum of intersections is divided by
    the sum of unions, to which true objects that nothing overlaps, and predicted ones that were
    never chosen, contribute their size (Kumar et al. 2017, doi:10.1109/TMI.2017.2677499).
    """
    order = np.lexsort((found.predicted, -found.iou, found.true))
    _, first = np.unique(found.true[order], return_index=True)
    return _aggregated(found, order[first])


def aggregated_jaccard_plus(found: Overlaps) -> float:
    """Return AJI+, of which no object is in two pairs.

    As AJI, but with the one-to-one assignment whose sum of IoU is largest (Graham et al. 2019,
    doi:10.1016/j.media.2019.101563); of equally good ones, that with the larger overlap.
    """
    # Objects that overlap one another alone are a pair in any case: the solver sees the rest.
    degrees = [np.bincount(objects)[objects] for objects in (found.true, found.predicted)]
    contested = np.flatnonzero(np.maximum(*degrees) > 1)
    chosen = np.maximum(*degrees) == 1
    chosen[contested] = _best_assignment(
        found.true[contested],
        found.predicted[contested],
        found.iou[contested],
        found.pixels[contested],
    )
    return _aggregated(found, np.flatnonzero(chosen))


def _best_assignment(true: Indices, predicted: Indices, iou: Floats, pixels: Integers) -> Bools:
    """Return which pairs are in the one-to-one assignment with the largest sum of IoU, [pairs]."""
    if not len(iou):
        return np.zeros(0, dtype=bool)
    (rows, row), (columns, column) = (
        np.unique(objects, return_inverse=True) for objects in (true, predicted)
    )
    gain = iou + TIE_WEIGHT * pixels / pixels.sum()
    # A column of its own per true object, for no partner: so a full assignment always exists.
    alone = np.arange(len(rows))
    costs = np.concatenate([2 - gain, np.full(len(rows), 2.0)])
    places = (np.concatenate([row, alone]), np.concatenate([column, len(columns) + alone]))
    table = coo_array((costs, places), shape=(len(rows), len(columns) + len(rows)))
    partner = np.empty(len(rows), dtype=np.intp)
    assigned, its = min_weight_full_bipartite_matching(table.tocsr())
    partner[assigned] = its
    return np.asarray(partner[row] == column)


def _aggregated(found: Overlaps, pairs: Indices) -> float:
    """Return intersections over unions of some pairs, and of the objects in none of them."""
    alone = [
        sizes.sum() - sizes[np.unique(chosen[pairs])].sum()
        for sizes, chosen in (
            (found.true_sizes, found.true),
            (found.predicted_sizes, found.predicted),
        )
    ]
    return _ratio(int(found.pixels[pairs].sum()), int(found.unions[pairs].sum() + sum(alone)))


def _matches(found: Overlaps, threshold: float) -> Pixels:
    if threshold < UNIQUE_IOU:
        raise ValueError(f"at an IoU of {threshold}, an object could have several partners")
    return np.asarray(found.iou > threshold)


def _mean_count(found: Overlaps) -> float:
    """Return the mean number of objects of both maps, TP + FP / 2 + FN / 2."""
    return (len(found.true_sizes) + len(found.predicted_sizes)) / 2


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else float("nan")
