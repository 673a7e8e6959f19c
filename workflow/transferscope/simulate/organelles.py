"""Where a protein can sit: each localization paints its structure into the cells of a scene.

Every painter returns [S, S] float32 with a typical peak near 1 before the optics, so that the
weights of a protein's places compare. Sizes are in um and hence right for every pixel size.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from .primitives import (
    GridPoints,
    blur,
    fibres,
    mesh,
    sample_points,
    smooth_noise,
    spots,
    tubes,
)
from .proteins import Look
from .scene import Floats, Points, Scene, floats

Painter = Callable[[Scene, Generator, Look], Floats]


def paint_localization(place: str, scene: Scene, rng: Generator, look: Look) -> Floats:
    """Paint one localization.

    Parameters
    ----------
    place
        One of ``CLASSES``.
    scene
        The FOV's cells.
    rng
        Stream for this structure alone.
    look
        The protein's texture parameters.

    Returns
    -------
    numpy.ndarray
        [S, S] float32, 0 outside the cells, typical peak 1.
    """
    return floats(PAINTERS[place](scene, rng, look) * scene.inside)


def dna(scene: Scene, rng: Generator) -> Floats:
    """Paint the DNA stain: chromatin texture, dark nucleoli, one or two genomes per cell."""
    grain = 1 + 0.16 * _noise(scene, rng, 0.45)
    content = rng.choice([0.75, 1.0, 1.35], p=[0.55, 0.2, 0.25], size=scene.n_cells + 1)
    content = (content * rng.lognormal(0, 0.1, content.size)).astype(np.float32)
    return floats(
        scene.nucleus * np.clip(grain, 0.3, 2) * (1 - 0.6 * scene.nucleolus) * content[scene.label]
    )


def microtubules(scene: Scene, rng: Generator, look: Look) -> Floats:
    """Paint long curved filaments that run out from the centrosome to the cell's edge."""
    inside = scene.inside
    rows, columns = points = _scatter(scene, rng, 0.16 * look.abundance, inside, inside)
    hub = scene.centrosome[scene.label[points]]
    outwards = np.arctan2(rows - hub[:, 0], columns - hub[:, 1])
    angles = outwards + rng.normal(0, 0.5, len(rows)) + np.pi * rng.integers(2, size=len(rows))
    length = round(11.0 / scene.step_um)
    curl = 0.06 * (1.3 - look.straightness)
    region = np.where(scene.edge_um > 0.3, scene.label, 0)
    visits = fibres(rng, region, points, angles, length, curl)
    under = 1 - 0.55 * scene.nucleus  # the nucleus displaces the filaments except for a thin layer
    return floats(tubes(0.6 * visits, 0.7 * look.size) * under)


def endoplasmic_reticulum(scene: Scene, rng: Generator, look: Look) -> Floats:
    """Paint a fine network, densest around the nucleus, that includes the nuclear envelope."""
    size = scene.size
    grain = 0.42 * look.size / scene.step_um
    net = np.maximum(mesh(rng, size, grain, 0.5), mesh(rng, size, 1.7 * grain, 0.35))
    sheet = 0.3 * (1 - look.texture) + 0.1
    reach = 2.2 + 3.5 * look.spread
    density = 0.25 + _near_nucleus(scene, reach)
    rim = 0.5 * _envelope(scene, 0.35)
    taper = np.clip(scene.edge_um / 1.2, 0, 1)
    return floats(scene.cytoplasm * (sheet + (1 - sheet) * net) * density * taper + rim)


def _centrosome(scene: Scene, rng: Generator, look: Look) -> Floats:
    """Paint one or two dots next to the nucleus of each cell."""
    second = scene.centrosome + rng.normal(0, 0.7 / scene.step_um, scene.centrosome.shape)
    points = np.concatenate([scene.centrosome, second[rng.random(len(second)) < 0.6]])
    own = _grid(points[_owned(points, scene)])
    return floats(5.0 * spots(rng, own, 0.38 * look.size / scene.step_um, scene.size))


def _cytoplasmic(scene: Scene, rng: Generator, look: Look) -> Floats:
    """Fill the cytoplasm, mottled where organelles exclude the protein."""
    mottle = 1 + (0.06 + 0.2 * look.texture) * _noise(scene, rng, 0.6 * look.size)
    in_nucleus = 0.1 + 0.25 * look.spread
    return floats(
        (scene.cytoplasm + in_nucleus * scene.nucleus) * mottle * (0.3 + 0.7 * scene.thickness)
    )


def _cytoskeleton(scene: Scene, rng: Generator, look: Look) -> Floats:
    """Paint microtubule-like filaments, or actin-like bundles with a bright cortex, by protein."""
    if look.spread < 0.5:
        return floats(1.2 * microtubules(scene, rng, look))
    points = _scatter(scene, rng, 0.10 * look.abundance, scene.inside, scene.inside)
    axis = rng.uniform(0, np.pi, scene.n_cells + 1)[scene.label[points]]
    angles = axis + rng.normal(0, 0.2, len(axis)) + np.pi * rng.integers(2, size=len(axis))
    length = round(9.0 / scene.step_um)
    visits = fibres(rng, scene.label, points, angles, length, 0.012)
    cortex = np.exp(-((scene.edge_um / 0.7) ** 2))
    return floats(tubes(0.8 * visits, 0.9 * look.size) + 0.45 * cortex)


def _golgi(scene: Scene, rng: Generator, look: Look) -> Floats:
    """Paint a ribbon of short, stacked cisternae on one side of the nucleus."""
    per_cell = max(3, round(9 * look.abundance))
    hubs = np.repeat(scene.centrosome[1:], per_cell, axis=0)
    nuclei = np.repeat(scene.centre[1:], per_cell, axis=0)
    wide = (1.0 + 1.4 * look.spread) / scene.step_um
    points = hubs + rng.normal(0, wide, hubs.shape)
    around = np.arctan2(points[:, 0] - nuclei[:, 0], points[:, 1] - nuclei[:, 1]) + np.pi / 2
    owned = _owned(points, scene)
    around = around[owned]
    region = np.where(scene.nucleus_um > 0, scene.label, 0)
    angles = around + rng.normal(0, 0.6, len(around))
    length = max(3, round(2.0 * look.size / scene.step_um))
    visits = fibres(rng, region, _grid(points[owned]), angles, length, 0.15)
    return floats(1.7 * tubes(visits, 0.4 * look.size / scene.step_um))


def _membrane(scene: Scene, rng: Generator, look: Look) -> Floats:
    """Paint a rim along the cell's edge, brighter where cells touch, with ruffles on top."""
    rim = np.exp(-((scene.edge_um / (0.45 + 0.2 * look.size)) ** 2))
    patchy = 1 + 0.5 * look.texture * _noise(scene, rng, 1.5)
    ruffles = 0.35 * look.spread * np.clip(_noise(scene, rng, 0.8), 0, None)
    return floats(1.1 * rim * np.clip(patchy, 0.2, None) + ruffles * scene.thickness + 0.08)


def _mitochondria(scene: Scene, rng: Generator, look: Look) -> Floats:
    """Paint worms through the cytoplasm, from short and plump to a long network, by protein."""
    cytoplasm = scene.cytoplasm
    density = cytoplasm * _near_nucleus(scene, 2.0 + 5.0 * look.spread) * (scene.edge_um > 1.0)
    points = _scatter(scene, rng, 0.16 * look.abundance, cytoplasm, density)
    region = np.where((scene.nucleus_um > 0.2) & (scene.edge_um > 0.8), scene.label, 0)
    length = round((1.5 + 4.5 * look.straightness) / scene.step_um)
    angles = rng.uniform(0, 2 * np.pi, len(points[0]))
    visits = fibres(rng, region, points, angles, length, 0.14)
    return floats(1.15 * tubes(visits, 0.26 * look.size / scene.step_um))


def _nuclear_membrane(scene: Scene, rng: Generator, look: Look) -> Floats:
    """Paint a thin ring around the nucleus, beaded by pores."""
    beads = 1 + 0.4 * look.texture * _noise(scene, rng, 0.4)
    haze = 0.12 + 0.2 * look.spread
    return floats(
        1.2 * _envelope(scene, 0.3 * look.size) * np.clip(beads, 0.2, 2) + haze * scene.nucleus
    )


def _nuclear_punctae(scene: Scene, rng: Generator, look: Look) -> Floats:
    """Paint speckles and bodies in a nucleus that shows them on a faint ground."""
    density = scene.nucleus * (1 - scene.nucleolus) * (scene.nucleus_um < -0.5)
    points = _scatter(scene, rng, 0.12 * look.abundance, scene.nucleus, density)
    dots = spots(rng, points, 0.36 * look.size / scene.step_um, scene.size)
    ground = (0.1 + 0.3 * look.spread) * scene.nucleus
    return floats((1.6 * dots + ground) * scene.nucleus)


def _nucleolus(scene: Scene, rng: Generator, look: Look) -> Floats:
    """Paint the nucleoli, mottled, in a nucleus that holds some of the protein."""
    mottle = 1 + 0.25 * look.texture * _noise(scene, rng, 0.4)
    ground = 0.05 + 0.3 * look.spread
    return floats(1.2 * scene.nucleolus * mottle + ground * scene.nucleus)


def _nucleoplasm(scene: Scene, rng: Generator, look: Look) -> Floats:
    """Fill the nucleus except, depending on the protein, the nucleoli."""
    grain = _noise(scene, rng, 0.5 * look.size)
    mottle = np.clip(1 + (0.05 + 0.25 * look.texture) * grain, 0.2, 2)
    return floats(scene.nucleus * mottle * (1 - (0.2 + 0.6 * look.spread) * scene.nucleolus))


def _vesicles(scene: Scene, rng: Generator, look: Look) -> Floats:
    """Paint dots through the cytoplasm; large ones show as rings."""
    cytoplasm = scene.cytoplasm
    density = cytoplasm * _near_nucleus(scene, 1.5 + 8.0 * look.spread) * (scene.edge_um > 0.6)
    points = _scatter(scene, rng, 0.22 * look.abundance, cytoplasm, density)
    sigma = 0.32 * look.size / scene.step_um
    dots = spots(rng, points, sigma, scene.size)
    hollow = max(0.0, look.size - 1.1)
    return floats(1.9 * np.clip(dots - hollow * blur(dots, 0.6 * sigma), 0, None))


PAINTERS: dict[str, Painter] = {
    "centrosome": _centrosome,
    "cytoplasmic": _cytoplasmic,
    "cytoskeleton": _cytoskeleton,
    "er": endoplasmic_reticulum,
    "golgi": _golgi,
    "membrane": _membrane,
    "mitochondria": _mitochondria,
    "nuclear_membrane": _nuclear_membrane,
    "nuclear_punctae": _nuclear_punctae,
    "nucleolus": _nucleolus,
    "nucleoplasm": _nucleoplasm,
    "vesicles": _vesicles,
}


def _noise(scene: Scene, rng: Generator, grain_um: float) -> Floats:
    return smooth_noise(rng, scene.size, grain_um / scene.step_um)


def _scatter(
    scene: Scene,
    rng: Generator,
    per_um2: float,
    region: npt.NDArray[np.generic],
    density: npt.NDArray[np.generic],
) -> GridPoints:
    """Draw points from a density, as many per um2 of a region as given."""
    return sample_points(rng, density, round(per_um2 * (float(region.sum()) * scene.step_um**2)))


def _near_nucleus(scene: Scene, reach_um: float) -> Floats:
    """Return a density that is 1 at the nucleus and falls with the distance from it."""
    return floats(np.exp(-np.clip(scene.nucleus_um, 0, 50) / reach_um))


def _envelope(scene: Scene, width_um: float) -> Floats:
    """Return the rim of the nuclei, peak 1."""
    return floats(np.exp(-((scene.nucleus_um / (1.4 * width_um)) ** 2)))


def _owned(points: Points, scene: Scene) -> npt.NDArray[np.bool_]:
    """Tell which points lie in the FOV and in a cell."""
    grid = np.rint(points)
    fits = np.all((grid >= 0) & (grid < scene.size), axis=1)
    within = _grid(np.clip(grid, 0, scene.size - 1))
    return np.asarray(fits & (scene.edge_um[within] > 0.4))


def _grid(points: Points) -> GridPoints:
    """Return the grid points nearest to points [n, 2]."""
    rows, columns = np.rint(points).astype(np.intp).T
    return rows, columns
