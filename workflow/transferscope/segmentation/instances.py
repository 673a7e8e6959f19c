"""Label maps as three smooth maps that a network can predict, and back again.

The maps are foreground, nearness to the object's centre, and depth within the object; the latter
two are divided by the object's own size, so that small and large ones look alike. Objects are found
again by a watershed that starts where an object is both near its centre and deep.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from transferscope.runtime.arrays import Floats32, Labels, Mask, Pixels, Values
from transferscope.segmentation.label_maps import numbered

MAPS = ("foreground", "centre", "depth")
# All maps run from 0 to 1. Seeds are near the centre, so that a thin object has one, and not on the
# outline, so that those of objects that touch stay apart.
FOREGROUND, CENTRE, DEPTH = 0.5, 0.75, 0.3
CORNERS = np.ones((3, 3), dtype=bool)


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


def instances_of(maps: Values, min_pixels: int = 1, smoothing_px: float = 0.0) -> Labels:
    """Return the objects that maps show.

    Parameters
    ----------
    maps
        As of `instance_maps`, or predicted, [3, H, W].
    min_pixels
        Smaller objects are left out.
    smoothing_px
        Standard deviation of a Gaussian, of maps that are noisy; about 1 for predicted ones.

    Returns
    -------
    ndarray
        Number of each pixel's object, int32 [H, W], counted from 1.
    """
    from skimage.segmentation import watershed

    foreground, centre, depth = maps
    if smoothing_px:
        centre, depth = (ndimage.gaussian_filter(each, smoothing_px) for each in (centre, depth))
    inside = foreground > FOREGROUND
    seeds = _seeds(inside, inside & (centre > CENTRE) & (depth > DEPTH))
    # From the inside out: outlines come last, when every object has its inner pixels.
    objects = watershed(-depth, seeds, mask=inside)
    if (inside & (objects == 0)).any():  # tips that hang by a corner
        objects = watershed(-depth, objects, mask=inside, connectivity=CORNERS)
    too_small = np.bincount(objects.ravel()) < min_pixels
    objects[too_small[objects]] = 0
    return numbered(objects)


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


def _seeds(inside: Mask, inner: Mask) -> Labels:
    """Return the pieces of the inner parts, and pieces of the foreground that have none."""
    pieces, count = ndimage.label(inside, structure=CORNERS)
    has_seed = np.zeros(count + 1, dtype=bool)
    has_seed[pieces[inner]] = True
    seeds, _ = ndimage.label(inner | (inside & ~has_seed[pieces]), structure=CORNERS)
    return np.asarray(seeds, dtype=np.int32)
