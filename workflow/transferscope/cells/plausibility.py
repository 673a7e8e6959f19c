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
    """Return one row a field that was segmented.

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
    rows = [_row(plan, position, folder.read(position)) for position in positions]
    table = pd.DataFrame(rows)
    usual = table.loc[table["cells"] > 0, "cells"].median()
    whole = plan.settings.segmentation.one_a_field
    remarks = [""] * len(table) if whole else [_remark(row, float(usual)) for row in rows]
    return table.assign(remark=remarks)


def _row(plan: CellPlan, position: int, record: FieldRecord) -> dict[str, object]:
    pixel = plan.card.pixel_size_um
    areas = record.areas * (1.0 if pixel is None else pixel**2)
    found = len(areas) > 0
    unit = "px" if pixel is None else "um2"
    return {
        "tile_id": plan.sheet.table["tile_id"].iloc[position],
        "row": int(plan.sheet.table.index[position]),
        "cells": len(areas),
        "kept": record.kept,
        "touching_border": record.touching,
        **{f"dropped_{reason}": record.dropped[reason] for reason in DROPPED},
        f"median_area_{unit}": float(np.median(areas)) if found else np.nan,
        f"smallest_area_{unit}": float(areas.min()) if found else np.nan,
        f"largest_area_{unit}": float(areas.max()) if found else np.nan,
        "covered": record.covered,
    }


def _remark(row: dict[str, object], usual: float) -> str:
    """Say what is suspicious about a field; nothing where nothing is.

    Parameters
    ----------
    row
        A row of the table.
    usual
        Median number of cells of the fields that have any.
    """
    values = {key: float(str(value)) for key, value in row.items() if key != "tile_id"}
    cells, remarks = values["cells"], []
    if cells == 0:
        return "no cell"
    if values["covered"] > MOST_COVERED:
        remarks.append(f"cells cover more than {MOST_COVERED:.0%}")
    if values["touching_border"] > MOST_AT_BORDER * cells and cells >= FEWEST_TO_COMPARE:
        remarks.append(f"more than {MOST_AT_BORDER:.0%} of the cells touch the border")
    if cells > TIMES_THE_USUAL * usual or cells * TIMES_THE_USUAL < usual:
        remarks.append(f"{cells:.0f} cells, but {usual:.0f} in the usual field")
    smallest, largest = (
        next(v for k, v in values.items() if k.startswith(name))
        for name in ("smallest_area", "largest_area")
    )
    if largest > SPREAD_OF_AREAS * smallest:
        remarks.append(f"areas differ by more than {SPREAD_OF_AREAS} times")
    return "; ".join(remarks)
