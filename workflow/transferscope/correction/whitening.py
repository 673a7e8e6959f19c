"""Whitening by the covariance of negative controls, safe for few controls in many dimensions.

The covariance of all controls is shrunk (Ledoit and Wolf, 2004, doi:10.1016/S0047-259X(03)00096-4).
The few controls of one batch correct only what sticks out: directions whose variance exceeds what
noise without structure explains, as many as the controls can estimate; all others share one
variance. So nothing is divided by a variance that cannot be estimated, and no direction is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.covariance import ledoit_wolf

from transferscope.runtime.arrays import Floats

# No direction is whitened by less than this share of the mean variance.
LEAST_VARIANCE = 1e-6
# Controls per direction that is whitened by its own variance.
CONTROLS_PER_DIRECTION = 4


@dataclass(frozen=True)
class Whitening:
    """A linear map that whitens some directions.

    Parameters
    ----------
    matrix
        Symmetric, float64 [D, D]; rows are multiplied from the left.
    n_directions
        Number of directions with a variance of their own.
    """

    matrix: Floats
    n_directions: int


def shrunk_whitening(controls: Floats) -> tuple[Floats, float]:
    """Return the whitening by the shrunk covariance of controls, [n, D] with n >= 2.

    Returns
    -------
    matrix : float64 [D, D]
        Symmetric; rows are multiplied from the left.
    shrinkage : float
        Weight of the multiple of the identity, from 0 to 1.
    """
    covariance, shrinkage = ledoit_wolf(controls)
    values, vectors = np.linalg.eigh(covariance)
    if values.mean() <= 0:
        return np.eye(len(values)), 1.0
    values = np.maximum(values, LEAST_VARIANCE * values.mean())
    return np.asarray((vectors / np.sqrt(values)) @ vectors.T), float(shrinkage)


def few_directions(controls: Floats) -> Whitening:
    """Return the whitening of the directions that stick out of controls, [n, D] with n >= 2.

    The number of directions is that of eigenvalues above the upper edge of the distribution of
    Marchenko and Pastur (1967), with the noise estimated from the eigenvalues below, and at most a
    quarter of the controls. Eigenvalues are corrected for their bias in the spiked covariance model
    (Baik and Silverstein, 2006, doi:10.1016/j.jmva.2005.08.003).
    """
    n, size = controls.shape
    deviations = controls - controls.mean(axis=0)
    values, vectors = np.linalg.eigh(deviations.T @ deviations / (n - 1))
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    most = min(n // CONTROLS_PER_DIRECTION, size - 1)
    kept = 0
    while kept < most and values[kept] > _edge(values, kept, n):
        kept += 1
    noise = values[kept:].sum() / (size - kept)
    if noise <= 0:
        return Whitening(np.eye(size), 0)
    variances = np.full(size, noise)
    variances[:kept] = noise * _unbiased(values[:kept] / noise, (size - kept) / n)
    return Whitening((vectors / np.sqrt(variances)) @ vectors.T, kept)


def published_components(values: Floats, controls: Floats) -> Floats:
    """Return the principal components of controls, applied to all rows, [N, min(n, D)]."""
    centre = controls.mean(axis=0)
    _, _, axes = np.linalg.svd(controls - centre, full_matrices=False)
    return np.asarray((values - centre) @ axes.T)


def published_alignment(controls: Floats) -> Floats:
    """Return (covariance + I / 2) ** (-1/2) of the controls of a batch, [D, D]."""
    covariance = np.atleast_2d(np.cov(controls, rowvar=False)) + 0.5 * np.eye(controls.shape[1])
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors / np.sqrt(values)) @ vectors.T)


def _edge(values: Floats, kept: int, n: int) -> float:
    """Return the largest eigenvalue of noise, if the first `kept` are signal."""
    rest = len(values) - kept
    noise = values[kept:].sum() / rest
    return float(noise * (1 + np.sqrt(rest / max(n - kept, 1))) ** 2)


def _unbiased(ratios: Floats, aspect: float) -> Floats:
    """Return the true ratios of eigenvalues to noise, given sample ones above the edge."""
    middle = ratios + 1 - aspect
    root = np.sqrt(np.maximum(middle**2 - 4 * ratios, 0))
    return np.maximum((middle + root) / 2, 1)
