"""Objects that touch, split where they narrow: a watershed on the distance to their edge."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from transferscope.runtime.arrays import Labels, Mask

# A seed is the top of its neighbourhood, this share of an object's usual radius wide.
SEED_RADIUS = 0.75
# The distance map is smoothed by this share of the usual radius: rough edges give no seeds.
DISTANCE_SMOOTHING = 0.2


def split_touching(mask: Mask, diameter: float | None = None) -> Labels:
    """Split a mask into objects that are about round.

    Parameters
    ----------
    mask
        [H, W].
    diameter
        About how wide an object is, in px; None: judged from the mask.

    Returns
    -------
    ndarray
        [H, W] int32, objects numbered from 1.
    """
    from skimage.segmentation import watershed

    distance = np.asarray(ndimage.distance_transform_edt(mask), np.float32)
    radius = diameter / 2 if diameter else usual_radius(mask, distance)
    if radius <= 0:
        return np.zeros(mask.shape, np.int32)
    smooth = ndimage.gaussian_filter(distance, DISTANCE_SMOOTHING * radius)
    seeds = _seeds(smooth, mask, max(1, round(SEED_RADIUS * radius)))
    corners = np.ones((3, 3))
    return np.asarray(watershed(-smooth, seeds, connectivity=corners, mask=mask), np.int32)


def usual_radius(mask: Mask, distance: npt.NDArray[np.float32]) -> float:
    """Return the median over connected pieces of the largest distance to the edge, in px.

    Weighted by area, so that specks of noise do not count.
    """
    pieces, count = ndimage.label(mask)
    if count == 0:
        return 0.0
    inside = np.flatnonzero(pieces)
    number = pieces.ravel()[inside] - 1
    # Several times as fast as `ndimage.maximum`, which sorts all pixels.
    deepest = np.zeros(count, np.float32)
    np.maximum.at(deepest, number, distance.ravel()[inside])
    areas = np.bincount(number)
    order = np.argsort(deepest, kind="stable")
    half = np.searchsorted(np.cumsum(areas[order]), areas.sum() / 2)
    return float(deepest[order[half]])


def _seeds(smooth: npt.NDArray[np.float32], mask: Mask, reach: int) -> Labels:
    """Mark the highest points within reach, and one point of each piece that has none."""
    highest = ndimage.maximum_filter(smooth, size=2 * reach + 1)
    tops = mask & (smooth == highest)
    pieces, count = ndimage.label(mask, structure=np.ones((3, 3)))
    seeded = np.zeros(count + 1, bool)
    seeded[pieces[tops]] = True
    numbers = np.flatnonzero(~seeded[1:]) + 1
    if len(numbers):
        for y, x in ndimage.maximum_position(smooth, pieces, numbers):
            tops[int(y), int(x)] = True
    seeds, _ = ndimage.label(tops, structure=np.ones((3, 3)), output=np.int32)
    return np.asarray(seeds)
