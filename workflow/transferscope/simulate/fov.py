"""One FOV of one protein, from the layout of its cells to camera counts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from .camera import OVERSAMPLE, acquire, draw_settings
from .domains import Domain
from .organelles import dna, endoplasmic_reticulum, microtubules, paint_localization
from .proteins import Look, Protein
from .randomness import rng_for
from .scene import Floats, Scene, build_scene, floats

Stream = Callable[..., Generator]  # names a random stream of this FOV
AUTOFLUORESCENCE = 0.035  # of every cell, relative to the domain's median protein signal
SILENT_LEVEL = 0.1


def fov_name(protein: Protein, index: int) -> str:
    """Return the name of a protein's FOV, unique in its data set."""
    return f"{protein.name}_{index:02d}"


def simulate_fov(
    domain: Domain,
    protein: Protein,
    index: int,
    fov_size: int,
    seed: int,
    screened: float | None = None,
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16]]:
    """Simulate one FOV.

    Parameters
    ----------
    domain
        The imaging domain.
    protein
        The tagged protein.
    index
        Number of the FOV among the protein's.
    fov_size
        Edge of the FOV in pixels.
    seed
        Seed of the data set.
    screened
        See `camera.draw_settings`.

    Returns
    -------
    image : numpy.ndarray
        [C, fov_size, fov_size] uint16 camera counts, channels in the domain's order.
    mask : numpy.ndarray
        [fov_size, fov_size] uint16, the cells numbered from 1, 0 outside them.
    """
    name, optics = fov_name(protein, index), domain.optics
    stream = partial(rng_for, seed, domain.name, name)
    scene = build_scene(
        stream("layout"),
        domain.culture,
        fov_size * OVERSAMPLE,
        optics.pixel_size_um / OVERSAMPLE,
        protein.confluence,
        protein.nucleus_scale,
    )
    settings = draw_settings(seed, domain.name, protein.batch, name, screened)
    planes = []
    for channel in domain.channels:
        light = _light(channel, scene, protein, stream)
        photons = optics.photons if channel == "protein" else optics.photons_marker
        planes.append(acquire(stream("noise", channel), light, photons, optics, settings))
    return np.stack(planes), _instances(scene)


def _light(channel: str, scene: Scene, protein: Protein, stream: Stream) -> Floats:
    """Paint the fluorescence of one channel."""
    rng = stream("channel", channel)
    if channel == "protein":
        return _protein_light(scene, protein, stream)
    if channel == "nucleus":
        return dna(scene, rng)
    stain = Look(size=1.0, abundance=1.0, spread=0.4, texture=0.5, straightness=0.5)
    painter = {"microtubules": microtubules, "er": endoplasmic_reticulum}[channel]
    return floats(painter(scene, rng, stain) * scene.inside)


def _protein_light(scene: Scene, protein: Protein, stream: Stream) -> Floats:
    """Mix the protein's places, its unbound share and the cells' own light."""
    light = floats(protein.diffuse * scene.inside * (0.4 + 0.6 * scene.thickness))
    for place, weight in protein.components:
        rng = stream("place", place)
        light += np.float32(weight) * paint_localization(place, scene, rng, protein.look)
    level = _expression(stream("expression"), protein, scene.n_cells)
    light *= level[scene.label]
    light += np.float32(AUTOFLUORESCENCE) * scene.inside * scene.thickness
    return light


def _expression(rng: Generator, protein: Protein, n_cells: int) -> Floats:
    """Return [cells + 1] float32 expression of each cell, 0 for the background."""
    level = protein.expression * rng.lognormal(0, protein.heterogeneity, n_cells + 1)
    level[rng.random(n_cells + 1) < protein.silent] *= SILENT_LEVEL
    level[0] = 0
    return floats(level)


def _instances(scene: Scene) -> npt.NDArray[np.uint16]:
    """Return the visible cells at camera resolution, numbered 1, 2, 3 without gaps."""
    middle = slice(OVERSAMPLE // 2, None, OVERSAMPLE)
    label = scene.label[middle, middle]
    present = np.unique(label[label > 0])
    numbers = np.zeros(scene.n_cells + 1, dtype=np.uint16)
    numbers[present] = np.arange(1, len(present) + 1)
    return numbers[label]
