"""Rows of a remote array, read in whole blocks when the access is sequential."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from transferscope.runtime.arrays import Values


class WholeBlocks:
    """Reads rows by block: a block is one remote file, and each read of it costs a request.

    The last block is kept.

    Parameters
    ----------
    read_rows
        Returns rows [start, stop).
    read_block
        Returns the rows of a block.
    block_rows
        Rows per block; the last one may have fewer.
    total
        Number of rows of the array.
    verified
        Whether rows on their own are compared with their checksums. If not, only a single row that
        is asked for alone, which is a sample, is read on its own.
    """

    def __init__(
        self,
        read_rows: Callable[[int, int], Values],
        read_block: Callable[[int], Values],
        block_rows: int,
        total: int,
        verified: bool = True,
    ) -> None:
        self._read_rows, self._read_block = read_rows, read_block
        self._block_rows, self._total, self._verified = block_rows, total, verified
        self._lock = threading.Lock()
        self._block, self._next = -1, 0
        self._held: Values = np.empty(0)

    def read(self, start: int, stop: int) -> Values:
        """Return rows [start, stop)."""
        stop = min(stop, self._total)
        rows = self._block_rows
        starts = [start, *range((start // rows + 1) * rows, stop, rows)]
        ends = [*starts[1:], stop]
        whole = not self._verified and stop - start > 1
        parts = [self._part(*place, whole) for place in zip(starts, ends, strict=True)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _part(self, start: int, stop: int, whole: bool) -> Values:
        """Return rows of one block: from the kept block, a newly read block, or on their own."""
        block, within = divmod(start, self._block_rows)
        with self._lock:
            # A single row is a random sample: the rows after it will not be read.
            in_turn = stop - start > 1 and (within == 0 or start == self._next)
            if block != self._block and (in_turn or whole):
                self._held, self._block = self._read_block(block), block
            self._next = stop
            if block == self._block:
                # A copy, so that callers cannot change the kept block.
                return self._held[within : within + stop - start].copy()
        return self._read_rows(start, stop)
