"""The store of raw tiles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from transferscope.runtime.arrays import Floats32, Values
from transferscope.stores.block_store import content_digest
from transferscope.stores.manifest import TILES_FORMAT
from transferscope.stores.reader import StoreReader
from transferscope.transport.whole_blocks import WholeBlocks


class TileStore(StoreReader):
    """A finished tile store: raw tiles [N, C, H, W].

    Parameters
    ----------
    manifest
        Path of the manifest.

    Raises
    ------
    UserError
        If manifest or store is missing or damaged, or if they do not agree.
    """

    format = TILES_FORMAT
    array_name = "images"

    def __init__(self, manifest: Path | str) -> None:
        super().__init__(manifest)
        self._blocks = WholeBlocks(self._values, self.block, self.block_rows, len(self))

    @property
    def channels(self) -> list[str]:
        """Names of the channels."""
        return list(self.attributes["channels"])

    @property
    def intensity_range(self) -> Floats32:
        """Raw values of black and white, [C, 2]."""
        return np.asarray(self.attributes["intensity_range"], dtype=np.float32)

    @property
    def tile_size(self) -> tuple[int, int]:
        """Height and width of a tile in px."""
        height, width = self.manifest.shape[-2:]
        return height, width

    @property
    def pixel_size_um(self) -> float | None:
        """Pixel size in um; None if it is unknown or differs between tiles."""
        found = self.attributes.get("pixel_size_um")
        return None if found is None else float(found)

    def read(self, start: int, stop: int) -> Values:
        """Return tiles [stop - start, C, H, W] in the raw dtype.

        Raises
        ------
        UserError
            If they cannot be read.
        """
        return self._blocks.read(start, stop) if self.is_remote else self._values(start, stop)

    def digest_of(self, start: int, stop: int, rows: int) -> bytes:
        """Return the `content_digest` of tiles [start, stop), read `rows` at a time."""
        parts = (self.read(first, min(first + rows, stop)) for first in range(start, stop, rows))
        return content_digest(parts)

    def batches(self, size: int) -> Iterator[tuple[int, Values]]:
        """Yield (start row, tiles) in blocks of `size` rows."""
        for start in range(0, len(self), size):
            yield start, self.read(start, min(start + size, len(self)))
