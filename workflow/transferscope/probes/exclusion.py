"""Exclusion of training tiles as neighbours, if they share field, group or batch."""

from __future__ import annotations

import logging
from collections.abc import Collection

import numpy as np
import pandas as pd

from transferscope.config.probes import KnnExclusion, KnnSettings
from transferscope.errors import Problem, UserError
from transferscope.probes.labels import LabelledTiles
from transferscope.runtime.arrays import Integers

logger = logging.getLogger(__name__)

BATCH_FIX = "Give each row of the sheet its batch, or set `knn.exclude` to none, fov or group."

# Leaving out a group's own tiles leaves fewer tiles of its classes among the candidates.
BELOW_CHANCE = (
    "`knn.exclude: group` makes k-NN in the split by image worse than chance if the embeddings say "
    "nothing: without the tiles of its own group, a test tile has too few neighbours of its "
    "classes. Compare these scores with each other only, and with no floor and no other head; the "
    "split by group needs no such exclusion."
)


def exclusion_warnings(settings: KnnSettings, schemes: Collection[str]) -> list[str]:
    """Return what the user should know of `knn.exclude` before reading the scores.

    Parameters
    ----------
    settings
        Settings of k-NN.
    schemes
        Split schemes of the study.
    """
    concerned = bool(settings.k) and settings.exclude == "group" and "image" in schemes
    return [BELOW_CHANCE] if concerned else []


def exclusion_codes(tiles: LabelledTiles, exclude: KnnExclusion, where: str) -> Integers | None:
    """Return a code per tile, int64 [N]; tiles with the same code are not neighbours.

    Parameters
    ----------
    tiles
        Tiles with fields, groups and batches.
    exclude
        What neighbours must not share; `none` returns None.
    where
        Name of the tiles in an error.

    Raises
    ------
    UserError
        If the batch of a labelled tile is unknown.
    """
    if exclude == "none":
        return None
    if exclude == "batch" and (tiles.batches[tiles.labelled] == "").any():
        raise UserError(_unknown_batches(int((tiles.batches == "").sum()), where))
    names = {"fov": tiles.fovs, "group": tiles.groups, "batch": tiles.batches}[exclude]
    return pd.factorize(names)[0].astype(np.int64)


def exclusion_problems(table: pd.DataFrame, exclude: KnnExclusion, where: str) -> list[Problem]:
    """Return why `knn.exclude` cannot be applied to a sample sheet.

    Parameters
    ----------
    table
        With column `labels` and optionally `batch`.
    exclude
        What neighbours must not share.
    where
        Name of the table in the problems.
    """
    if exclude != "batch":
        return []
    batch = table["batch"] if "batch" in table else pd.Series("", index=table.index)
    unknown = batch.fillna("").eq("") & table["labels"].fillna("").ne("")
    return [_unknown_batches(int(unknown.sum()), where)] if unknown.any() else []


def _unknown_batches(count: int, where: str) -> Problem:
    what = f"{count} tiles have no batch, but `knn.exclude: batch` needs it"
    return Problem(f"{where}, column batch", what, BATCH_FIX)
