"""The tables next to a tile store, whatever its tiles are cut from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd

from transferscope.runtime.arrays import Floats
from transferscope.runtime.atomic_files import write_atomically
from transferscope.runtime.spreadsheets import guarded
from transferscope.tiles.blocks import Skipped
from transferscope.tiles.quality import Quality

FIRST_COLUMNS = ["tile_id", "group", "labels", "fov", "batch"]


def quality_table(ids: Sequence[str], channels: list[str], values: Floats) -> pd.DataFrame:
    """Return one row per tile and channel, channels within tiles.

    Parameters
    ----------
    ids
        Tiles, [N].
    channels
        Names of the C channels.
    values
        `Quality.values()` of each tile and channel; any shape that holds N x C of them in order.
    """
    names = [f.name for f in fields(Quality)]
    table = pd.DataFrame(values.reshape(-1, len(names)), columns=names)
    table["constant"] = table["constant"] > 0
    table.insert(0, "tile_id", np.repeat(ids, len(channels)))
    table.insert(1, "channel", channels * len(ids))
    return table


def write_quality(tables: Iterable[pd.DataFrame], path: Path) -> None:
    """Write a quality table that comes in parts: as a whole it would take much memory."""
    parts = (
        guarded(table).to_csv(
            index=False, header=number == 0, float_format="%.6g", lineterminator="\n"
        )
        for number, table in enumerate(tables)
    )
    write_atomically(path, parts)


def write_skipped(left_out: Sequence[Skipped], path: Path) -> None:
    """Write the fields and tiles that are left out, in the order of the sheet."""
    table = pd.DataFrame(left_out, columns=[f.name for f in fields(Skipped)])
    table = table.sort_values("row", kind="stable")
    write_atomically(path, guarded(table).to_csv(index=False, sep="\t"))
