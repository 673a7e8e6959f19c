"""Splits by a column of the sample sheet, such as batch, plate, donor or site.

Test tiles are of other values of the column than all training tiles, and of other groups. Where a
group has tiles of several values, both are crossed: a fold tests the tiles of one fold of the
values and one fold of the groups, and trains on what has neither.

Fewer groups are left for training than in a split by group, which alone lowers scores. What the
column costs is therefore measured against a control: the same split, with the folds of the values
shuffled between groups of the same class (or, where a group has several values, within the group).
Sizes and classes of both are alike, and without any effect of the column they are exchangeable.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from transferscope.config.probes import SplitSettings
from transferscope.config.schemes import GROUP, IMAGE, NO_SCHEMES, is_control, without_shuffling
from transferscope.errors import Problem, suggest
from transferscope.probes.labels import LabelledTiles
from transferscope.probes.units import assign_folds, named_units, units_of
from transferscope.runtime.arrays import Bools, Integers, Texts
from transferscope.runtime.seeds import derive_rng

# Folds of groups, where groups have several values and no other number is given.
GROUP_FOLDS = 5
# A class has to be on both sides of a split.
LEAST_VALUES = 2


def column_folds(
    tiles: LabelledTiles,
    rows: Integers,
    scheme: str,
    settings: SplitSettings,
    names: tuple[object, ...],
) -> Iterator[tuple[Bools, Bools]]:
    """Yield which of some rows each fold tests, and which it trains on or validates with.

    A column and its control have the same folds of values and of groups. Each row is tested once.
    A fold without a row to test or to train on is left out.

    Parameters
    ----------
    tiles
        All tiles, with the column.
    rows
        Rows to divide, int64 [n].
    scheme
        A column, or its control.
    settings
        The study's `splits`.
    names
        Names from which the seeds derive, the same for a column and its control.

    Yields
    ------
    tuple
        Two masks of the rows, bool [n].
    """
    column = without_shuffling(scheme)
    values = named_units(tiles.columns[column], tiles, rows)
    n_folds = settings.folds.get(column, len(values))
    folds = np.arange(len(values))
    if n_folds < len(values):
        folds = assign_folds(values, n_folds, (*names, "values"))
    fold = folds[values.codes]
    groups = units_of(tiles, GROUP, rows)
    group_fold = np.zeros(len(rows), dtype=np.int64)
    if is_crossed(groups.codes, fold):
        n_groups = min(settings.folds.get(GROUP, GROUP_FOLDS), len(groups))
        group_fold = assign_folds(groups, n_groups, (*names, "groups"))[groups.codes]
    if is_control(scheme):
        fold = _shuffled(fold, groups.codes, tiles.matrix[rows], names)
    crossed = group_fold.any()
    for value in np.unique(fold):
        for of_group in np.unique(group_fold):
            is_test = (fold == value) & (group_fold == of_group)
            is_inner = (fold != value) & ((group_fold != of_group) | ~crossed)
            if is_test.any() and is_inner.any():
                yield is_test, is_inner


def is_crossed(groups: Integers, folds: Integers) -> bool:
    """Return whether any group is in several folds of the values.

    Parameters
    ----------
    groups, folds
        Group and fold of each row, int64 [n].
    """
    pairs = np.unique(np.stack([groups, folds]), axis=1)
    return bool(len(np.unique(groups)) < pairs.shape[1])


def _shuffled(
    fold: Integers, groups: Integers, matrix: Bools, names: tuple[object, ...]
) -> Integers:
    """Shuffle the folds of values between groups of one class, or within groups of several values.

    Groups with several classes count as of the rarest of them.
    """
    rng = derive_rng(*names, "shuffled")
    n_groups = int(groups.max()) + 1
    labels = np.zeros((n_groups, matrix.shape[1]), dtype=bool)
    np.logical_or.at(labels, groups, matrix)
    rarest = np.argsort(labels.sum(axis=0), kind="stable")
    stratum = rarest[labels[:, rarest].argmax(axis=1)]
    first = np.full(n_groups, -1, dtype=np.int64)
    shuffled = fold.copy()
    for group in range(n_groups):
        own = groups == group
        found = np.unique(fold[own])
        if len(found) == 1:
            first[group] = found[0]
        else:
            shuffled[own] = rng.permutation(found)[np.searchsorted(found, fold[own])]
    for each in np.unique(stratum):
        alike = np.flatnonzero((stratum == each) & (first >= 0))
        first[alike] = rng.permutation(first[alike])
    single = first[groups] >= 0
    return np.where(single, first[groups], shuffled)


def column_problems(
    table: pd.DataFrame, tiles: LabelledTiles, settings: SplitSettings, where: str
) -> dict[str, Problem]:
    """Return why tiles cannot be split by a column that the schemes name, by column.

    Parameters
    ----------
    table
        Sample sheet or tile table.
    tiles
        The same tiles, with the classes that are scored and with `usable_columns`.
    settings
        The study's `splits`.
    where
        Name of the table in the problems.
    """
    problems = {}
    for column in settings.columns:
        if column not in table:
            known = [GROUP, IMAGE, *(str(name) for name in table.columns if name not in NO_SCHEMES)]
            what = f'no column "{column}" to split by'
            fix = f"{suggest(column, known)} Or take it out of `splits.schemes`."
            problems[column] = Problem(where, what, fix)
        elif found := _problem_of(column, tiles, settings, f"{where}, column {column}"):
            problems[column] = found
    return problems


def usable_columns(table: pd.DataFrame, settings: SplitSettings) -> list[str]:
    """Return the columns among the schemes that a table has."""
    return [column for column in settings.columns if column in table]


def _problem_of(
    column: str, tiles: LabelledTiles, settings: SplitSettings, where: str
) -> Problem | None:
    rows = np.flatnonzero(tiles.labelled)
    values = tiles.columns[column][rows]
    leave_out = f"or take `{column}` out of `splits.schemes`."
    if n_empty := int((values == "").sum()):
        what = f"{n_empty} labelled tiles have no {column}, by which the study splits"
        return Problem(where, what, f"Give each its {column}, {leave_out}")
    distinct = sorted(set(values))
    if len(distinct) < LEAST_VALUES:
        named = f" ({distinct[0]})" if distinct else ""
        what = f"all labelled tiles have the same {column}{named}, so that none can be left out"
        return Problem(where, what, f"Give tiles of another {column}, {leave_out}")
    if (folds := settings.folds.get(column, 0)) > len(distinct):
        what = f"{len(distinct)} different values, fewer than the {folds} folds"
        fix = f"Lower splits.folds.{column}, or remove it to leave out one {column} at a time."
        return Problem(where, what, fix)
    return None


def confined(tiles: LabelledTiles, column: str) -> dict[str, str]:
    """Return the classes that are in one value of a column only, each with that value."""
    rows = np.flatnonzero(tiles.labelled)
    values: Texts = tiles.columns[column][rows]
    found = {}
    for name, has in zip(tiles.classes, tiles.matrix[rows].T, strict=True):
        own = set(values[has])
        if len(own) < LEAST_VALUES:
            found[name] = next(iter(own), "")
    return found


def confined_class(name: str, column: str, value: str, where: str) -> Problem:
    """Return the problem of a class that is in one value of a column only."""
    what = f'class "{name}" is in one {column} only ({value}): none is left to train or test on'
    fix = (
        f"Give tiles of it from another {column}, set `splits.rare_classes: drop`, or take "
        f"`{column}` out of `splits.schemes`."
    )
    return Problem(f"{where}, column {column}", what, fix)
