"""Cosines of all pairs of entities, counted in blocks: memory grows with entities, not with pairs.

Cosines are computed in float64 and counted on a grid of 2**20 steps from -1 to 1, of which each is
2e-6 wide; cosines in one step count as tied. Values that are equal but for rounding are thereby
equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from transferscope.runtime.arrays import Bools, Floats, Floats32, Integers

HALF = 1 << 19
STEPS = 2 * HALF + 1
# Values of a block of cosines: 8 bytes each.
BLOCK_VALUES = 1 << 21
# Pairs whose vectors are gathered at once, times their length.
GATHERED_VALUES = 1 << 22
# Standard deviation of the cosines below which embeddings say nothing of pairs.
COLLAPSED = 1e-4


def unit_vectors(embeddings: Floats32 | Floats) -> Floats:
    """Return rows of length one, float64 [G, D]; a row of zeros remains one."""
    values = np.asarray(embeddings, dtype=np.float64)
    # Scaled first, so that neither large nor small values overflow when squared.
    largest = np.abs(values).max(axis=1, keepdims=True, initial=0)
    values = np.divide(values, largest, out=np.zeros_like(values), where=largest > 0)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(np.divide(values, lengths, out=values, where=lengths > 0))


def pair_steps(units: Floats, first: Integers, second: Integers) -> Integers:
    """Return the step of the cosine of each pair, int64 [K]."""
    at_once = max(1, GATHERED_VALUES // max(units.shape[1], 1))
    parts = [np.empty(0, dtype=np.int64)]
    for start in range(0, len(first), at_once):
        own = slice(start, start + at_once)
        cosines = np.einsum("kd,kd->k", units[first[own]], units[second[own]])
        parts.append(_steps(cosines))
    return np.concatenate(parts)


@dataclass(frozen=True)
class CosineCounts:
    """Number of pairs whose cosine is in each step.

    Parameters
    ----------
    counts
        int64 [STEPS].
    """

    counts: Integers

    @property
    def n_pairs(self) -> int:
        """Number of pairs."""
        return int(self.counts.sum())

    @property
    def spread(self) -> float:
        """Standard deviation of the cosines; 0 without pairs."""
        if not self.n_pairs:
            return 0.0
        steps = np.arange(STEPS) - HALF
        mean = float(self.counts @ steps) / self.n_pairs
        return float(np.sqrt((self.counts @ (steps - mean) ** 2) / self.n_pairs) / HALF)

    @property
    def is_collapsed(self) -> bool:
        """Whether all pairs are equally similar, so that none can be found."""
        return self.spread < COLLAPSED


def count_cosines(units: Floats, members: Bools | None = None) -> CosineCounts:
    """Count the cosines of all pairs of different entities.

    Parameters
    ----------
    units
        Rows of length one, [G, D].
    members
        Strata of each entity, bool [G, S]: only pairs that share a stratum count. None: all.
    """
    counts = np.zeros(STEPS, dtype=np.int64)
    for start, stop in _row_blocks(len(units)):
        cosines = units[start:stop] @ units[start:].T
        used = np.ones(cosines.shape, dtype=bool) if members is not None else None
        # Of the square on the diagonal, only one triangle; to its right, everything.
        size = stop - start
        triangle = np.triu_indices(size, 1)
        parts = [_steps(cosines[:, :size][triangle]), _steps(cosines[:, size:])]
        if members is not None and used is not None:
            used = share(members, slice(start, stop), slice(start, None))
            kept = [used[:, :size][triangle], used[:, size:]]
            parts = [part[own] for part, own in zip(parts, kept, strict=True)]
        for part in parts:
            counts += np.bincount(part.ravel(), minlength=STEPS)
    return CosineCounts(counts)


def share(members: Bools, rows: slice | Integers, columns: slice | Integers) -> Bools:
    """Return whether entities share a stratum: of each row with each column."""
    mine, others = (members[own].astype(np.float32) for own in (rows, columns))
    return np.asarray(mine @ others.T > 0)


def _steps(cosines: Floats) -> Integers:
    scaled = (cosines + 1) * HALF
    scaled += 0.5
    return np.clip(scaled, 0, STEPS - 1, out=scaled).astype(np.int64)


def _row_blocks(n_rows: int) -> Iterator[tuple[int, int]]:
    size = max(1, BLOCK_VALUES // max(n_rows, 1))
    for start in range(0, n_rows, size):
        yield start, min(start + size, n_rows)
