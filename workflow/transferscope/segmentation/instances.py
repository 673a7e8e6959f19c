"""Label maps as three smooth maps that a network can predict, and back again.

The maps are foreground, nearness to the object's centre, and depth within the object; the latter
two are divided by the object's own size, so that small and large ones look alike. Objects are found
again by a watershed that starts where both are high.
"""

from __future__ import annotations

import itertools

import numpy as np
from scipy import ndimage

from transferscope.runtime.arrays import Floats32, Labels, Mask, Pixels, Values
from transferscope.segmentation.label_maps import numbered

MAPS = ("foreground", "centre", "depth")
FOREGROUND = 0.5
# Seeds are the tops of centre^2 x depth, smoothed by so many px, that stand out by so much: on thin
# objects depth is ragged, which the centre outweighs; predicted maps are lower than true ones.
SMOOTHING_PX, PROMINENCE = 1.0, 0.05
CORNERS = np.ones((3, 3), dtype=bool)
# A share of 1 in a byte.
FULL = 255


def instance_maps(labels: Pixels) -> Floats32:
    """Return what an instance head is trained on, float32 [3, H, W], from 0 to 1.

    `foreground` is 1 inside objects. `depth` is the distance to the nearest pixel outside the
    object, 0 on its outline, where it touches another one too, and 1 where it is deepest.
    `centre` is 1 at the deepest pixel (of several, the one nearest to the centroid), and falls to
    0 at the furthest pixel of the object. An object that is all outline has depth 1. What is
    beyond the edge of the image is taken for outside.

    Parameters
    ----------
    labels
        Number of each pixel's object, [H, W]; 0 outside.
    """
    objects = numbered(labels)
    maps = np.zeros((len(MAPS), *labels.shape), dtype=np.float32)
    maps[0] = objects > 0
    for number, place in enumerate(ndimage.find_objects(objects), start=1):
        inside = objects[place] == number
        depths = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1][inside]
        distances = _distances(inside, depths)
        maps[1][place][inside] = 1 - _up_to_1(distances, otherwise=0)
        maps[2][place][inside] = _up_to_1(depths - 1, otherwise=1)
    return maps


def instances_of(maps: Values, min_pixels: int = 1) -> Labels:
    """Return the objects that maps show.

    Parameters
    ----------
    maps
        As of `instance_maps`, or predicted, [3, H, W].
    min_pixels
        Smaller objects are left out.

    Returns
    -------
    ndarray
        Number of each pixel's object, int32 [H, W], counted from 1.
    """
    from skimage.segmentation import watershed

    foreground, centre, depth = maps
    inside = foreground > FOREGROUND
    seeds = _seeds(inside, ndimage.gaussian_filter(centre**2 * depth, SMOOTHING_PX))
    # From the inside out: outlines come last, when every object has its inner pixels.
    objects = watershed(-depth, seeds, mask=inside)
    if (inside & (objects == 0)).any():  # tips that hang by a corner
        objects = watershed(-depth, objects, mask=inside, connectivity=CORNERS)
    too_small = np.bincount(objects.ravel()) < min_pixels
    objects[too_small[objects]] = 0
    return numbered(objects)


def instances_in_blocks(
    maps: Values, min_pixels: int = 1, block: int = 2048, margin: int = 256
) -> Labels:
    """Return the objects of a field of any size, a block at a time: 100 bytes per px are needed.

    Each block is seen with a margin, and gives the objects whose centroid is in it. The result is
    that of the whole field, except where objects are wider than the margin.

    Parameters
    ----------
    maps
        Shares of 255, uint8 [3, H, W].
    min_pixels
        Smaller objects are left out.
    block, margin
        In px.

    Returns
    -------
    ndarray
        Number of each pixel's object, int32 [H, W], counted from 1.
    """
    height, width = maps.shape[1:]
    found, count = np.zeros((height, width), dtype=np.int32), 0
    for corner in itertools.product(range(0, height, block), range(0, width, block)):
        starts = [max(0, start - margin) for start in corner]
        seen = tuple(
            slice(first, start + block + margin)
            for first, start in zip(starts, corner, strict=True)
        )
        own = instances_of(maps[:, *seen] / np.float32(FULL), min_pixels)
        numbers = np.arange(1, own.max(initial=0) + 1)
        centroids = np.array(ndimage.center_of_mass(own > 0, own, numbers)).reshape(-1, 2)
        at = (centroids + starts) // block
        kept = (at == np.array(corner) // block).all(axis=1)
        new = np.zeros(len(numbers) + 1, dtype=np.int32)
        new[numbers[kept]] = count + 1 + np.arange(np.count_nonzero(kept))
        count += int(np.count_nonzero(kept))
        part = found[seen]
        part[part == 0] = new[own][part == 0]
    return numbered(found)


def _distances(inside: Mask, depths: Values) -> Values:
    """Return the distance of each pixel of an object from its centre, [pixels]."""
    pixels = np.argwhere(inside)
    deepest = pixels[depths == depths.max()]
    off = np.linalg.norm(deepest - pixels.mean(axis=0), axis=1)
    return np.asarray(np.linalg.norm(pixels - deepest[off.argmin()], axis=1))


def _up_to_1(values: Values, otherwise: float) -> Values:
    """Divide by the largest; where all are 0, return another value."""
    largest = values.max()
    return values / largest if largest > 0 else np.full_like(values, otherwise)


def _seeds(inside: Mask, height: Values) -> Labels:
    """Return the numbered tops of a height, and the pieces of the foreground that have none."""
    from skimage.morphology import h_maxima

    tops = inside & (h_maxima(np.where(inside, height, 0), PROMINENCE) > 0)
    pieces, count = ndimage.label(inside, structure=CORNERS)
    has_top = np.zeros(count + 1, dtype=bool)
    has_top[pieces[tops]] = True
    seeds, _ = ndimage.label(tops | (inside & ~has_top[pieces]), structure=CORNERS)
    return np.asarray(seeds, dtype=np.int32)
