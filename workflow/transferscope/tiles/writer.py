"""Decoded tiles become blocks of the store, in the order of the sheet."""

from __future__ import annotations

import numpy as np

from transferscope.raw.float_values import stored_type
from transferscope.stores.block_store import BlockStore
from transferscope.tiles.blocks import BlockLog, Entry, LoggedTile
from transferscope.tiles.decoding import CONSTANT, DecodedField
from transferscope.tiles.plan import TilePlan, nothing_left, skip_field, skip_tile


class TileWriter:
    """Collects good tiles into blocks, and writes each block that is full.

    Parameters
    ----------
    plan, store, log
        The plan, the store and its log.
    entries
        Log entries of the blocks that are done; those written are appended.
    """

    def __init__(
        self, plan: TilePlan, store: BlockStore, log: BlockLog, entries: list[Entry]
    ) -> None:
        self._plan, self._store, self._log, self._entries = plan, store, log, entries
        self._block = np.empty((store.block_rows, *plan.tile_shape), stored_type(plan.dtype))
        self.entry = entries[-1].following() if entries else Entry()

    def add(self, index: int, decoded: DecodedField) -> None:
        """Add the tiles of a field, from the one on at which the next block begins."""
        plan, planned = self._plan, self._plan.fields[index]
        if decoded.problems:
            self.entry.skipped.append(skip_field(plan.sheet, planned.position, decoded.problems))
        self.entry.prints.append((planned.position, decoded.prints))
        begin = self.entry.next_tile if index == self.entry.next_field else 0
        for number, tile in enumerate(decoded.tiles[begin:], start=begin + 1):
            place = planned.position, tile.place.y, tile.place.x
            if tile.constant:
                skipped = skip_tile(plan.sheet, planned.position, plan.tile_id(*place), CONSTANT)
                self.entry.skipped.append(skipped)
            else:
                self._block[len(self.entry.tiles)] = tile.pixels
                self.entry.tiles.append(LoggedTile(*place, tile.quality))
            more = number < len(decoded.tiles)
            self.entry.next_field, self.entry.next_tile = (
                (index, number) if more else (index + 1, 0)
            )
            if len(self.entry.tiles) == self._store.block_rows:
                self._write()
        self.entry.next_field, self.entry.next_tile = index + 1, 0

    def finish(self) -> None:
        """Write the last block; a store that was planned longer ends there."""
        stored = [tile for entry in self._entries for tile in entry.tiles] + self.entry.tiles
        if not stored:
            raise nothing_left(self._plan.sheet)
        if len(stored) < self._store.rows:
            self._store.trim([self._plan.tile_id(t.position, t.y, t.x) for t in stored])
        if self.entry.tiles:
            self._write()
        elif self.entry.skipped:
            self._entries.append(self.entry)

    def _write(self) -> None:
        block = len(self._entries)
        self._store.write_block(block, self._block[: len(self.entry.tiles)])
        self._log.write(block, self.entry)
        self._entries.append(self.entry)
        self.entry = self.entry.following()
