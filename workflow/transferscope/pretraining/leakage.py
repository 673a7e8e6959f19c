"""Which tiles a training may see."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd

from transferscope.config.jobs import HeldOutDivision
from transferscope.probes.splits import TEST

IntArray = npt.NDArray[np.int64]


def visible_rows(
    table: pd.DataFrame, splits: pd.DataFrame | None, held_out: HeldOutDivision | None
) -> IntArray:
    """Return the rows of a tile store that a training may read.

    Parameters
    ----------
    table
        Tile table, in the order of the store.
    splits
        Split table; None: nothing is left out.
    held_out
        The division whose test groups are left out: all of their tiles, labelled or not, and
        whatever shares a field with one of them. None: nothing is left out.
    """
    if splits is None or held_out is None:
        return np.arange(len(table))
    keys = ["scheme", "seed", "fold", "role"]
    wanted = [held_out.scheme, held_out.seed, held_out.fold, TEST]
    chosen = splits[(splits[keys] == wanted).all(axis=1)]
    tested = table["group"].isin(table["group"].iloc[chosen["row"]])
    return np.flatnonzero(~(tested | table["fov"].isin(table.loc[tested, "fov"])))


def numbered(groups: Iterable[str]) -> dict[str, int]:
    """Return group -> its number, by name: the same protein in two datasets is one."""
    return {name: number for number, name in enumerate(sorted(set(groups)))}
