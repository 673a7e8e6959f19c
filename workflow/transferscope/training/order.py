"""Which rows each step of a training sees."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from transferscope.runtime.seeds import derive_rng

IntArray = npt.NDArray[np.int64]


class BatchOrder:
    """Rows of each step: seed and step determine them, so that a resumed run continues exactly.

    Each epoch has its own permutation; a remainder that fills no batch is left out, a different one
    in each epoch.

    Parameters
    ----------
    n_rows
        Number of rows.
    batch_size
        Rows per step, over all processes. Made smaller where there are fewer rows, and divisible by
        the number of processes.
    seed
        Seed of the permutations.
    rank, world_size
        This process, and how many there are; each takes a separate part of a batch.
    whole_batches
        Show each row several times per epoch where there are fewer rows than a batch has, so that
        all batches are of one size.
    weights
        [n_rows], how often each row is drawn in proportion to the others, with replacement; None:
        each row once per epoch. Not together with `whole_batches`.
    """

    def __init__(
        self,
        n_rows: int,
        batch_size: int,
        seed: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        whole_batches: bool = False,
        weights: npt.NDArray[np.floating[Any]] | None = None,
    ) -> None:
        if n_rows < world_size:
            raise ValueError(f"{n_rows} rows are too few for {world_size} processes")
        self.n_rows = n_rows
        self._repeats = -(-batch_size // n_rows) if whole_batches else 1
        shown = self._repeats * n_rows
        self.batch_size = min(batch_size, shown) // world_size * world_size or world_size
        self.steps_an_epoch = shown // self.batch_size
        self._seed = seed
        self._share = self.batch_size // world_size
        self._start = rank * self._share
        self._chances = None if weights is None else weights / weights.sum()
        self._epoch = -1
        self._rows = np.empty(0, dtype=np.int64)

    def rows(self, step: int) -> IntArray:
        """Return the rows of a step that this process sees, [batch_size / world_size]."""
        epoch, place = divmod(step, self.steps_an_epoch)
        if epoch != self._epoch:
            self._rows, self._epoch = self._drawn(epoch), epoch
        start = place * self.batch_size + self._start
        return self._rows[start : start + self._share]

    def _drawn(self, epoch: int) -> IntArray:
        rng = derive_rng(self._seed, "order", epoch)
        if self._chances is None:
            orders = [rng.permutation(self.n_rows) for _ in range(self._repeats)]
            return np.concatenate(orders)
        return rng.choice(self.n_rows, self.n_rows, p=self._chances)
