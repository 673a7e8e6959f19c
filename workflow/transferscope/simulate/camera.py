"""From fluorophores to counts: optics, illumination, shot noise, read noise, digitisation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from .domains import Optics
from .primitives import blur
from .randomness import rng_for
from .scene import Floats, floats

OVERSAMPLE = 2  # fine grid points along a camera pixel
HAZE_UM = 2.2  # blur of the light from outside the focal plane
UINT16_MAX = 65535


@dataclass(frozen=True)
class Settings:
    """What varies at the microscope from plate to plate and from FOV to FOV.

    Attributes
    ----------
    exposure
        Exposure relative to the domain's.
    background
        Background light relative to the domain's.
    focus
        Width of the point spread function relative to the one in focus.
    haze
        Out-of-focus light relative to the domain's.
    brightest
        [2] brightest point of the illumination, as shares of the FOV's edges.
    gain
        Gain of the camera relative to the domain's.
    offset
        Counts of a dark pixel beyond the domain's.
    """

    exposure: float
    background: float
    focus: float
    haze: float
    brightest: tuple[float, float]
    gain: float = 1.0
    offset: float = 0.0


def draw_settings(
    seed: int, domain: str, batch: str, fov: str, screened: float | None = None
) -> Settings:
    """Draw the settings of one FOV: a shift that its plate shares, and one of its own.

    The plates of a screen differ by the settings of the camera, too, and by the given multiple of
    what others do; 0: all of them are alike.
    """
    e = 1.0 if screened is None else screened
    plate, own = rng_for(seed, domain, "plate", batch), rng_for(seed, domain, "settings", fov)
    return Settings(
        exposure=plate.lognormal(0, e * 0.2) * own.lognormal(0, 0.15),
        background=plate.lognormal(0, e * 0.3) * own.lognormal(0, 0.2),
        focus=plate.uniform(1.0, 1 + e * 0.25) * own.uniform(1.0, 1.35),
        haze=plate.lognormal(0, e * 0.1) * own.lognormal(0, 0.25),
        brightest=(_around_centre(plate, e), _around_centre(plate, e)),
        gain=1.0 if screened is None else plate.lognormal(0, e * 0.06),
        offset=0.0 if screened is None else e * 25.0 * plate.exponential(),
    )


def _around_centre(rng: Generator, effects: float) -> float:
    """Draw a share of the FOV's edge, at most the given multiple of a fifth from its centre."""
    return float(np.clip(rng.uniform(0.5 - effects * 0.2, 0.5 + effects * 0.2), 0, 1))


def acquire(
    rng: Generator, light: Floats, photons: float, optics: Optics, settings: Settings
) -> npt.NDArray[np.uint16]:
    """Take a picture of one channel.

    Parameters
    ----------
    rng
        Stream for the noise of this channel.
    light
        [S, S] float32 fluorescence on the fine grid, typical peak 1.
    photons
        Photons per camera pixel from a light of 1 at exposure 1.
    optics
        The domain's microscope.
    settings
        This FOV's settings.

    Returns
    -------
    numpy.ndarray
        [S / OVERSAMPLE, S / OVERSAMPLE] uint16 camera counts.
    """
    pixels = _bin(_defocus(light, optics, settings))
    expected = photons * settings.exposure * pixels + optics.background * settings.background
    detected = rng.poisson(
        np.clip(expected * _illumination(pixels.shape[0], optics, settings), 0, None)
    )
    read = rng.normal(0, optics.read_noise, pixels.shape)
    counts = optics.offset + settings.offset + optics.gain * settings.gain * detected + read
    return np.asarray(np.clip(np.rint(counts), 0, UINT16_MAX), dtype=np.uint16)


def _defocus(light: Floats, optics: Optics, settings: Settings) -> Floats:
    """Blur by the point spread function and add the haze."""
    step_um = optics.pixel_size_um / OVERSAMPLE
    haze = min(0.9, optics.haze * settings.haze)
    sharp = blur(light, optics.psf_um * settings.focus / step_um)
    return floats((1 - haze) * sharp + haze * blur(sharp, HAZE_UM / step_um))


def _bin(fine: Floats) -> Floats:
    """Average the fine grid within each camera pixel."""
    edge = fine.shape[0] // OVERSAMPLE
    blocks = fine.reshape(edge, OVERSAMPLE, edge, OVERSAMPLE)
    return floats(blocks.mean(axis=(1, 3)))


def _illumination(edge: int, optics: Optics, settings: Settings) -> Floats:
    """Return the share of the light that each pixel gets: a paraboloid off the centre."""
    along = (np.arange(edge) + 0.5) / edge
    y, x = along - settings.brightest[0], along - settings.brightest[1]
    squared = y[:, None] ** 2 + x[None, :] ** 2
    return floats(1 - optics.vignetting * squared / 0.5)
