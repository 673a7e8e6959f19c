"""Tiles read from first to last, each block compared with its checksum on the way."""

from __future__ import annotations

import hashlib

import numpy as np

from transferscope.raw.arrays import Pixels
from transferscope.stores import TileStore


class CheckedReads:
    """Reads tiles in rising order; a block counts as checked once its last tile was read.

    Parameters
    ----------
    store
        The tile store.
    """

    def __init__(self, store: TileStore) -> None:
        self._store = store
        self._next = -1
        self._hash = hashlib.sha256()

    def __call__(self, start: int, stop: int) -> Pixels:
        """Return tiles [stop - start, C, H, W] in the raw dtype.

        Raises
        ------
        DamagedBlockError
            Where a block that ends in these rows differs from its checksum.
        """
        if start != self._next:
            self._begin(start)
        values = self._store.read(start, stop)
        self._feed(values, start)
        return values

    def _begin(self, start: int) -> None:
        """Go to a row: those before it in its block belong to the checksum, too."""
        first = start - start % self._store.block_rows
        self._hash = hashlib.sha256()
        if first < start:
            self._hash.update(self._store.read(first, start).data)

    def _feed(self, values: Pixels, start: int) -> None:
        first, rows = start, self._store.block_rows
        stop = start + len(values)
        while start < stop:
            block = start // rows
            block_end = min((block + 1) * rows, len(self._store))
            end = min(stop, block_end)
            self._hash.update(np.ascontiguousarray(values[start - first : end - first]).data)
            if end == block_end:
                self._compare(block)
            start = end
        self._next = stop

    def _compare(self, block: int) -> None:
        found, self._hash = self._hash.digest(), hashlib.sha256()
        if found != self._store.digest(block):
            raise self._store.damaged_block(block)
