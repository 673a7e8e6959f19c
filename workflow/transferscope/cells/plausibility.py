"""Whether the segmentation of each field can be right: a table to look through, with remarks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from transferscope.cells.plan import CellPlan
from transferscope.cells.records import DROPPED, FieldRecord, RecordFolder

# Beyond these, a field is worth a look.
MOST_COVERED = 0.95
MOST_AT_BORDER = 0.75
TIMES_THE_USUAL = 5
SPREAD_OF_AREAS = 100
FEWEST_TO_COMPARE = 3


def plausibility_table(
    plan: CellPlan, folder: RecordFolder, positions: Sequence[int]
) -> pd.DataFrame:
    """Return one row per field that was segmented.

    Parameters
    ----------
    plan, folder
        The dataset and the records of its fields.
    positions
        The fields, in the order of the sheet.

    Returns
    -------
    DataFrame
        tile_id and row of the field; number of cells found, kept, at the border, and dropped for
        each reason; median, smallest and largest area (um2 where the pixel size is known, else
        px) of the cells found; the share of the field that cells cover; a remark.
    """
    records = [(position, folder.read(position)) for position in positions]
    table = pd.DataFrame(_row(plan, position, record) for position, record in records)
    usual = float(table.loc[table["cells"] > 0, "cells"].median())
    whole = plan.settings.segmentation.one_per_field
    remarks = ["" if whole else _remark(record, usual) for _, record in records]
    return table.assign(remark=remarks)


def _row(plan: CellPlan, position: int, record: FieldRecord) -> dict[str, object]:
    pixel = plan.card.pixel_size_um
    areas = record.areas * (1.0 if pixel is None else pixel**2)
    unit = "px" if pixel is None else "um2"
    return {
        "tile_id": plan.sheet.tile_ids[position],
        "row": int(plan.sheet.table.index[position]),
        "cells": len(areas),
        "kept": record.kept,
        "touching_border": record.touching,
        **{f"dropped_{reason}": record.dropped[reason] for reason in DROPPED},
        f"median_area_{unit}": float(np.median(areas)) if len(areas) else np.nan,
        f"smallest_area_{unit}": float(areas.min()) if len(areas) else np.nan,
        f"largest_area_{unit}": float(areas.max()) if len(areas) else np.nan,
        "covered": record.covered,
    }


def _remark(record: FieldRecord, usual: float) -> str:
    """Say what is suspicious about a field; nothing where nothing is.

    Parameters
    ----------
    record
        The field.
    usual
        Median number of cells of the fields that have any.
    """
    cells, remarks = len(record.areas), []
    if cells == 0:
        return "no cell"
    if record.covered > MOST_COVERED:
        remarks.append(f"cells cover more than {MOST_COVERED:.0%}")
    if record.touching > MOST_AT_BORDER * cells and cells >= FEWEST_TO_COMPARE:
        remarks.append(f"more than {MOST_AT_BORDER:.0%} of the cells touch the border")
    if cells > TIMES_THE_USUAL * usual or cells * TIMES_THE_USUAL < usual:
        remarks.append(f"{cells} cells, but {usual:.0f} in the usual field")
    if record.areas.max() > SPREAD_OF_AREAS * record.areas.min():
        remarks.append(f"areas differ by more than {SPREAD_OF_AREAS} times")
    return "; ".join([*remarks, *filter(None, [record.doubts])])
