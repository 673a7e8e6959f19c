"""The cells of a FOV: where they lie, their outlines, their nuclei and landmarks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.random import Generator
from scipy import ndimage

from .domains import Culture

Floats = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int32]

N_ANGLES = 256
NUCLEUS_GAP_UM = 0.8  # no nucleus comes closer than this to the cell's edge
DARTS = 600


@dataclass(frozen=True)
class Scene:
    """The geometry of one FOV on a fine grid; index 0 of every per-cell array is the background.

    Attributes
    ----------
    step_um
        Grid spacing.
    label
        [S, S] int32, the cell of each point, 0 outside.
    edge_um
        [S, S] float32, distance to the cell's edge, 0 outside.
    nucleus_um
        [S, S] float32, signed distance to the nucleus, negative inside, large outside cells.
    nucleolus
        [S, S] float32, 0 to 1, the nucleoli.
    centrosome
        [cells + 1, 2] row and column of the centrosome, in grid points.
    centre
        [cells + 1, 2] row and column of the nucleus's centre, in grid points.
    """

    step_um: float
    label: Labels
    edge_um: Floats
    nucleus_um: Floats
    nucleolus: Floats
    centrosome: Points
    centre: Points

    @property
    def size(self) -> int:
        """Points along the edge of the grid."""
        return len(self.label)

    @property
    def n_cells(self) -> int:
        """Number of cells, those at the border included."""
        return len(self.centre) - 1

    @property
    def inside(self) -> npt.NDArray[np.bool_]:
        """[S, S] bool, the cells."""
        return self.label > 0

    @property
    def nucleus(self) -> Floats:
        """[S, S] float32, 0 to 1, the nuclei with soft edges."""
        return soft_step(-self.nucleus_um, 0.25)

    @property
    def cytoplasm(self) -> Floats:
        """[S, S] float32, 0 to 1, the cells without their nuclei."""
        return floats(self.inside * (1 - self.nucleus))

    @property
    def thickness(self) -> Floats:
        """[S, S] float32, 0 to 1, the cell's height: it thins out towards its edge."""
        return floats(np.sqrt(np.clip(self.edge_um / 4.0, 0, 1)))


def floats(field: npt.NDArray[np.generic]) -> Floats:
    """Return a field in single precision, which is that of every image before the camera."""
    return np.asarray(field, dtype=np.float32)


def soft_step(x: npt.NDArray[np.floating], width: float) -> Floats:
    """Return a step from 0 to 1 at x = 0 with soft shoulders, in the unit of ``width``."""
    return floats(np.clip(0.5 + x / (4 * width), 0, 1))


def build_scene(
    rng: Generator,
    culture: Culture,
    shape: int,
    step_um: float,
    confluence: float,
    nucleus_scale: float,
) -> Scene:
    """Grow the cells of one FOV.

    Parameters
    ----------
    rng
        The FOV's stream for its layout.
    culture
        The numbers of the cell line.
    shape
        Points along the edge of the fine grid.
    step_um
        Grid spacing in um.
    confluence
        Share of the places that hold a cell.
    nucleus_scale
        Size of the nuclei relative to the line's mean.

    Returns
    -------
    Scene
        At least one cell lies in the FOV.
    """
    radius = culture.radius_um / step_um
    centres = _place_cells(rng, shape, radius, culture.spacing, confluence)
    n = len(centres)
    radii = radius * rng.lognormal(0.0, 0.12, n)
    outlines = _outlines(rng, radii, culture.irregularity)
    label = _assign(centres, outlines, shape)
    size = culture.nucleus_um / step_um * nucleus_scale
    # The nucleus follows the cell's size only in part, and sits off its centre.
    nuclei = _outlines(rng, size * np.sqrt(radii / radius) * rng.lognormal(0, 0.07, n), 0.05)
    nucleus_centres = centres + rng.normal(0, 0.12 * radius, (n, 2))
    edge = floats(ndimage.distance_transform_edt(_interior(label))) * step_um
    nucleus = _signed_distance(label, nucleus_centres, nuclei) * step_um
    nucleus = np.maximum(nucleus, NUCLEUS_GAP_UM - edge)
    nucleus = np.where(label > 0, nucleus, np.float32(1e3))
    return Scene(
        step_um=step_um,
        label=label,
        edge_um=edge,
        nucleus_um=nucleus,
        nucleolus=_nucleoli(rng, nucleus, nucleus_centres, nuclei, step_um),
        centrosome=_with_background(_next_to(rng, nucleus_centres, nuclei, step_um)),
        centre=_with_background(nucleus_centres),
    )


def _place_cells(
    rng: Generator, shape: int, radius: float, spacing: float, confluence: float
) -> Points:
    """Throw darts that keep their distance, then empty the places of a gap between colonies."""
    low, high = -radius, shape + radius
    darts = rng.uniform(low, high, (DARTS, 2))
    darts[0] = rng.uniform(0.3 * shape, 0.7 * shape, 2)  # one cell always lies in the FOV
    kept = darts[:1]
    for dart in darts[1:]:
        if np.min(np.sum((kept - dart) ** 2, axis=1)) > (spacing * radius) ** 2:
            kept = np.concatenate([kept, dart[None]])
    direction = rng.normal(size=2)
    rank = kept @ direction / np.linalg.norm(direction) / radius + rng.normal(0, 1.5, len(kept))
    rank[0] = -np.inf
    full = max(1, round(confluence * len(kept)))
    return kept[np.sort(np.argsort(rank)[:full])]


def _outlines(rng: Generator, radii: Points, irregularity: float) -> Points:
    """Return [cells, angles] radii of outlines: a disc plus its harmonics 2 to 5."""
    angles = np.arange(N_ANGLES) * (2 * np.pi / N_ANGLES)
    orders = np.arange(2, 6)
    amplitude = rng.normal(0, irregularity, (len(radii), len(orders))) * (2 / orders)
    phase = rng.uniform(0, 2 * np.pi, amplitude.shape)
    waves = np.cos(orders[None, :, None] * angles + phase[:, :, None])
    relative = 1 + np.einsum("co,coa->ca", amplitude, waves)
    return np.asarray(radii[:, None] * np.clip(relative, 0.5, 1.8))


def _polar(dy: Points, dx: Points) -> tuple[Points, npt.NDArray[np.intp]]:
    """Return distance and index into an outline's table of angles."""
    return np.hypot(dy, dx), _bins(np.arctan2(dy, dx))


def _bins(angle: Points) -> npt.NDArray[np.intp]:
    """Return the index of each angle, in radians, into an outline's table."""
    return np.rint(angle * (N_ANGLES / (2 * np.pi))).astype(np.intp) % N_ANGLES


def _assign(centres: Points, outlines: Points, shape: int) -> Labels:
    """Give each point to the cell whose outline it lies deepest in; cells that touch press flat."""
    best = np.ones((shape, shape))
    label = np.zeros((shape, shape), dtype=np.int32)
    for index, (centre, outline) in enumerate(zip(centres, outlines, strict=True), start=1):
        window = _window(centre, outline.max() + 1, shape)
        y, x = np.ogrid[window]
        distance, bins = _polar(y - centre[0], x - centre[1])
        depth = distance / outline[bins]
        closer = depth < best[window]
        best[window][closer] = depth[closer]
        label[window][closer] = index
    return label


def _window(centre: Points, reach: float, shape: int) -> tuple[slice, slice]:
    """Return the part of a [shape, shape] grid within reach of a point."""
    low = np.clip(np.floor(centre - reach), 0, shape).astype(int)
    high = np.clip(np.ceil(centre + reach) + 1, 0, shape).astype(int)
    return slice(low[0], high[0]), slice(low[1], high[1])


def _interior(label: Labels) -> npt.NDArray[np.bool_]:
    """Return the cells without the points at which two of them touch."""
    interior = label > 0
    interior[:-1] &= label[1:] == label[:-1]
    interior[:, :-1] &= label[:, 1:] == label[:, :-1]
    return interior


def _signed_distance(label: Labels, centres: Points, outlines: Points) -> Floats:
    """Return the distance of each point to its own cell's nucleus, negative inside."""
    own = np.maximum(label - 1, 0)
    y, x = np.ogrid[: label.shape[0], : label.shape[1]]
    distance, bins = _polar(y - centres[own, 0], x - centres[own, 1])
    return floats(distance - outlines[own, bins])


def _nucleoli(
    rng: Generator,
    nucleus_um: Floats,
    centres: Points,
    nuclei: Points,
    step_um: float,
) -> Floats:
    """Put one to four nucleoli into each nucleus; both channels see the same ones."""
    field = np.zeros_like(nucleus_um)
    for centre, outline in zip(centres, nuclei, strict=True):
        radius = float(outline.mean())
        for _ in range(int(rng.integers(1, 5))):
            angle, far = rng.uniform(0, 2 * np.pi), radius * 0.6 * np.sqrt(rng.uniform())
            spot = centre + far * np.array([np.sin(angle), np.cos(angle)])
            size = rng.uniform(0.7, 1.3) / step_um
            _paint_blob(field, spot, size, rng.uniform(0.75, 1.33))
    field[nucleus_um > -0.4] = 0
    return field


def _paint_blob(field: Floats, spot: Points, size: float, aspect: float) -> None:
    """Paint one soft-edged ellipse into a field, in place."""
    window = _window(spot, 2 * size, len(field))
    y, x = np.ogrid[window]
    distance = np.hypot((y - spot[0]) * aspect, (x - spot[1]) / aspect)
    np.maximum(field[window], soft_step(size - distance, 0.6), out=field[window])


def _next_to(rng: Generator, centres: Points, nuclei: Points, step_um: float) -> Points:
    """Return a place next to each nucleus: the centrosome, around which the Golgi gathers."""
    angle = rng.uniform(0, 2 * np.pi, len(centres))
    far = nuclei[np.arange(len(centres)), _bins(angle)] + 1.0 / step_um
    towards = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    return np.asarray(centres + far[:, None] * towards)


def _with_background(points: Points) -> Points:
    """Prepend a row for label 0, so that labels index the points directly."""
    return np.concatenate([np.full((1, 2), -1e6), points])
