"""One stained image of one specimen: tissue, stains by Beer-Lambert, and the scanner."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from .glands import TISSUES, Glands, Tissue, grow_glands, whole
from .labs import GRADES, Lab
from .primitives import blur, sample_points, smooth_noise
from .randomness import rng_for
from .scene import Floats, Points, floats, soft_step

OVERSAMPLE = 2  # fine grid points along a pixel of the scanner
RUN_SIZE = 8  # specimens that are stained together; one run is one batch
UINT8_MAX = 255


@dataclass(frozen=True)
class Specimen:
    """One specimen: a group of the data set.

    Attributes
    ----------
    name
        The group.
    batch
        The run in which it was stained.
    grade
        Its label.
    stains
        Concentrations of haematoxylin and eosin, relative to the lab's.
    """

    name: str
    batch: str
    grade: str
    stains: tuple[float, float]


def draw_specimens(lab: Lab, n: int, seed: int) -> list[Specimen]:
    """Draw the specimens of a lab; the first stay the same when there are more."""
    found = []
    for index in range(n):
        name, run = f"{lab.letter}{index + 1:03d}", f"{lab.letter}-run{index // RUN_SIZE + 1}"
        own, shared = rng_for(seed, lab.name, "specimen", name), rng_for(seed, lab.name, run)
        mean, deviation = lab.strength
        stains = mean * np.exp(deviation * (own.normal(size=2) + shared.normal(size=2)))
        found.append(Specimen(name, run, GRADES[index % len(GRADES)], tuple(stains.tolist())))
    return found


def image_name(specimen: Specimen, index: int) -> str:
    """Return the name of an image of a specimen, unique in its data set."""
    return f"{specimen.name}_{index:02d}"


def simulate_glands(
    lab: Lab, specimen: Specimen, index: int, size: int, seed: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint16]]:
    """Simulate one image.

    Parameters
    ----------
    lab, specimen
        Who stained and scanned what.
    index
        Number of the image among the specimen's.
    size
        Edge of the image in pixels.
    seed
        Seed of the data set.

    Returns
    -------
    image : numpy.ndarray
        [size, size, 3] uint8: red, green and blue.
    mask : numpy.ndarray
        [size, size] uint16, the glands numbered from 1, 0 between them.
    """
    stream = partial(rng_for, seed, lab.name, image_name(specimen, index))
    step = lab.pixel_size_um / OVERSAMPLE
    tissue, fusing = TISSUES[specimen.grade], lab.fusing[specimen.grade]
    glands = grow_glands(stream("layout"), tissue, size * OVERSAMPLE, step, fusing)
    stains = _stained(stream("tissue"), glands, tissue)
    return _scanned(stream("scanner"), stains, lab, specimen.stains), _instances(glands)


def _instances(glands: Glands) -> npt.NDArray[np.uint16]:
    """Return the glands at the pixels' centres, numbered 1, 2, 3 without gaps."""
    label = glands.label[OVERSAMPLE // 2 :: OVERSAMPLE, OVERSAMPLE // 2 :: OVERSAMPLE]
    return whole(label, least=1).astype(np.uint16)


# The tissue -------------------------------------------------------------------------------------


def _stained(rng: Generator, glands: Glands, tissue: Tissue) -> tuple[Floats, Floats]:
    """Return concentrations of haematoxylin and eosin on the fine grid."""
    shape = len(glands.label)
    grain = partial(smooth_noise, rng, shape)
    um = 1 / glands.step_um
    wall, lumen, stroma = glands.wall, glands.lumen, glands.label == 0
    # Stroma: fibres that run around the glands, with clefts between them.
    fibres = _fibres(rng, glands)
    clefts = soft_step(grain(7 * um) - 1.6, 0.15) * soft_step(glands.away_um - 3, 1)
    eosin = floats(stroma * (0.5 + 0.22 * fibres + 0.08 * grain(12 * um)) * (1 - clefts))
    haematoxylin = floats(stroma * (0.10 + 0.03 * fibres) * (1 - clefts))
    # Epithelium: denser at its base and at the border of the lumen.
    apical = np.where(lumen | stroma, 0, glands.wall_um[glands.label] - glands.depth_um)
    rim = floats(np.exp(-((apical / 1.5) ** 2)))
    body = floats(0.42 + 0.06 * grain(2 * um) + 0.22 * rim)
    eosin += wall * body
    haematoxylin += floats(wall * (0.20 + 0.04 * grain(3 * um)))
    # Lumen: glass, with threads of mucus.
    mucus = soft_step(grain(6 * um) - 0.7, 0.3)
    eosin += floats(lumen * (0.03 + 0.08 * mucus))
    haematoxylin += floats(lumen * (0.02 + 0.06 * mucus))
    goblets = _goblets(rng, glands, tissue)
    eosin *= 1 - floats(0.85 * goblets)
    haematoxylin = floats(haematoxylin * (1 - 0.7 * goblets) + 0.07 * goblets)
    nuclei = _epithelial_nuclei(rng, glands, tissue, goblets)
    nuclei = np.maximum(nuclei, _stromal_nuclei(rng, glands))
    chromatin = floats(1 + 0.16 * grain(0.7 * um))
    haematoxylin = floats(haematoxylin * (1 - nuclei) + 1.15 * nuclei * chromatin)
    eosin = floats(eosin * (1 - 0.6 * nuclei))
    return np.maximum(haematoxylin, 0), np.maximum(eosin, 0)


def _fibres(rng: Generator, glands: Glands) -> Floats:
    """Return a texture of lines at one distance of the glands, mean 0."""
    um = 1 / glands.step_um
    grain = partial(smooth_noise, rng, len(glands.label))
    bent = glands.away_um + 7 * grain(16 * um) + 2.5 * grain(5 * um)
    lines = np.sin(bent * 1.1) * (0.45 + 0.45 * grain(9 * um))
    return floats(lines + 0.7 * grain(1.3 * um))


def _goblets(rng: Generator, glands: Glands, tissue: Tissue) -> Floats:
    """Return the mucus of goblet cells, 0 to 1: ovals in the upper half of the wall."""
    share = glands.depth_um / glands.wall_um[glands.label]
    zone = glands.wall & (share > 0.45) & (share < 0.85) & np.isfinite(glands.wall_um[glands.label])
    n = rng.poisson(tissue.goblets * 1e-6 * glands.wall.sum() * glands.step_um**2)
    points = _spaced(rng, zone, n, 8.5 / glands.step_um)
    field = np.zeros_like(glands.depth_um)
    sizes = np.array([5.2, 3.9]) * rng.lognormal(0, 0.15, (len(points), 1))
    _paint(field, points, _across(glands, points), sizes / glands.step_um)
    return floats(field * glands.wall)


def _epithelial_nuclei(rng: Generator, glands: Glands, tissue: Tissue, goblets: Floats) -> Floats:
    """Return the nuclei of the wall, 0 to 1: they point to the lumen."""
    wall = glands.wall_um[glands.label]
    # In a gland without a lumen, layers go on to its middle.
    share = np.where(np.isfinite(wall), glands.depth_um / wall, 0.5 * (tissue.layers[0] + 1))
    low, high = tissue.layers
    zone = glands.wall & (share > low) & (share < high) & (goblets < 0.4)
    zone &= glands.depth_um > tissue.nucleus_um[1]
    points = _spaced(rng, zone, 900, tissue.spacing_um / glands.step_um)
    n = len(points)
    angles = _across(glands, points) + rng.normal(0, 0.18 + tissue.irregularity, n)
    sizes = np.array(tissue.nucleus_um) * rng.lognormal(0, 0.05 + tissue.spread / 2, (n, 2))
    field = np.zeros_like(glands.depth_um)
    _paint(field, points, angles, sizes / glands.step_um, rng.lognormal(0, 0.15, n))
    return field


def _stromal_nuclei(rng: Generator, glands: Glands) -> Floats:
    """Return the nuclei between glands, 0 to 1: spindles along the fibres, and round ones."""
    area = (glands.label == 0).sum() * glands.step_um**2
    points = _spaced(rng, glands.away_um > 2.2, rng.poisson(area * 3.2e-3), 5.5 / glands.step_um)
    n = len(points)
    is_round = rng.random(n) < 0.35
    angles = _across(glands, points) + np.pi / 2 + rng.normal(0, 0.3, n)
    axes = np.where(is_round[:, None], [2.6, 2.4], [5.4, 1.3])
    sizes = axes * rng.lognormal(0, 0.12, (n, 2))
    field = np.zeros_like(glands.depth_um)
    _paint(field, points, angles, sizes / glands.step_um, rng.lognormal(-0.1, 0.15, n))
    return floats(field * (glands.label == 0))


def _spaced(rng: Generator, zone: npt.NDArray[np.bool_], n: int, spacing: float) -> Points:
    """Draw up to ``n`` points of a zone that keep their distance, [found, 2]."""
    taken = ~zone
    reach = int(np.ceil(spacing))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = y**2 + x**2 < spacing**2
    candidates = np.stack(sample_points(rng, zone, 8 * n), axis=1) if n else np.zeros((0, 2), int)
    kept: list[tuple[int, int]] = []
    size = len(zone)
    for row, column in candidates.tolist():
        if len(kept) == n:
            break
        if taken[row, column]:
            continue
        kept.append((row, column))
        top, left = max(0, row - reach), max(0, column - reach)
        bottom, right = min(size, row + reach + 1), min(size, column + reach + 1)
        part = disc[
            top - row + reach : bottom - row + reach, left - column + reach : right - column + reach
        ]
        taken[top:bottom, left:right] |= part
    return np.array(kept, np.float64).reshape(-1, 2)


def _across(glands: Glands, points: Points) -> Points:
    """Return the direction across the nearest edge of a gland at each point, in radians."""
    signed = blur(glands.depth_um - glands.away_um, 2.5 / glands.step_um)
    rows, columns = points.astype(np.intp).T
    dy, dx = (np.gradient(signed, axis=axis)[rows, columns] for axis in (0, 1))
    return np.asarray(np.arctan2(dy, dx), np.float64)


def _paint(
    field: Floats, points: Points, angles: Points, sizes: Points, heights: Points | None = None
) -> None:
    """Paint soft ellipses into a field, in place, where they are above what is there.

    Parameters
    ----------
    field
        [S, S] float32.
    points
        [n, 2] row and column of each.
    angles
        [n] direction of its first axis, in radians.
    sizes
        [n, 2] half-axes, in grid points.
    heights
        [n] values; None: 1.
    """
    values = np.ones(len(points)) if heights is None else np.minimum(heights, 1.3)
    for (row, column), angle, (long, short), value in zip(
        points, angles, sizes, values, strict=True
    ):
        reach = int(np.ceil(max(long, short) + 2))
        top, left = max(0, int(row) - reach), max(0, int(column) - reach)
        window = slice(top, int(row) + reach + 1), slice(left, int(column) + reach + 1)
        y, x = np.ogrid[window[0], window[1]]
        y, x = y[: len(field) - top] - row, x[:, : len(field) - left] - column
        along, aside = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        distance = (1 - np.hypot(along / long, aside / short)) * short
        blob = value * soft_step(floats(distance), 0.5)
        np.maximum(field[window], blob, out=field[window])


# The scanner ------------------------------------------------------------------------------------


def _scanned(
    rng: Generator, stains: tuple[Floats, Floats], lab: Lab, strengths: tuple[float, float]
) -> npt.NDArray[np.uint8]:
    """Return the image of stained tissue: light that passes, blurred, binned, with noise."""
    planes = []
    sigma = lab.blur_um * OVERSAMPLE / lab.pixel_size_um
    for colour, white in enumerate(lab.white):
        density = (
            stains[0] * strengths[0] * lab.haematoxylin[colour]
            + stains[1] * strengths[1] * lab.eosin[colour]
        )
        # Densities are to the base e: at a concentration of 1, a third of the light passes.
        light = blur(floats(white * np.exp(-1.5 * density)), sigma)
        edge = len(light) // OVERSAMPLE
        planes.append(light.reshape(edge, OVERSAMPLE, edge, OVERSAMPLE).mean(axis=(1, 3)))
    image = np.stack(planes, axis=-1)
    noisy = image + rng.normal(0, lab.noise, image.shape)
    return np.asarray(np.clip(np.rint(noisy), 0, UINT8_MAX), np.uint8)
