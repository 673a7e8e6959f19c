"""Tiles of a store as training reads them: whole batches, by row, as raw integers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import torch
from torch import Tensor

from transferscope.stores.tile_store import TileStore

# Share of the free memory that tiles may take.
MEMORY_SHARE = 0.25
READ_ROWS = 1024
READERS = 4
Pixels = npt.NDArray[Any]
IntArray = npt.NDArray[np.int64]


class TrainingTiles:
    """Some tiles of a store, in memory where they fit.

    Parameters
    ----------
    store
        The store.
    rows
        Rows of the store that are used, and no other. Tiles are counted within them.
    in_memory
        Read them all now; else each batch is read when it is asked for.
    """

    def __init__(self, store: TileStore, rows: IntArray, *, in_memory: bool) -> None:
        self.channels = store.channels
        self.intensity_range = store.intensity_range
        self.rows = rows
        self.tile_id = [store.tile_ids[row] for row in rows]
        self.shape = (len(rows), *store.manifest.shape[1:])
        self._store = store
        self._pixels = _read_all(store, rows) if in_memory else None

    @classmethod
    def open(
        cls, manifest: Path, rows: IntArray | None = None, memory_budget: int | None = None
    ) -> TrainingTiles:
        """Open some tiles of a store.

        Parameters
        ----------
        manifest
            Manifest of the tile store.
        rows
            Rows that are used; None: all.
        memory_budget
            Bytes that they may take in memory; None: a quarter of what is free.
        """
        store = TileStore(manifest)
        chosen = np.arange(len(store)) if rows is None else np.asarray(rows, dtype=np.int64)
        if memory_budget is None:
            memory_budget = int(MEMORY_SHARE * psutil.virtual_memory().available)
        size = len(chosen) * int(np.prod(store.manifest.shape[1:])) * store.array.dtype.itemsize
        return cls(store, chosen, in_memory=size <= memory_budget)

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, indices: IntArray) -> Tensor:
        """Return tiles [B, C, H, W] in the raw dtype, on the processor; pinned if there is a GPU.

        Parameters
        ----------
        indices
            Positions within `rows`, [B].
        """
        kept = self._pixels
        pixels = _read_each(self._store, self.rows[indices]) if kept is None else kept[indices]
        batch = torch.from_numpy(pixels)
        return batch.pin_memory() if torch.cuda.is_available() else batch


def scaled(batch: Tensor, intensity_range: npt.NDArray[np.float32]) -> Tensor:
    """Return raw tiles as float32 in which a dataset's intensity range is 0 to 1, clipped.

    Parameters
    ----------
    batch
        [B, C, H, W], any integer type, on any device.
    intensity_range
        Raw values of black and white, [C, 2].
    """
    limits = torch.as_tensor(intensity_range, dtype=torch.float32, device=batch.device)
    low, high = (limits[:, i, None, None] for i in (0, 1))
    return ((batch.float() - low) / (high - low)).clamp_(0, 1)


def _read_all(store: TileStore, rows: IntArray) -> Pixels:
    """Return tiles [N, C, H, W]; of an object store, whole blocks are read, each compared."""
    pixels = np.empty((len(rows), *store.manifest.shape[1:]), dtype=store.array.dtype)
    if store.is_remote:
        blocks, within = np.divmod(rows, store.block_rows)
        for block in np.unique(blocks):
            positions = np.flatnonzero(blocks == block)
            pixels[positions] = store.block(int(block))[within[positions]]
        return pixels
    order = np.argsort(rows, kind="stable")
    for positions in _runs(rows, order):
        start = int(rows[positions[0]])
        pixels[positions] = store.read(start, start + len(positions))
    return pixels


def _runs(rows: IntArray, order: IntArray) -> list[IntArray]:
    """Split positions, sorted by row, into runs of consecutive rows of bounded length."""
    gaps = np.flatnonzero(np.diff(rows[order]) != 1) + 1
    return [
        run[first : first + READ_ROWS]
        for run in np.split(order, gaps)
        for first in range(0, len(run), READ_ROWS)
    ]


def _read_each(store: TileStore, rows: IntArray) -> Pixels:
    with ThreadPoolExecutor(READERS) as readers:
        return np.concatenate(list(readers.map(lambda row: store.read(row, row + 1), rows)))
