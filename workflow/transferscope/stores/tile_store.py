"""The store of raw tiles."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from transferscope.runtime.arrays import Floats32, Values
from transferscope.stores.file_sums import SHA256_BYTES
from transferscope.stores.manifest import TILES_FORMAT
from transferscope.stores.row_store import RowStore
from transferscope.stores.version_1 import TileSums
from transferscope.transport.whole_blocks import WholeBlocks

# Attributes of stores that were made of tiles; also of tiles that were reduced.
TILES_SHA256 = "tiles_sha256"
OF_TILES = (TILES_SHA256, "tile_size", "tile_pixel_size_um")
# Attribute of reduced tiles.
CLIP_RANGE = "clip_range"
# Attribute of an embedding store: side in px of the reduced tiles that were embedded.
REDUCED_TO = "reduced_to"


class TileStore(RowStore):
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
        verified = self._old_sums is None
        self._blocks = WholeBlocks(self.values, self.block, self.block_rows, len(self), verified)

    @property
    def channels(self) -> list[str]:
        """Names of the channels."""
        return list(self.attributes["channels"])

    @property
    def intensity_range(self) -> Floats32:
        """Raw values of black and white, [C, 2]."""
        return np.asarray(self.attributes["intensity_range"], dtype=np.float32)

    @property
    def clip_range(self) -> Floats32:
        """Raw values to which a network's input is clipped, [C, 2]: black and white.

        Of reduced tiles, wider: they were clipped before, and the filter overshoots both a little.
        """
        found = self.attributes.get(CLIP_RANGE, self.attributes["intensity_range"])
        return np.asarray(found, dtype=np.float32)

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

    @property
    def reduced_to(self) -> int | None:
        """Side in px to which they were reduced; None: they are the tiles of a dataset as cut."""
        return self.tile_size[0] if TILES_SHA256 in self.attributes else None

    @property
    def origin(self) -> dict[str, Any]:
        """What a store made of them says of the tiles: the same where a reduced copy was read."""
        if self.reduced_to is not None:
            said = {key: self.attributes.get(key) for key in OF_TILES}
            return {**said, REDUCED_TO: self.reduced_to}
        of_tiles = self.content_sha256, list(self.tile_size), self.pixel_size_um
        return dict(zip(OF_TILES, of_tiles, strict=True))

    @property
    def reads_in_turn(self) -> bool:
        """Whether rows are best read one after the other: from an object store, or version 1."""
        return self.is_remote or self._old_sums is not None

    def read(self, start: int, stop: int, out: Values | None = None) -> Values:
        """Return tiles [stop - start, C, H, W] in the raw dtype.

        They are verified; of version 1 only where they are read in turn, block by block.

        Parameters
        ----------
        start, stop
            The rows.
        out
            Array to read into; None: a new one.

        Raises
        ------
        DamagedBlockError
            If they differ from their checksum.
        UserError
            If they cannot be read.
        """
        if not self.reads_in_turn:
            return self.values(start, stop, out=out)
        values = self._blocks.read(start, stop)
        if self._old_sums is not None:
            self._old_tile_sums.note(start, values)
        return values

    def source_of(self, start: int, stop: int) -> bytes:
        """Return a digest of what tiles [start, stop) show, whatever files they are in."""
        if self._old_sums is not None:
            sums = self._old_tile_sums.of(start, stop)
        else:
            blocks = range(start // self.block_rows, -(-stop // self.block_rows))
            base = blocks.start * self.block_rows
            of_blocks = np.concatenate([self._sums(block) for block in blocks])
            sums = of_blocks[start - base : stop - base, :SHA256_BYTES]
        return hashlib.sha256(sums.tobytes()).digest()

    @cached_property
    def _old_tile_sums(self) -> TileSums:
        return TileSums(self.read)

    def values_sha256(self, start: int, stop: int) -> bytes:
        """Return the sha256 of the values of tiles [start, stop), as version 1 describes them."""
        digest = hashlib.sha256()
        stop = min(stop, len(self))
        for first in range(start, stop, self.block_rows):
            values = self.read(first, min(first + self.block_rows, stop))
            digest.update(np.ascontiguousarray(values).data)
        return digest.digest()
