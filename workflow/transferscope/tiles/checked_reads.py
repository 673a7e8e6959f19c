"""Tiles read from first to last, each block compared with its checksum on the way."""

from __future__ import annotations

import hashlib

import numpy as np

from transferscope.runtime.arrays import Pixels
from transferscope.stores.tile_store import TileStore


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
        rows = self._store.block_rows
        if start != self._next:
            # The rows before it in its block belong to the checksum, too.
            first = start - start % rows
            self._hash = hashlib.sha256()
            if first < start:
                self._hash.update(self._store.read(first, start).data)
        values = self._store.read(start, stop)
        for part in np.split(values, range(rows - start % rows, len(values), rows)):
            self._hash.update(np.ascontiguousarray(part).data)
            start += len(part)
            if len(part) and (start % rows == 0 or start == len(self._store)):
                self._compare((start - 1) // rows)
        self._next = stop
        return values

    def _compare(self, block: int) -> None:
        found, self._hash = self._hash.digest(), hashlib.sha256()
        if found != self._store.digest(block):
            raise self._store.damaged_block(block)
