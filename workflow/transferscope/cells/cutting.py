"""The second pass: tiles are cut from the fields and written block by block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from transferscope.cells.crops import cut_cell
from transferscope.cells.field import decode, fill_values
from transferscope.cells.plan import CellPlan
from transferscope.cells.records import RecordFolder
from transferscope.ordered import in_order
from transferscope.progress import progress_bar
from transferscope.raw.arrays import Pixels
from transferscope.stores import BlockStore
from transferscope.tiles.tiling import limit_torch_threads, resample


@dataclass(frozen=True)
class _Piece:
    """The tiles [first, last) of the field at a position, which are rows of one block."""

    position: int
    first: int
    last: int


def cut_blocks(
    plan: CellPlan,
    folder: RecordFolder,
    store: BlockStore,
    fields: Mapping[int, int],
    workers: int,
) -> None:
    """Write the blocks of the store that are missing, each by one worker from end to end.

    Parameters
    ----------
    plan, folder
        The dataset and the records of its fields.
    store
        The store, with as many rows as the fields have tiles.
    fields
        The fields with tiles, in the order of the sheet: position -> number of tiles.
    workers
        Blocks at a time, and so in memory.
    """
    if plan.tile_side != plan.side:
        limit_torch_threads()
    pieces = _pieces(store, fields)
    missing = store.missing()

    def write(block: tuple[int, int, int]) -> None:
        number, start, stop = block
        tiles = np.empty((stop - start, *plan.tile_shape), plan.dtype)
        filled = 0
        for piece in pieces[number]:
            count = piece.last - piece.first
            _cut(plan, folder, piece, tiles[filled : filled + count])
            filled += count
        store.write_block(number, tiles)

    done = store.rows - sum(stop - start for _, start, stop in missing)
    description = f"Cells of {plan.card.name}"
    with progress_bar(description, store.rows, "cells", initial=done) as bar:
        for (_, start, stop), _ in in_order(write, missing, workers):
            bar.update(stop - start)


def _pieces(store: BlockStore, fields: Mapping[int, int]) -> dict[int, list[_Piece]]:
    """Divide the tiles of the fields where blocks end; return the pieces of each block."""
    pieces: dict[int, list[_Piece]] = {}
    row = 0
    for position, count in fields.items():
        first = 0
        while first < count:
            block = (row + first) // store.block_rows
            last = min(count, (block + 1) * store.block_rows - row)
            pieces.setdefault(block, []).append(_Piece(position, first, last))
            first = last
        row += count
    return pieces


def _cut(plan: CellPlan, folder: RecordFolder, piece: _Piece, tiles: Pixels) -> None:
    """Cut the tiles of a piece into the rows [n, C, side, side] that wait for them."""
    field, labels = decode(plan, piece.position), folder.labels(piece.position)[0]
    record = folder.read(piece.position)
    fill = fill_values(plan, field, labels)
    for row, index in enumerate(range(piece.first, piece.last)):
        place, number = plan.place_at(record.places[index]), int(record.numbers[index])
        cut, _ = cut_cell(field, labels, number, place, fill, masked=plan.settings.crop.masked)
        tiles[row] = resample(cut, (plan.tile_side, plan.tile_side))
