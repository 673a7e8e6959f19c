"""Where the glands of an image lie: their outlines, walls and lumens, on a fine grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.random import Generator
from scipy import ndimage

from .scene import Floats, Labels, Points, floats

N_ANGLES = 256
DARTS = 400
RADIUS_UM = 31.0
# Less of a gland than this at the border of an image is left out, in um^2.
LEAST_AREA_UM2 = 60.0
# Points of the grid side by side that hold a gland together.
NECK = 5
# Between glands that do not fuse, and as far as those reach that do.
GAP_UM, FUSING_UM = 9.0, 12.0


@dataclass(frozen=True)
class Tissue:
    """How the glands of a grade grow.

    Attributes
    ----------
    irregularity
        Relative amplitude of the outlines' harmonics: 0 is an ellipse.
    elongation
        Deviation of the logarithm of the ratio of their axes.
    spread
        Deviation of the logarithm of their radii.
    wall_um
        Height of the epithelium.
    nucleus_um
        Long and short half-axis of its nuclei.
    layers
        Depth in which nuclei lie, as shares of the wall: from, to.
    spacing_um
        Smallest distance of two nuclei.
    goblets
        Goblet cells per mm^2 of wall.
    lumen
        Share of the glands with an open lumen.
    """

    irregularity: float
    elongation: float
    spread: float
    wall_um: float
    nucleus_um: tuple[float, float]
    layers: tuple[float, float]
    spacing_um: float
    goblets: float
    lumen: float


TISSUES: dict[str, Tissue] = {
    "benign": Tissue(0.05, 0.14, 0.12, 17.0, (4.6, 2.1), (0.1, 0.3), 5.2, 4500.0, 1.0),
    "malignant": Tissue(0.16, 0.3, 0.3, 20.0, (5.4, 2.5), (0.08, 0.72), 6.6, 400.0, 0.85),
}


@dataclass(frozen=True)
class Glands:
    """The glands of an image.

    Attributes
    ----------
    step_um
        Grid spacing.
    label
        [S, S] int32, the gland of each point, numbered from 1 without gaps; 0 is stroma.
    depth_um
        [S, S] float32, distance to the edge of the gland, 0 in the stroma.
    away_um
        [S, S] float32, distance to the nearest gland, 0 in glands.
    wall_um
        [glands + 1] thickness of the epithelium of each gland.
    """

    step_um: float
    label: Labels
    depth_um: Floats
    away_um: Floats
    wall_um: Floats

    @property
    def wall(self) -> npt.NDArray[np.bool_]:
        """[S, S] bool, the epithelium."""
        return (self.label > 0) & (self.depth_um <= self.wall_um[self.label])

    @property
    def lumen(self) -> npt.NDArray[np.bool_]:
        """[S, S] bool, what is inside the epithelium."""
        return (self.label > 0) & ~self.wall


def grow_glands(
    rng: Generator, tissue: Tissue, shape: int, step_um: float, fusing: float
) -> Glands:
    """Lay glands out and give each point to one of them, or to the stroma.

    Parameters
    ----------
    rng
        The image's stream for its layout.
    tissue
        How the glands of its grade grow.
    shape
        Points along the edge of the grid.
    step_um
        Grid spacing in um.
    fusing
        Share of the glands that grow together with the nearest one.
    """
    radius = RADIUS_UM / step_um
    centres = _centres(rng, shape, 2 * radius + GAP_UM / step_um)
    radii = radius * rng.lognormal(0, tissue.spread, len(centres))
    outlines = _outlines(rng, radii, tissue)
    label = whole(_assigned(centres, outlines, shape), LEAST_AREA_UM2 / step_um**2)
    label = whole(_parted(label, GAP_UM / step_um), 1, NECK)
    label = _fused(rng, label, fusing, FUSING_UM / step_um)
    depth = floats(ndimage.distance_transform_edt(_interior(label))) * np.float32(step_um)
    away = floats(ndimage.distance_transform_edt(label == 0)) * np.float32(step_um)
    wall = tissue.wall_um * rng.lognormal(0, 0.12, label.max() + 1)
    wall[rng.random(len(wall)) > tissue.lumen] = np.inf
    return Glands(step_um, label, depth, away, floats(wall))


def _centres(rng: Generator, shape: int, spacing: float) -> Points:
    """Throw darts that keep their distance; glands are cut by the border of an image, too."""
    darts = rng.uniform(-0.35 * spacing, shape + 0.35 * spacing, (DARTS, 2))
    darts[0] = rng.uniform(0.3 * shape, 0.7 * shape, 2)  # one gland always lies in the image
    kept = darts[:1]
    for dart in darts[1:]:
        if np.min(np.sum((kept - dart) ** 2, axis=1)) > spacing**2:
            kept = np.concatenate([kept, dart[None]])
    return kept


def _outlines(rng: Generator, radii: Points, tissue: Tissue) -> Points:
    """Return [glands, angles] radii of outlines: an ellipse with its harmonics 3 to 7."""
    angles = np.arange(N_ANGLES) * (2 * np.pi / N_ANGLES)
    ratio = np.exp(rng.normal(0, tissue.elongation, len(radii)))[:, None]
    turned = angles[None] - rng.uniform(0, np.pi, len(radii))[:, None]
    ellipse = 1 / np.sqrt(np.cos(turned) ** 2 * ratio + np.sin(turned) ** 2 / ratio)
    orders = np.arange(3, 8)
    amplitude = rng.normal(0, tissue.irregularity, (len(radii), len(orders))) * (3 / orders)
    phase = rng.uniform(0, 2 * np.pi, amplitude.shape)
    waves = np.cos(orders[None, :, None] * angles + phase[:, :, None])
    relative = 1 + np.einsum("go,goa->ga", amplitude, waves)
    return np.asarray(radii[:, None] * ellipse * np.clip(relative, 0.6, 1.5))


def _assigned(centres: Points, outlines: Points, shape: int) -> Labels:
    """Give each point to the gland whose outline it lies deepest in."""
    best = np.ones((shape, shape))
    label = np.zeros((shape, shape), np.int32)
    y, x = np.ogrid[:shape, :shape]
    for index, (centre, outline) in enumerate(zip(centres, outlines, strict=True), start=1):
        dy, dx = y - centre[0], x - centre[1]
        angle = np.rint(np.arctan2(dy, dx) * (N_ANGLES / (2 * np.pi))).astype(np.intp) % N_ANGLES
        reach = np.hypot(dy, dx) / outline[angle]
        closer = reach < best
        best[closer] = reach[closer]
        label[closer] = index
    return label


def whole(label: Labels, least: float, neck: int = 1) -> Labels:
    """Keep the largest part of each gland, if it is large enough; number them without gaps.

    Parameters
    ----------
    label
        [S, S] int32, the gland of each point; 0 is stroma.
    least
        Points that a gland needs.
    neck
        Parts that are joined by fewer points than this side by side are two.
    """
    kept = np.zeros_like(label)
    count = 0
    for index in range(1, label.max() + 1):
        if not (label == index).any():
            continue
        around = _around(label == index, neck)
        own = ndimage.binary_opening(label[around] == index, np.ones((neck, neck)))
        parts, n = ndimage.label(own)
        sizes = np.bincount(parts.ravel())[1:]
        if n and sizes.max() >= least:
            count += 1
            kept[around][parts == sizes.argmax() + 1] = count
    return kept


def _parted(label: Labels, gap: float) -> Labels:
    """Let stroma grow between glands that touch."""
    parted = label.copy()
    for index in range(1, label.max() + 1):
        around = _around(label == index, gap)
        own = label[around] == index
        others = (label[around] > 0) & ~own
        if others.any():
            near = ndimage.distance_transform_edt(~others) < gap / 2
            parted[around][own & near] = 0
    return parted


def _around(own: npt.NDArray[np.bool_], margin: float) -> tuple[slice, slice]:
    """Return the part of a grid with a gland, and what is as near to it as a margin."""
    more = int(np.ceil(margin)) + 1
    rows, columns = (np.flatnonzero(own.any(axis=axis)) for axis in (1, 0))
    return (
        slice(max(0, rows[0] - more), rows[-1] + more + 1),
        slice(max(0, columns[0] - more), columns[-1] + more + 1),
    )


def _fused(rng: Generator, label: Labels, fusing: float, reach: float) -> Labels:
    """Let a share of the glands grow together with the nearest one, and stay two."""
    fused = label.copy()
    for index in (1 + np.flatnonzero(rng.random(label.max()) < fusing)).tolist():
        around = _around(label == index, 3 * reach)
        there = label[around]
        own = ndimage.distance_transform_edt(there != index)
        others = (there > 0) & (there != index)
        gap = own[others].min(initial=np.inf)
        if gap < 2 * reach:
            other = int(there[others & (own == gap)][0])
            away = ndimage.distance_transform_edt(there != other)
            # An ellipse between the two, divided where it is as near to one as to the other.
            between = (there == 0) & (own + away < gap + reach)
            fused[around][between] = np.where(own <= away, index, other)[between]
    return whole(fused, 1)


def _interior(label: Labels) -> npt.NDArray[np.bool_]:
    """Return the glands without the points at which two of them touch."""
    interior = label > 0
    interior[:-1] &= label[1:] == label[:-1]
    interior[:, :-1] &= label[:, 1:] == label[:, :-1]
    return interior
