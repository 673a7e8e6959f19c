"""Simulated screens: perturbations in batches, with controls, offsets and correlated noise."""

from dataclasses import dataclass

import numpy as np

from transferscope.correction.rows import Rows


@dataclass(frozen=True)
class Screen:
    values: np.ndarray
    rows: Rows
    perturbations: np.ndarray  # -1: a control

    def retrieval(self, values: np.ndarray) -> float:
        """Return how often the nearest treated row is of the same perturbation."""
        treated = self.perturbations >= 0
        own = self.perturbations[treated]
        units = values[treated] / np.linalg.norm(values[treated], axis=1, keepdims=True)
        cosines = units @ units.T
        np.fill_diagonal(cosines, -2)
        return float(np.mean(own[cosines.argmax(axis=1)] == own))


def screen(
    seed: int,
    n_controls: int,
    *,
    n_batches: int = 4,
    size: int = 64,
    n_perturbations: int = 60,
    offset: float = 1.0,
    noise_rank: int = 2,
) -> Screen:
    """Return one replicate of each perturbation per batch; batches also differ in scale."""
    rng = np.random.default_rng(seed)
    directions = 2 * rng.normal(size=(noise_rank, size))
    effects = 0.7 * rng.normal(size=(n_perturbations, size))
    offsets = offset * rng.normal(size=(n_batches, size))
    gains = np.exp(0.2 * (offset > 0) * rng.normal(size=(n_batches, size)))

    def noise(n):
        return rng.normal(size=(n, noise_rank)) @ directions + rng.normal(size=(n, size))

    own = n_controls // n_batches
    rows = [
        np.concatenate([noise(own), noise(n_perturbations) + effects]) * gain + start
        for gain, start in zip(gains, offsets, strict=True)
    ]
    names = np.concatenate([np.full(own, -1), np.arange(n_perturbations)])
    batches = np.repeat([f"plate{n}" for n in range(n_batches)], len(names)).astype(object)
    perturbations = np.tile(names, n_batches)
    return Screen(np.concatenate(rows), Rows.of(batches, perturbations < 0), perturbations)
