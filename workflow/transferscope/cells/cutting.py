"""The second pass: tiles are cut from the fields and written a block at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from transferscope.cells.crops import cut_cell
from transferscope.cells.field import decode, fill_values
from transferscope.cells.plan import CellPlan
from transferscope.cells.records import RecordFolder
from transferscope.runtime.ordered_map import in_order
from transferscope.runtime.progress import progress_bar
from transferscope.stores.block_store import BlockStore
from transferscope.tiles.tiling import TilePlace, limit_torch_threads, resample


@dataclass(frozen=True)
class CutField:
    """A field that gives tiles.

    Parameters
    ----------
    position
        Position in the sheet, from 0.
    count
        Number of its tiles.
    """

    position: int
    count: int


@dataclass(frozen=True)
class _Piece:
    """The tiles [first, last) of a field, which are rows of one block."""

    field: CutField
    first: int
    last: int


def cut_blocks(
    plan: CellPlan,
    folder: RecordFolder,
    store: BlockStore,
    fields: Sequence[CutField],
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
        The fields with tiles, in the order of the sheet.
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


def _pieces(store: BlockStore, fields: Sequence[CutField]) -> dict[int, list[_Piece]]:
    """Divide the tiles of the fields where blocks end; return the pieces of each block."""
    pieces: dict[int, list[_Piece]] = {}
    row = 0
    for field in fields:
        first = 0
        while first < field.count:
            block = (row + first) // store.block_rows
            last = min(field.count, (block + 1) * store.block_rows - row)
            pieces.setdefault(block, []).append(_Piece(field, first, last))
            first = last
        row += field.count
    return pieces


def _cut(plan: CellPlan, folder: RecordFolder, piece: _Piece, tiles: npt.NDArray[Any]) -> None:
    """Cut the tiles of a piece into the rows [n, C, side, side] that wait for them."""
    position = piece.field.position
    field, labels = decode(plan.sheet, plan.card, position), folder.labels(position)[0]
    record = folder.read(position)
    fill = fill_values(plan, field, labels)
    for row, index in enumerate(range(piece.first, piece.last)):
        y, x = (int(value) for value in record.places[index])
        place = TilePlace(y, x, plan.side, plan.side)
        number, masked = int(record.table[index, 0]), plan.settings.crop.masked
        cut, _ = cut_cell(field, labels, number, place, fill, masked=masked)
        tiles[row] = resample(cut, (plan.tile_side, plan.tile_side))
