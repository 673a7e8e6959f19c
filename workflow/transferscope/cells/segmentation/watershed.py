"""Nuclei by threshold and distance, cells grown from them on the cytoplasm's channels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from transferscope.cards import WatershedSegmentation
from transferscope.cells.segmentation.segmented import SegmentedField, counted
from transferscope.cells.segmentation.splitting import split_touching, usual_radius
from transferscope.runtime.arrays import Labels, Mask, Pixels

Plane = npt.NDArray[np.float32]
# Objects below this share of the area of a usual nucleus are specks.
SMALLEST_NUCLEUS = 0.15
SCALED_PERCENTILES = (1.0, 99.0)
# A cell grows first where it is near its nucleus and bright: full range of brightness counts as
# much as this many radii of a nucleus.
BRIGHTNESS_RADII = 2.0
THRESHOLD_BINS = 256


def grow_cells(
    field: Pixels,
    channels: list[str],
    settings: WatershedSegmentation,
    pixel_size_um: float | None,
) -> SegmentedField:
    """Segment one field.

    Parameters
    ----------
    field
        [C, H, W], uint8 or uint16.
    channels
        Name of each channel.
    settings
        Channels, thresholds and lengths.
    pixel_size_um
        Pixel size; None: lengths are in px.

    Returns
    -------
    SegmentedField
        With nuclei, unless the cells are the nuclei.
    """
    px = 1.0 if pixel_size_um is None else pixel_size_um
    sigma = settings.smoothing / px
    diameter = settings.nucleus_diameter / px if settings.nucleus_diameter else None
    plane = _smoothed(field[channels.index(settings.nuclei)], sigma)
    nuclei = find_nuclei(plane, settings.threshold, diameter)
    if not settings.cytoplasm:
        return counted(nuclei)
    planes = [_scaled(_smoothed(field[channels.index(c)], sigma)) for c in settings.cytoplasm]
    glow = np.asarray(np.mean(planes, axis=0, dtype=np.float32))
    mask = _above(glow, settings.cytoplasm_threshold, settings.cytoplasm_factor)
    return counted(_grown(nuclei, glow, mask), nuclei > 0)


def find_nuclei(plane: Plane, threshold: str, diameter: float | None) -> Labels:
    """Return the nuclei of a smoothed plane, numbered from 1.

    Parameters
    ----------
    plane
        [H, W].
    threshold
        `otsu` or `li`.
    diameter
        About how wide a nucleus is, in px; None: judged from the objects.
    """
    mask = ndimage.binary_fill_holes(_above(plane, threshold))
    distance = np.asarray(ndimage.distance_transform_edt(mask), np.float32)
    radius = diameter / 2 if diameter else usual_radius(mask, distance)
    labels = split_touching(mask, 2 * radius)
    areas = np.bincount(labels.ravel())
    small = areas < SMALLEST_NUCLEUS * np.pi * radius**2
    labels[small[labels]] = 0
    return labels


def _grown(nuclei: Labels, glow: Plane, mask: Mask) -> Labels:
    """Grow the nuclei over the mask, near and bright pixels first."""
    from skimage.segmentation import watershed

    if not nuclei.any():
        return nuclei
    filled = ndimage.binary_fill_holes(mask | (nuclei > 0))
    areas = np.bincount(nuclei.ravel())[1:]
    radius = float(np.sqrt(np.median(areas[areas > 0]) / np.pi))
    distance = np.asarray(ndimage.distance_transform_edt(nuclei == 0), np.float32)
    height = distance / np.float32(radius) - np.float32(BRIGHTNESS_RADII) * glow
    return np.asarray(watershed(height, nuclei, mask=filled), np.int32)


def _smoothed(plane: Pixels, sigma: float) -> Plane:
    values = plane.astype(np.float32)
    return np.asarray(ndimage.gaussian_filter(values, sigma)) if sigma > 0 else values


def _scaled(plane: Plane) -> Plane:
    low, high = np.percentile(plane, SCALED_PERCENTILES)
    return np.asarray(np.clip((plane - low) / max(high - low, 1e-6), 0, 1), np.float32)


def _above(plane: Plane, threshold: str, factor: float = 1.0) -> Mask:
    """Return the pixels above a threshold of the plane; none where it is flat."""
    from skimage.filters import threshold_li, threshold_otsu

    if plane.min() == plane.max():
        return np.zeros(plane.shape, np.bool_)
    found = threshold_li(plane) if threshold == "li" else threshold_otsu(plane, THRESHOLD_BINS)
    return np.asarray(plane > factor * found)
