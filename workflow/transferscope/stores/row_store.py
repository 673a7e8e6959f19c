"""Stores with one chunk per row, and one file per block: of tiles, and of their masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from transferscope.runtime.arrays import Values
from transferscope.stores.block_store import TILE_SUM_BYTES, keys_of_block
from transferscope.stores.chunk_files import DamagedChunkError, Shard, plain_chunk
from transferscope.stores.file_sums import SHA256_BYTES
from transferscope.stores.reader import StoreReader


class RowStore(StoreReader):
    """A finished store in which each row has a checksum of its own.

    Parameters
    ----------
    manifest
        Path of the manifest.
    """

    def __init__(self, manifest: Path | str) -> None:
        super().__init__(manifest)
        self._sums_read: dict[int, Values] = {}

    def _sums(self, block: int) -> Values:
        """Return the sha256 of each tile of a block and the last bytes of its chunk."""
        if block not in self._sums_read:
            first, last = self._rows_of(block)
            name, expected = list(self._files_of(block).items())[-1]
            shape = self.block_rows, TILE_SUM_BYTES
            try:
                content = self._content(name)
                # What comes from elsewhere is held against its sha256, and not its end alone.
                if self.is_remote and not expected.fits(content):
                    raise DamagedChunkError(0)
                found = plain_chunk(content, expected, np.dtype("u1"), shape)
            except (DamagedChunkError, FileNotFoundError):
                raise self.damaged_block(block) from None
            self._sums_read[block] = found[: last - first]
        return self._sums_read[block]

    def _decode(self, block: int, first: int, columns: slice, out: Values) -> None:
        (name,) = keys_of_block(self.array, block)
        ends = self._sums(block)[first : first + len(out), SHA256_BYTES:]
        with Shard.opened(Path(self.path) / name, self.block_rows) as shard:
            shard.read(first, first + len(out), ends, out)
