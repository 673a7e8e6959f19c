"""The second pass: tiles are cut from the fields and written block by block."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from transferscope.cells.crops import cut_cell
from transferscope.cells.field import decode, fill_values
from transferscope.cells.plan import CellPlan
from transferscope.cells.records import RecordFolder
from transferscope.raw.float_values import stored_type
from transferscope.runtime.arrays import Indices, Pixels
from transferscope.runtime.ordered_map import ordered_map
from transferscope.runtime.progress import progress_bar
from transferscope.stores.block_store import BlockStore
from transferscope.tiles.tiling import limit_torch_threads, resample


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
    missing = store.missing()
    # Of each tile: its field, and which of the field's tiles it is.
    positions = np.repeat(list(fields), list(fields.values()))
    indices = np.concatenate(list(map(np.arange, fields.values())))

    def write(block: tuple[int, int, int]) -> None:
        number, start, stop = block
        tiles = np.empty((stop - start, *plan.tile_shape), stored_type(plan.dtype))
        for position in np.unique(positions[start:stop]).tolist():
            own = positions[start:stop] == position
            tiles[own] = _cut(plan, folder, position, indices[start:stop][own])
        store.write_block(number, tiles)

    done = store.rows - sum(stop - start for _, start, stop in missing)
    description = f"Cells of {plan.card.name}"
    with progress_bar(description, store.rows, "cells", initial=done) as bar:
        for (_, start, stop), _ in ordered_map(write, missing, workers):
            bar.update(stop - start)


def _cut(plan: CellPlan, folder: RecordFolder, position: int, indices: Indices) -> list[Pixels]:
    """Cut some tiles of a field, each [C, side, side]."""
    field, labels = decode(plan, position), folder.labels(position)[0]
    record = folder.read(position)
    fill, masked = fill_values(plan, field, labels), plan.settings.crop.masked
    side = plan.tile_side, plan.tile_side
    tiles = []
    for place, number in zip(record.places[indices], record.numbers[indices], strict=True):
        cut, _ = cut_cell(field, labels, int(number), plan.place_at(place), fill, masked=masked)
        tiles.append(resample(cut, side))
    return tiles
