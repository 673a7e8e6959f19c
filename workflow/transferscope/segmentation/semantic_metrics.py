"""Metrics of predicted masks: overlap of pixels, and of outlines.

Where neither mask has a pixel there is nothing to find, and the value is NaN: a 1 would lift the
mean by images that are empty. Where exactly one of them is empty, the value is 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt

from transferscope.cells.outlines import outlines
from transferscope.probes.metrics import mean_of_defined, ratio
from transferscope.runtime.arrays import Bools, Floats, Integers, Mask, Pixels, Values

TOLERANCE_PX = 2.0


@dataclass(frozen=True)
class PixelCounts:
    """Pixels of predicted and true masks, of which the overlap metrics are made.

    Parameters
    ----------
    overlap
        Pixels in both masks, int64 [n].
    predicted, true
        Pixels in each mask, int64 [n].
    """

    overlap: Integers
    predicted: Integers
    true: Integers

    @property
    def pooled(self) -> PixelCounts:
        """The sums over all images, [1]."""
        parts = (self.overlap, self.predicted, self.true)
        return PixelCounts(*(part.sum(keepdims=True) for part in parts))


def count_pixels(predicted: Bools, true: Bools) -> PixelCounts:
    """Count the pixels of masks, both bool [n, H, W].

    Raises
    ------
    ValueError
        Where the shapes differ.
    """
    _check_shapes(predicted, true)
    masks = (predicted & true, predicted, true)
    return PixelCounts(*(np.count_nonzero(mask, axis=(1, 2)).astype(np.int64) for mask in masks))


def count_all_foreground(true: Bools) -> PixelCounts:
    """Count the pixels of a prediction that calls everything foreground.

    What this scores is the floor: any metric of a real prediction is read next to it.

    Parameters
    ----------
    true
        True masks, bool [n, H, W].
    """
    return count_pixels(np.ones_like(true), true)


def dice_of_counts(counts: PixelCounts) -> Floats:
    """Return 2 |P & T| / (|P| + |T|), float64 [n]; NaN where both are empty."""
    return ratio(2 * counts.overlap, counts.predicted + counts.true)


def jaccard_of_counts(counts: PixelCounts) -> Floats:
    """Return |P & T| / |P | T|, float64 [n]; NaN where both are empty."""
    return ratio(counts.overlap, counts.predicted + counts.true - counts.overlap)


def dice(predicted: Bools, true: Bools) -> Floats:
    """Return the Dice coefficient of each image, float64 [n].

    Parameters
    ----------
    predicted, true
        Masks, bool [n, H, W].

    Examples
    --------
    >>> predicted, true = np.array([[[1, 1, 0, 0]]]) > 0, np.array([[[0, 1, 1, 0]]]) > 0
    >>> float(dice(predicted, true)[0])
    0.5
    """
    return dice_of_counts(count_pixels(predicted, true))


def jaccard(predicted: Bools, true: Bools) -> Floats:
    """Return the Jaccard index (intersection over union) of each image, float64 [n]."""
    return jaccard_of_counts(count_pixels(predicted, true))


def pooled_dice(counts: PixelCounts) -> float:
    """Return the Dice coefficient of all pixels of all images; NaN where all are empty."""
    return float(dice_of_counts(counts.pooled)[0])


def pooled_jaccard(counts: PixelCounts) -> float:
    """Return the Jaccard index of all pixels of all images; NaN where all are empty."""
    return float(jaccard_of_counts(counts.pooled)[0])


def mean_over_groups(values: Floats, groups: Values) -> float:
    """Average over the images of each group, and then over groups; NaN where no value is defined.

    Parameters
    ----------
    values
        A metric per image, float64 [n]; NaN is left out.
    groups
        Name or number of each image's group, [n].
    """
    _, group = np.unique(groups, return_inverse=True)
    defined = ~np.isnan(values)
    sums = np.bincount(group[defined], weights=values[defined], minlength=1)
    counts = np.bincount(group[defined], minlength=1)
    return float(mean_of_defined(ratio(sums, counts)))


def boundary_f1(predicted: Pixels, true: Pixels, tolerance_px: float = TOLERANCE_PX) -> Floats:
    """Return the F1 score of the outlines of each image, float64 [n].

    Precision is the share of the predicted outline that is no further than the tolerance from the
    true one; recall is the share of the true outline that is as near to the predicted one (Csurka
    et al. 2013, doi:10.5244/C.27.32). NaN where neither has an outline, 0 where exactly one has.

    Parameters
    ----------
    predicted, true
        Masks, [n, H, W]: bool, or the number of each pixel's object, so that the line between two
        objects that touch counts too.
    tolerance_px
        Euclidean distance in px.

    Raises
    ------
    ValueError
        Where the shapes differ.
    """
    _check_shapes(predicted, true)
    pairs = zip(map(outlines, predicted), map(outlines, true), strict=True)
    return np.array([_outline_f1(*pair, tolerance_px) for pair in pairs], dtype=np.float64)


def _outline_f1(predicted: Mask, true: Mask, tolerance_px: float) -> float:
    if not predicted.any() or not true.any():
        return 0.0 if predicted.any() or true.any() else float("nan")
    precision = _share_near(predicted, true, tolerance_px)
    recall = _share_near(true, predicted, tolerance_px)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _share_near(outline: Mask, other: Mask, tolerance_px: float) -> float:
    """Return the share of an outline that is no further than the tolerance from another one."""
    return float((distance_transform_edt(~other)[outline] <= tolerance_px).mean())


def _check_shapes(predicted: Pixels, true: Pixels) -> None:
    if predicted.shape != true.shape or predicted.ndim != 3:
        raise ValueError(f"{predicted.shape} and {true.shape} are not the same [n, H, W]")
