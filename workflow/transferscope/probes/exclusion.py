"""Which training tiles are no neighbours of a test tile: those of its field, group or batch."""

from __future__ import annotations

import numpy as np
import pandas as pd

from transferscope.config.probes import KnnExclusion
from transferscope.errors import Problem, UserError
from transferscope.probes.labels import LabelledTiles
from transferscope.runtime.arrays import Integers

BATCH_FIX = "Give each row of the sheet its batch, or set `knn.exclude` to none, fov or group."


def exclusion_codes(
    tiles: LabelledTiles, exclude: KnnExclusion, where: str = "tile table"
) -> Integers | None:
    """Return a code of each tile, int64 [N]; tiles of the same code are no neighbours.

    Parameters
    ----------
    tiles
        With their fields, groups and batches.
    exclude
        What neighbours must not share; `none` gives None.
    where
        What to call the tiles in an error.

    Raises
    ------
    UserError
        Where the batch of a labelled tile is not known.
    """
    if exclude == "none":
        return None
    if exclude == "batch" and (tiles.batches[tiles.labelled] == "").any():
        raise UserError(_unknown_batches(int((tiles.batches == "").sum()), where))
    names = {"fov": tiles.fovs, "group": tiles.groups, "batch": tiles.batches}[exclude]
    return pd.factorize(names)[0].astype(np.int64)


def exclusion_problems(table: pd.DataFrame, exclude: KnnExclusion, where: str) -> list[Problem]:
    """Return why a sample sheet cannot be searched as `knn.exclude` asks.

    Parameters
    ----------
    table
        With columns `labels` and, if at hand, `batch`.
    exclude
        What neighbours must not share.
    where
        What to call the table in the problems.
    """
    if exclude != "batch":
        return []
    batch = table["batch"] if "batch" in table else pd.Series("", index=table.index)
    unknown = batch.fillna("").eq("") & table["labels"].fillna("").ne("")
    return [_unknown_batches(int(unknown.sum()), where)] if unknown.any() else []


def _unknown_batches(count: int, where: str) -> Problem:
    what = f"{count} tiles have no batch, but `knn.exclude: batch` needs it"
    return Problem(f"{where}, column batch", what, BATCH_FIX)
