"""The tables of a cell dataset, written in parts of a few fields."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from transferscope.cells.measures import WHOLE_NUMBERS
from transferscope.cells.plan import CellPlan
from transferscope.cells.records import RecordFolder
from transferscope.raw.sheets import BORDER_COLUMN
from transferscope.stores.parquet import parquet_parts
from transferscope.tiles.tables import FIRST_COLUMNS, quality_table
from transferscope.tiles.tables import write_quality as write_parts

FIELDS_PER_PART = 256


def write_tile_table(
    plan: CellPlan, folder: RecordFolder, positions: Sequence[int], path: Path
) -> None:
    """Write one row per tile: the columns of every tile table, then the measures of the cell.

    Parameters
    ----------
    plan, folder
        The dataset and the records of its fields.
    positions
        The fields with tiles, in the order of the sheet.
    path
        Parquet to write.
    """
    with parquet_parts(path, {"dataset": plan.card.name}) as write:
        for part in _in_parts(partial(_tiles, plan, folder), positions):
            write(part)


def write_quality(
    plan: CellPlan, folder: RecordFolder, positions: Sequence[int], path: Path
) -> None:
    """Write one row per tile and channel, see `Quality`; parameters as of `write_tile_table`."""
    write_parts(_in_parts(partial(_quality, plan, folder), positions), path)


def _in_parts(
    rows_of: Callable[[int], pd.DataFrame], positions: Sequence[int]
) -> Iterator[pd.DataFrame]:
    """Yield the rows of the fields, many fields at a time."""
    for start in range(0, len(positions), FIELDS_PER_PART):
        part = positions[start : start + FIELDS_PER_PART]
        yield pd.concat(map(rows_of, part), ignore_index=True)


def _tiles(plan: CellPlan, folder: RecordFolder, position: int) -> pd.DataFrame:
    """Return the rows of one field."""
    sheet, record = plan.sheet, folder.read(position)
    row = sheet.table.iloc[position]
    carried = [str(c) for c in sheet.table if c not in (*FIRST_COLUMNS, *sheet.file_columns)]
    table = pd.DataFrame({"tile_id": plan.tile_ids(position, record.numbers)})
    for column in [*FIRST_COLUMNS[1:], *carried]:
        table[column] = str(row[column])
    table["source"] = sheet.source(position)
    table["y"], table["x"] = record.places.T
    measures = pd.DataFrame(record.table, columns=plan.columns)
    kinds = {**dict.fromkeys(WHOLE_NUMBERS, np.int64), BORDER_COLUMN: np.bool_}
    return pd.concat([table, measures.astype(kinds)], axis=1)


def _quality(plan: CellPlan, folder: RecordFolder, position: int) -> pd.DataFrame:
    record = folder.read(position)
    ids = plan.tile_ids(position, record.numbers)
    return quality_table(ids, plan.card.channels, record.quality)
