"""What organelles are made of: textures, spots and fibres on a fine grid."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numpy.random import Generator
from scipy import ndimage

from .scene import Floats, Labels, Points, floats

GridPoints = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]  # rows and columns

SIZE_BINS = (0.75, 1.0, 1.35)  # spots come in three sizes: one blur each, not one per spot


def blur(image: Floats, sigma: float) -> Floats:
    """Return a Gaussian blur, sigma in grid points; the field goes on beyond the border."""
    return floats(ndimage.gaussian_filter(image, sigma, mode="reflect", truncate=3.0))


def smooth_noise(rng: Generator, shape: int, sigma: float) -> Floats:
    """Return [shape, shape] float32 noise of mean 0 and deviation 1 with grains of ``sigma``."""
    noise = blur(rng.standard_normal((shape, shape), dtype=np.float32), sigma)
    return floats(noise / max(float(noise.std()), 1e-6))


def mesh(rng: Generator, shape: int, sigma: float, width: float) -> Floats:
    """Return a network of lines, 0 to 1: the zero contours of a smooth noise."""
    return floats(np.exp(-((smooth_noise(rng, shape, sigma) / width) ** 2)))


def sample_points(rng: Generator, density: npt.NDArray[np.generic], n: int) -> GridPoints:
    """Draw ``n`` points from a density; none where it is 0 everywhere."""
    cumulative = np.cumsum(density, dtype=np.float64)
    n = n if cumulative[-1] > 0 else 0
    flat = np.searchsorted(cumulative, rng.uniform(0, cumulative[-1], n), side="right")
    rows, columns = np.unravel_index(np.minimum(flat, density.size - 1), density.shape)
    return rows, columns


def spots(rng: Generator, points: GridPoints, sigma: float, shape: int) -> Floats:
    """Paint Gaussian spots of varied size and brightness; a mean one peaks at 1.

    Parameters
    ----------
    rng
        Stream for sizes and brightness.
    points
        [n] grid points of the spots.
    sigma
        Mean standard deviation of a spot, in grid points.
    shape
        Points along the grid's edge.

    Returns
    -------
    numpy.ndarray
        [shape, shape] float32.
    """
    flat = np.ravel_multi_index(points, (shape, shape))
    size = rng.integers(len(SIZE_BINS), size=len(flat))
    bright = rng.lognormal(-0.08, 0.4, len(flat))
    total = np.zeros((shape, shape), dtype=np.float32)
    for index, scale in enumerate(SIZE_BINS):
        chosen = size == index
        width = sigma * scale
        dots = np.bincount(flat[chosen], bright[chosen], shape * shape).reshape(total.shape)
        total += blur(floats(dots), width) * np.float32(2 * np.pi * width**2)
    return total


def fibres(
    rng: Generator,
    allowed: Labels,
    starts: GridPoints,
    angles: Points,
    n_steps: int,
    curl: float,
) -> Floats:
    """Let fibres grow step by step within their cell and count their visits.

    Parameters
    ----------
    rng
        Stream for the bends.
    allowed
        [S, S] int32, the cell of each point in which fibres may lie, 0 where they may not.
    starts
        [n] first points.
    angles
        [n] first directions, in radians.
    n_steps
        Length, in grid points.
    curl
        Standard deviation of the bend at each step, in radians.

    Returns
    -------
    numpy.ndarray
        [S, S] float32, visits of each point. A fibre ends where it would leave its region.
    """
    shape, angle = len(allowed), angles
    position = np.stack(starts, axis=1).astype(np.float64)
    total = np.zeros(shape * shape)
    # Fibres bend steadily: their curvature, and not their direction, does the random walk.
    curvature = rng.normal(0, curl, len(angle))
    home = allowed[starts]
    for _ in range(n_steps):
        points = np.rint(position).astype(np.intp)
        fits = np.all((points >= 0) & (points < shape), axis=1)
        points = np.clip(points, 0, shape - 1)
        fits &= (allowed[points[:, 0], points[:, 1]] == home) & (home > 0)
        position, angle, curvature = position[fits], angle[fits], curvature[fits]
        points, home = points[fits], home[fits]
        if not len(points):
            break
        flat = np.ravel_multi_index((points[:, 0], points[:, 1]), allowed.shape)
        total += np.bincount(flat, minlength=shape * shape)
        curvature = 0.8 * curvature + rng.normal(0, 0.6 * curl, len(angle))
        angle = angle + curvature
        position = position + np.stack([np.sin(angle), np.cos(angle)], axis=1)
    return floats(total.reshape(allowed.shape))


def tubes(visits: Floats, sigma: float) -> Floats:
    """Turn visits into tubes of an even brightness near 1, ``sigma`` in grid points."""
    line = blur(visits, sigma) * np.float32(np.sqrt(2 * np.pi) * sigma)
    return floats(1 - np.exp(-1.5 * line))
