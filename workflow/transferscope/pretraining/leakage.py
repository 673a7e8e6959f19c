"""Which tiles a training may see, and what it has seen of the groups that are tested.

Groups are compared by name, over all datasets of a study: the same protein in two datasets is one.
Names are compared exactly, as the sample sheets write them (the readers strip blanks): gene names
of two species differ in nothing but their case.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from transferscope.config.jobs import HeldOutDivision, Leakage, LeakageByName, Pretraining
from transferscope.probes.splits import TEST, read_splits
from transferscope.runtime.seeds import derive_rng
from transferscope.stores.parquet import read_tile_table

IntArray = npt.NDArray[np.int64]


def groups_tested(
    table: pd.DataFrame, splits: pd.DataFrame, division: HeldOutDivision | None = None
) -> set[str]:
    """Return the names of the groups that are tested.

    Parameters
    ----------
    table
        Tile table of the dataset, in the order of its store.
    splits
        Its split table.
    division
        The only division that counts; None: all of them do.
    """
    chosen = splits[splits["role"] == TEST]
    if division is not None:
        keys = ["scheme", "seed", "fold"]
        wanted = [division.scheme, division.seed, division.fold]
        chosen = chosen[(chosen[keys] == wanted).all(axis=1)]
    return set(table["group"].iloc[chosen["row"].unique()])


def groups_left_out(settings: Pretraining) -> set[str]:
    """Return the names of the groups that a training must not see, in any of its datasets.

    Raises
    ------
    UserError
        Where a table cannot be read.
    """
    if settings.held_out is None:
        return set()
    evaluated = [(each.table, each.splits) for each in settings.also_evaluated]
    evaluated += [(each.table, each.splits) for each in settings.sources if each.splits]
    tested: set[str] = set()
    for path, splits in evaluated:
        table = read_tile_table(path)
        tested |= groups_tested(table, read_splits(splits, table), settings.held_out)
    return tested


def visible_rows(table: pd.DataFrame, left_out: Collection[str]) -> IntArray:
    """Return the rows of a tile store that a training may read.

    Parameters
    ----------
    table
        Tile table, in the order of the store.
    left_out
        Names of the groups that are left out: all of their tiles, labelled or not, and whatever
        shares a field with one of them.
    """
    hidden = table["group"].isin(left_out)
    return np.flatnonzero(~(hidden | table["fov"].isin(table.loc[hidden, "fov"])))


def fraction_of(groups: Sequence[str], fraction: float, seed: int, dataset: str) -> set[str]:
    """Return a fraction of the groups; a smaller one is part of a larger one.

    Parameters
    ----------
    groups
        Names of the groups, each once or more.
    fraction
        Of the groups, rounded up.
    seed, dataset
        Of the order in which groups are taken, which depends on nothing else.
    """
    names = sorted(set(groups))
    order = derive_rng(seed, "data fraction", dataset).permutation(len(names))
    # A product such as 0.07 * 100 is slightly more than the number that is meant.
    n_taken = math.ceil(round(fraction * len(names), 9))
    return {names[place] for place in order[:n_taken]}


def confirmed(leakage: Leakage, table: Path, splits: Path) -> Leakage:
    """Return what a backbone has seen of a dataset, now that the names of groups are known.

    Parameters
    ----------
    leakage
        What it has seen; where that depends on names, these are compared.
    table, splits
        Tile table and split table of the dataset that is evaluated.

    Raises
    ------
    UserError
        Where a table cannot be read.
    """
    if not isinstance(leakage, LeakageByName):
        return leakage
    tiles = read_tile_table(table)
    tested = groups_tested(tiles, read_splits(splits, tiles))
    if any(tested & set(read_tile_table(path)["group"]) for path in leakage.named_in):
        return Leakage(seen_in_training=leakage.seen_in_training, only=leakage.only)
    return Leakage()


def numbered(groups: Iterable[str]) -> dict[str, int]:
    """Return group -> its number, by name: the same protein in two datasets is one."""
    return {name: number for number, name in enumerate(sorted(set(groups)))}
