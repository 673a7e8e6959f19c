"""The log next to a tile store: what each finished block holds, so that a killed job resumes.

A block counts as done when its flag in the store is set and its log entry, which is written after
it, is there. The log also says where in the sheet the next block begins, because skipped tiles
make that depend on the pixels.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import astuple, dataclass, field
from pathlib import Path

import numpy as np

from transferscope.runtime.arrays import Floats
from transferscope.runtime.atomic_files import write_atomically
from transferscope.runtime.json_text import parse_json
from transferscope.stores.block_store import BlockStore


@dataclass(frozen=True)
class Skipped:
    """A field or tile that is left out.

    Parameters
    ----------
    tile_id
        Id of the tile, or of the sheet's row where the whole field is left out.
    row
        Row of the sheet, as a spreadsheet shows it.
    source
        Raw files of the field.
    reason
        What is wrong.
    """

    tile_id: str
    row: int
    source: str
    reason: str


@dataclass(frozen=True, slots=True)  # a dataset may have a million of them
class LoggedTile:
    """A tile in the store.

    Parameters
    ----------
    position
        Position of its field in the sheet, from 0.
    y, x
        Offset in the field in px.
    quality
        `Quality.values()` of each channel, [C, measures].
    """

    position: int
    y: int
    x: int
    quality: Floats


@dataclass
class Entry:
    """What one block holds.

    Parameters
    ----------
    next_field, next_tile
        Where the following block begins: index of the field in the plan, and tile in the field.
    tiles
        Its tiles, in row order.
    skipped
        Tiles left out on the way.
    prints
        Position of each field in the sheet, and `planes_print` of its pixels.
    """

    next_field: int = 0
    next_tile: int = 0
    tiles: list[LoggedTile] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    prints: list[tuple[int, str]] = field(default_factory=list)

    def following(self) -> Entry:
        """Return the entry of the following block, empty as yet."""
        return Entry(self.next_field, self.next_tile)

    def to_json(self) -> str:
        """Return the entry as JSON."""
        tiles = [(tile.position, tile.y, tile.x, tile.quality.tolist()) for tile in self.tiles]
        skipped = list(map(astuple, self.skipped))
        text = json.dumps([self.next_field, self.next_tile, tiles, skipped, self.prints])
        return f"{text}\n{hashlib.sha256(text.encode()).hexdigest()}\n"

    @classmethod
    def from_json(cls, text: str) -> Entry:
        """Return the entry that `to_json` wrote.

        Raises
        ------
        ValueError
            If it is not what was written, or was written by an older version, which wrote no
            checksum.
        """
        text, _, sum_ = text.partition("\n")
        if sum_.strip() != hashlib.sha256(text.encode()).hexdigest():
            raise ValueError("differs from its checksum")
        field, tile, tiles, skipped, prints = parse_json(text)
        logged = [LoggedTile(p, y, x, np.array(quality)) for p, y, x, quality in tiles]
        found = [(int(position), str(digest)) for position, digest in prints]
        return cls(field, tile, logged, [Skipped(*skip) for skip in skipped], found)


class BlockLog:
    """The log of a tile store, a folder of one JSON per block.

    Parameters
    ----------
    folder
        The folder.
    inputs
        Digest of what the tiles are made from, file times included: a log of others is discarded.
    """

    def __init__(self, folder: Path, inputs: str) -> None:
        self.folder = folder
        self._inputs = inputs

    def belongs(self) -> bool:
        """Return whether the log, if there is one, is of the same inputs."""
        try:
            return (self.folder / "inputs").read_text(encoding="utf-8") == self._inputs
        except OSError:
            return False

    def start_over(self) -> None:
        """Forget everything."""
        shutil.rmtree(self.folder, ignore_errors=True)
        write_atomically(self.folder / "inputs", self._inputs)

    def read(self, store: BlockStore) -> list[Entry]:
        """Return the entries of the blocks that are done, up to the first that is not."""
        missing = {block for block, _, _ in store.missing()}
        entries = []
        for block, start, stop in store.blocks():
            entry = None if block in missing else self._read(block)
            if entry is None or len(entry.tiles) != stop - start:
                break
            entries.append(entry)
        return entries

    def write(self, block: int, entry: Entry) -> None:
        """Write the entry of a block that has just been written."""
        write_atomically(self._path(block), entry.to_json())

    def _read(self, block: int) -> Entry | None:
        try:
            return Entry.from_json(self._path(block).read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _path(self, block: int) -> Path:
        return self.folder / f"{block:06d}.json"
