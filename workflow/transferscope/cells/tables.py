"""The tables of a cell dataset, written a few fields at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from transferscope.cells.measures import BORDER_COLUMN, WHOLE_NUMBERS
from transferscope.cells.plan import CellPlan
from transferscope.cells.records import FieldRecord, RecordFolder
from transferscope.stores.parquet import parquet_parts
from transferscope.tiles.tables import FIRST_COLUMNS, quality_table
from transferscope.tiles.tables import write_quality as write_parts

FIELDS_A_PART = 256


def write_tile_table(
    plan: CellPlan, folder: RecordFolder, positions: Sequence[int], path: Path
) -> None:
    """Write one row a tile: the columns of every tile table, then the measures of the cell.

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
        for part in _parts(positions):
            frames = [_tiles(plan, position, folder.read(position)) for position in part]
            write(pd.concat(frames, ignore_index=True))


def write_quality(
    plan: CellPlan, folder: RecordFolder, positions: Sequence[int], path: Path
) -> None:
    """Write one row a tile and channel, see `Quality`; parameters as of `write_tile_table`."""
    tables = (
        pd.concat(
            [_quality(plan, position, folder.read(position)) for position in part],
            ignore_index=True,
        )
        for part in _parts(positions)
    )
    write_parts(tables, path)


def _parts(positions: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(positions), FIELDS_A_PART):
        yield positions[start : start + FIELDS_A_PART]


def _ids(plan: CellPlan, position: int, record: FieldRecord) -> list[str]:
    return plan.tile_ids(position, record.table[:, 0])


def _tiles(plan: CellPlan, position: int, record: FieldRecord) -> pd.DataFrame:
    """Return the rows of one field."""
    sheet = plan.sheet
    row = sheet.table.iloc[position]
    carried = [str(c) for c in sheet.table if c not in (*FIRST_COLUMNS, *sheet.file_columns)]
    table = pd.DataFrame({"tile_id": _ids(plan, position, record)})
    for column in [*FIRST_COLUMNS[1:], *carried]:
        table[column] = str(row[column])
    table["source"] = sheet.source(position)
    table["y"], table["x"] = record.places.T
    measures = pd.DataFrame(record.table, columns=plan.columns)
    kinds = {**dict.fromkeys(WHOLE_NUMBERS, np.int64), BORDER_COLUMN: np.bool_}
    return pd.concat([table, measures.astype(kinds)], axis=1)


def _quality(plan: CellPlan, position: int, record: FieldRecord) -> pd.DataFrame:
    ids = _ids(plan, position, record)
    return quality_table(ids, plan.card.channels, record.quality)
