"""Where a protein can sit: each localization paints its structure into the cells of a scene.

Every painter returns [S, S] float32 with a typical peak near 1 before the optics, so that the
weights of a protein's places compare. Sizes are in um and hence right for every pixel size.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from .primitives import blur, fibres, mesh, sample_points, smooth_noise, spots, tubes
from .proteins import Look
from .scene import Floats, Points, Scene

Painter = Callable[[Scene, np.random.Generator, Look], Floats]


def paint_localization(place: str, scene: Scene, rng: np.random.Generator, look: Look) -> Floats:
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
    return np.asarray(PAINTERS[place](scene, rng, look) * scene.inside, dtype=np.float32)


def dna(scene: Scene, rng: np.random.Generator) -> Floats:
    """Paint the DNA stain: chromatin texture, dark nucleoli, one or two genomes a cell."""
    grain = 1 + 0.16 * smooth_noise(rng, _size(scene), 0.45 / scene.step_um)
    content = rng.choice([0.75, 1.0, 1.35], p=[0.55, 0.2, 0.25], size=scene.n_cells + 1)
    content = (content * rng.lognormal(0, 0.1, content.size)).astype(np.float32)
    return _float(
        scene.nucleus * np.clip(grain, 0.3, 2) * (1 - 0.6 * scene.nucleolus) * content[scene.label]
    )


def microtubules(scene: Scene, rng: np.random.Generator, look: Look) -> Floats:
    """Paint long curved filaments that run out from the centrosome to the cell's edge."""
    n = round(0.16 * look.abundance * _area_um2(scene.inside, scene))
    rows, columns = sample_points(rng, scene.inside.astype(np.float32), n)
    hub = scene.centrosome[scene.label[rows, columns]]
    outwards = np.arctan2(rows - hub[:, 0], columns - hub[:, 1])
    angles = outwards + rng.normal(0, 0.5, len(rows)) + np.pi * rng.integers(2, size=len(rows))
    length = round(11.0 / scene.step_um)
    curl = 0.06 * (1.3 - look.straightness)
    region = np.where(scene.edge_um > 0.3, scene.label, 0)
    visits = fibres(rng, region, _stack(rows, columns), angles, length, curl)
    under = 1 - 0.55 * scene.nucleus  # the nucleus displaces the filaments but for a thin layer
    return _float(tubes(0.6 * visits, 0.7 * look.size) * under)


def endoplasmic_reticulum(scene: Scene, rng: np.random.Generator, look: Look) -> Floats:
    """Paint a fine network, densest around the nucleus, that includes the nuclear envelope."""
    size = _size(scene)
    grain = 0.42 * look.size / scene.step_um
    net = np.maximum(mesh(rng, size, grain, 0.5), mesh(rng, size, 1.7 * grain, 0.35))
    sheet = 0.3 * (1 - look.texture) + 0.1
    reach = 2.2 + 3.5 * look.spread
    density = 0.25 + np.exp(-np.clip(scene.nucleus_um, 0, 50) / reach)
    rim = 0.5 * _envelope(scene, 0.35)
    taper = np.clip(scene.edge_um / 1.2, 0, 1)
    return _float(scene.cytoplasm * (sheet + (1 - sheet) * net) * density * taper + rim)


def _centrosome(scene: Scene, rng: np.random.Generator, look: Look) -> Floats:
    """Paint one or two dots beside the nucleus of each cell."""
    size = _size(scene)
    second = scene.centrosome + rng.normal(0, 0.7 / scene.step_um, scene.centrosome.shape)
    points = np.concatenate([scene.centrosome, second[rng.random(len(second)) < 0.6]])
    rows, columns = _own(points, scene)
    return _float(5.0 * spots(rng, rows, columns, 0.38 * look.size / scene.step_um, size))


def _cytoplasmic(scene: Scene, rng: np.random.Generator, look: Look) -> Floats:
    """Fill the cytoplasm, mottled where organelles exclude the protein."""
    size = _size(scene)
    mottle = 1 + (0.06 + 0.2 * look.texture) * smooth_noise(
        rng, size, 0.6 * look.size / scene.step_um
    )
    in_nucleus = 0.1 + 0.25 * look.spread
    return _float(
        (scene.cytoplasm + in_nucleus * scene.nucleus) * mottle * (0.3 + 0.7 * scene.thickness)
    )


def _cytoskeleton(scene: Scene, rng: np.random.Generator, look: Look) -> Floats:
    """Paint microtubule-like filaments, or actin-like bundles with a bright cortex, by protein."""
    if look.spread < 0.5:
        return _float(1.2 * microtubules(scene, rng, look))
    n = round(0.10 * look.abundance * _area_um2(scene.inside, scene))
    rows, columns = sample_points(rng, scene.inside.astype(np.float32), n)
    axis = rng.uniform(0, np.pi, scene.n_cells + 1)[scene.label[rows, columns]]
    angles = axis + rng.normal(0, 0.2, n) + np.pi * rng.integers(2, size=n)
    length = round(9.0 / scene.step_um)
    visits = fibres(rng, scene.label, _stack(rows, columns), angles, length, 0.012)
    cortex = np.exp(-((scene.edge_um / 0.7) ** 2))
    return _float(tubes(0.8 * visits, 0.9 * look.size) + 0.45 * cortex)


def _golgi(scene: Scene, rng: np.random.Generator, look: Look) -> Floats:
    """Paint a ribbon of short, stacked cisternae on one side of the nucleus."""
    per_cell = max(3, round(9 * look.abundance))
    hubs = np.repeat(scene.centrosome[1:], per_cell, axis=0)
    nuclei = np.repeat(scene.centre[1:], per_cell, axis=0)
    wide = (1.0 + 1.4 * look.spread) / scene.step_um
    points = hubs + rng.normal(0, wide, hubs.shape)
    rows, columns = _own(points, scene)
    around = np.arctan2(points[:, 0] - nuclei[:, 0], points[:, 1] - nuclei[:, 1]) + np.pi / 2
    around = around[_owned(points, scene)]
    region = np.where(scene.nucleus_um > 0, scene.label, 0)
    angles = around + rng.normal(0, 0.6, len(around))
    length = max(3, round(2.0 * look.size / scene.step_um))
    visits = fibres(rng, region, _stack(rows, columns), angles, length, 0.15)
    return _float(1.7 * tubes(visits, 0.4 * look.size / scene.step_um))


def _membrane(scene: Scene, rng: np.random.Generator, look: Look) -> Floats:
    """Paint a rim along the cell's edge, brighter where cells touch, with ruffles on top."""
    size = _size(scene)
    rim = np.exp(-((scene.edge_um / (0.45 + 0.2 * look.size)) ** 2))
    patchy = 1 + 0.5 * look.texture * smooth_noise(rng, size, 1.5 / scene.step_um)
    ruffles = 0.35 * look.spread * np.clip(smooth_noise(rng, size, 0.8 / scene.step_um), 0, None)
    return _float(1.1 * rim * np.clip(patchy, 0.2, None) + ruffles * scene.thickness + 0.08)


def _mitochondria(scene: Scene, rng: np.random.Generator, look: Look) -> Floats:
    """Paint worms through the cytoplasm, from short and plump to a long network, by protein."""
    reach = 2.0 + 5.0 * look.spread
    density = scene.cytoplasm * np.exp(-np.clip(scene.nucleus_um, 0, 50) / reach)
    n = round(0.16 * look.abundance * _area_um2(scene.cytoplasm, scene))
    rows, columns = sample_points(rng, _float(density * (scene.edge_um > 1.0)), n)
    region = np.where((scene.nucleus_um > 0.2) & (scene.edge_um > 0.8), scene.label, 0)
    length = round((1.5 + 4.5 * look.straightness) / scene.step_um)
    angles = rng.uniform(0, 2 * np.pi, len(rows))
    visits = fibres(rng, region, _stack(rows, columns), angles, length, 0.14)
    return _float(1.15 * tubes(visits, 0.26 * look.size / scene.step_um))


def _nuclear_membrane(scene: Scene, rng: np.random.Generator, look: Look) -> Floats:
    """Paint a thin ring around the nucleus, beaded by pores."""
    beads = 1 + 0.4 * look.texture * smooth_noise(rng, _size(scene), 0.4 / scene.step_um)
    haze = 0.12 + 0.2 * look.spread
    return _float(
        1.2 * _envelope(scene, 0.3 * look.size) * np.clip(beads, 0.2, 2) + haze * scene.nucleus
    )


def _nuclear_punctae(scene: Scene, rng: np.random.Generator, look: Look) -> Floats:
    """Paint speckles and bodies in a nucleus that shows them on a faint ground."""
    density = scene.nucleus * (1 - scene.nucleolus) * (scene.nucleus_um < -0.5)
    n = round(0.12 * look.abundance * _area_um2(scene.nucleus, scene))
    rows, columns = sample_points(rng, _float(density), n)
    dots = spots(rng, rows, columns, 0.36 * look.size / scene.step_um, _size(scene))
    ground = (0.1 + 0.3 * look.spread) * scene.nucleus
    return _float((1.6 * dots + ground) * scene.nucleus)


def _nucleolus(scene: Scene, rng: np.random.Generator, look: Look) -> Floats:
    """Paint the nucleoli, mottled, in a nucleus that holds some of the protein."""
    mottle = 1 + 0.25 * look.texture * smooth_noise(rng, _size(scene), 0.4 / scene.step_um)
    ground = 0.05 + 0.3 * look.spread
    return _float(1.2 * scene.nucleolus * mottle + ground * scene.nucleus)


def _nucleoplasm(scene: Scene, rng: np.random.Generator, look: Look) -> Floats:
    """Fill the nucleus but for, by protein, the nucleoli."""
    grain = smooth_noise(rng, _size(scene), 0.5 * look.size / scene.step_um)
    mottle = np.clip(1 + (0.05 + 0.25 * look.texture) * grain, 0.2, 2)
    return _float(scene.nucleus * mottle * (1 - (0.2 + 0.6 * look.spread) * scene.nucleolus))


def _vesicles(scene: Scene, rng: np.random.Generator, look: Look) -> Floats:
    """Paint dots through the cytoplasm; large ones show as rings."""
    reach = 1.5 + 8.0 * look.spread
    density = scene.cytoplasm * np.exp(-np.clip(scene.nucleus_um, 0, 50) / reach)
    n = round(0.22 * look.abundance * _area_um2(scene.cytoplasm, scene))
    rows, columns = sample_points(rng, _float(density * (scene.edge_um > 0.6)), n)
    sigma = 0.32 * look.size / scene.step_um
    dots = spots(rng, rows, columns, sigma, _size(scene))
    hollow = max(0.0, look.size - 1.1)
    return _float(1.9 * np.clip(dots - hollow * blur(dots, 0.6 * sigma), 0, None))


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


def _size(scene: Scene) -> int:
    return int(scene.label.shape[0])


def _float(field: npt.NDArray[np.floating]) -> Floats:
    return np.asarray(field, dtype=np.float32)


def _area_um2(region: npt.NDArray[np.generic], scene: Scene) -> float:
    return float(region.sum()) * scene.step_um**2


def _stack(rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]) -> Points:
    return np.stack([rows, columns], axis=1).astype(np.float64)


def _envelope(scene: Scene, width_um: float) -> Floats:
    """Return the rim of the nuclei, peak 1."""
    return _float(np.exp(-((scene.nucleus_um / (1.4 * width_um)) ** 2)))


def _owned(points: Points, scene: Scene) -> npt.NDArray[np.bool_]:
    """Tell which points lie in the FOV and in a cell."""
    grid = np.rint(points).astype(np.intp)
    fits = np.all((grid >= 0) & (grid < _size(scene)), axis=1)
    grid = np.clip(grid, 0, _size(scene) - 1)
    return np.asarray(fits & (scene.edge_um[grid[:, 0], grid[:, 1]] > 0.4))


def _own(points: Points, scene: Scene) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return rows and columns of the points that lie in the FOV and in a cell."""
    grid = np.rint(points[_owned(points, scene)]).astype(np.intp)
    return grid[:, 0], grid[:, 1]
