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
from transferscope.ordered import in_order
from transferscope.progress import progress_bar
from transferscope.stores import BlockStore
from transferscope.tiles.tiling import TilePlace


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
    block: int


def cut_blocks(
    plan: CellPlan,
    folder: RecordFolder,
    store: BlockStore,
    fields: Sequence[CutField],
    workers: int,
) -> None:
    """Write the blocks of the store that are missing.

    Parameters
    ----------
    plan, folder
        The dataset and the records of its fields.
    store
        The store, with as many rows as the fields have tiles.
    fields
        The fields with tiles, in the order of the sheet.
    workers
        Fields at a time.
    """
    missing = {block: (start, stop) for block, start, stop in store.missing()}
    pieces = [piece for piece in _pieces(store, fields) if piece.block in missing]
    buffer: npt.NDArray[Any] = np.empty((store.block_rows, *plan.tile_shape), plan.dtype)
    filled = 0

    def cut(piece: _Piece) -> npt.NDArray[Any]:
        return _cut(plan, folder, piece)

    done = store.rows - sum(stop - start for start, stop in missing.values())
    description = f"Cells of {plan.card.name}"
    with progress_bar(description, store.rows, "cells", initial=done) as bar:
        for piece, tiles in in_order(cut, pieces, workers):
            buffer[filled : filled + len(tiles)] = tiles
            filled += len(tiles)
            start, stop = missing[piece.block]
            if filled == stop - start:
                store.write_block(piece.block, buffer[:filled])
                filled = 0
            bar.update(len(tiles))


def _pieces(store: BlockStore, fields: Sequence[CutField]) -> list[_Piece]:
    """Divide the tiles of the fields where blocks end."""
    pieces, row = [], 0
    for field in fields:
        first = 0
        while first < field.count:
            block = (row + first) // store.block_rows
            last = min(field.count, (block + 1) * store.block_rows - row)
            pieces.append(_Piece(field, first, last, block))
            first = last
        row += field.count
    return pieces


def _cut(plan: CellPlan, folder: RecordFolder, piece: _Piece) -> npt.NDArray[Any]:
    """Return the tiles of a piece, [n, C, side, side]."""
    position = piece.field.position
    field, labels = decode(plan.sheet, plan.card, position), folder.labels(position)[0]
    record = folder.read(position)
    fill = fill_values(plan, field, labels)
    tiles = np.empty((piece.last - piece.first, *plan.tile_shape), plan.dtype)
    for row, index in enumerate(range(piece.first, piece.last)):
        y, x = (int(value) for value in record.places[index])
        place = TilePlace(y, x, plan.side, plan.side)
        number, masked = int(record.table[index, 0]), plan.settings.crop.masked
        tiles[row], _ = cut_cell(field, labels, number, place, fill, masked=masked)
    return tiles
