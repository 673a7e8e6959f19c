"""The rows of a table of features, checked as those of a sample sheet, and its features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from transferscope.cards import DatasetCard
from transferscope.errors import Problem, UserError, user_error
from transferscope.given.features import (
    METADATA_PREFIX,
    FeatureSet,
    feature_sets,
    not_finite,
)
from transferscope.given.table_file import TableFile, read_file
from transferscope.raw.sheets import RESERVED_COLUMNS, row_findings, with_defaults
from transferscope.raw.text_tables import as_problems, suggest_column
from transferscope.runtime.arrays import Bools

# Columns that are found by their usual names; the rest of a table is features or metadata.
USUAL = ("tile_id", "group", "labels", "fov", "batch", "perturbation", "control")
FIRST_COLUMNS = ["tile_id", "group", "labels", "fov", "batch"]
NAMES_SHOWN = 3
NO_GROUP, NOT_FINITE = "has no group", "has values that are missing or not finite"
# What a column `control` says of rows that are none, in any case.
NO = frozenset({"", "false", "no", "0", "nan", "none"})


@dataclass(frozen=True)
class Skipped:
    """A row that is left out: its id, its number, and why."""

    tile_id: str
    row: int
    reason: str


@dataclass(frozen=True)
class GivenRows:
    """What is known of a table of features without their values.

    Parameters
    ----------
    table
        The tile table, all columns str; the index has the numbers of the rows in the file.
    widths
        Set of features -> number of features.
    skipped
        Rows that are left out.
    notes
        What the user should know of it.
    """

    table: pd.DataFrame
    widths: dict[str, int]
    skipped: Sequence[Skipped]
    notes: Sequence[str]


@dataclass(frozen=True)
class Given:
    """A table of features that has been checked: its rows, the values, and what is left out.

    Parameters
    ----------
    rows
        Its rows.
    sets
        Name -> the features that vary.
    constant
        Name -> the features that have the same value in all rows.
    """

    rows: GivenRows
    sets: dict[str, FeatureSet]
    constant: dict[str, list[str]]


def table_of(card: DatasetCard, card_path: Path) -> Path:
    """Return the path of the table of such a dataset."""
    if card.table is None:
        raise user_error(card_path, "has no table", "Add `source: table` and `table:`.")
    return card_path.parent / card.table


def read_given(card: DatasetCard, card_path: Path, *, skip: bool = False) -> Given:
    """Read the table of a dataset with `source: table`, and check it.

    Parameters
    ----------
    card, card_path
        The dataset, and the file of its card.
    skip
        Whether rows without a group, or with values that are not finite, are left out and listed;
        otherwise they are problems.

    Raises
    ------
    UserError
        With everything that is wrong with its rows and features.
    """
    file = read_file(table_of(card, card_path), f"{card_path}, key table")
    mapping = _mapping(file, card, card_path)
    problems: list[Problem] = []
    sets: dict[str, FeatureSet] = {}
    try:
        sets = feature_sets(file, card.features, set(mapping.values()), str(card_path))
    except UserError as error:
        problems += error.problems
    features = {name for each in sets.values() for name in each.names}
    table, notes = _with_groups(_rows(file, mapping, features), str(file.path))
    everything = np.ones(len(table), dtype=bool)
    finite = np.all([everything, *(each.finite() for each in sets.values())], axis=0)
    faults = {NO_GROUP: (table["group"] == "").to_numpy(), NOT_FINITE: ~finite}
    left_out = faults if skip else {}
    kept = ~np.any([~everything, *left_out.values()], axis=0)
    # A row that is left out may say anything.
    findings = row_findings(table[kept], card, str(card_path))
    named = (replace(each, column=mapping.get(each.column, each.column)) for each in findings)
    problems += as_problems(file.path, named)
    if not kept.any() or not (skip or finite.all()):
        problems += not_finite(sets, table.index, str(file.path))
    if not kept.any():
        problems.append(Problem(str(file.path), "has no usable row", "Check its values."))
    if problems:
        raise UserError(problems)
    return _checked(table, sets, kept, left_out, file.path, notes)


def _checked(
    table: pd.DataFrame,
    sets: dict[str, FeatureSet],
    kept: Bools,
    left_out: dict[str, Bools],
    path: Path,
    notes: list[str],
) -> Given:
    """Return the rows that are kept, with the features that vary in them.

    Raises
    ------
    UserError
        If no feature of a set varies.
    """
    varying, constant = {}, {}
    for name, each in sets.items():
        varying[name], constant[name] = each.rows(kept).varying()
        if not varying[name].names:
            what = f'no feature of "{name}" is left: each has one value in all {kept.sum()} rows'
            raise user_error(path, what, "Check the columns, or the rows.")
        if same := constant[name]:
            shown = ", ".join(same[:NAMES_SHOWN]) + (", ..." if len(same) > NAMES_SHOWN else "")
            notes.append(f"{path}: {len(same)} constant features of {name} left out: {shown}")
    skipped = []
    ids, numbers = table["tile_id"].tolist(), table.index.tolist()
    for position in np.flatnonzero(~kept):
        why = "; ".join(reason for reason, rows in left_out.items() if rows[position])
        skipped.append(Skipped(ids[position], numbers[position], why))
    if skipped:
        notes.append(f"{path}: {len(skipped)} of {len(table)} rows are skipped{_most_often(sets)}")
    widths = {name: len(each.names) for name, each in varying.items()}
    rows = with_defaults(table[kept])
    rows = rows[[*FIRST_COLUMNS, *(name for name in rows if name not in FIRST_COLUMNS)]]
    return Given(GivenRows(rows, widths, skipped, notes), varying, constant)


def _most_often(sets: dict[str, FeatureSet]) -> str:
    """Say which feature most of the values that are not finite belong to."""
    counts = {
        name: int(count)
        for each in sets.values()
        for name, count in zip(each.names, (~np.isfinite(each.values)).sum(axis=0), strict=True)
    }
    worst = max(counts, key=lambda name: counts[name])
    return f", {counts[worst]} of them by {worst}" if counts[worst] else ""


def _mapping(file: TableFile, card: DatasetCard, card_path: Path) -> dict[str, str]:
    """Return column of a sample sheet -> column of the file."""
    columns = file.column_names
    own = {name: name for name in USUAL if name in columns}
    problems = [
        Problem(
            f"{card_path}, key columns.{name}",
            f'{file.path.name} has no column "{column}"',
            suggest_column(column, columns),
        )
        for name, column in card.columns.items()
        if column not in columns
    ]
    mapping = {**own, **card.columns}
    required = ["group"] if card.label_table is not None else ["group", "labels"]
    for name in required:
        if name not in mapping:
            fix = f"Name it in the card: `columns: {{{name}: ...}}`; the table has {_few(columns)}."
            problems.append(Problem(str(file.path), f'the column "{name}" is missing', fix))
    if problems:
        raise UserError(problems)
    return mapping


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")


def _rows(file: TableFile, mapping: dict[str, str], features: set[str]) -> pd.DataFrame:
    """Return the columns with a role, and metadata, all str and stripped."""
    found = {name: _texts(file.columns[column]) for name, column in mapping.items()}
    if "tile_id" not in found:
        ids = file.ids or [f"row-{row}" for row in file.columns.index]
        found["tile_id"] = pd.Series(ids, index=file.columns.index, dtype=object)
    found.setdefault("labels", pd.Series("", index=file.columns.index, dtype=object))
    taken = {*found, *features, *RESERVED_COLUMNS}
    for name in file.column_names:
        cells = file.columns[name]
        # What has a role keeps its own name, too: a study may name it by either.
        is_metadata = name.startswith(METADATA_PREFIX) or name in mapping.values()
        # In AnnData, features are in matrices, and columns describe the rows.
        is_metadata = is_metadata or file.ids is not None
        if name not in taken and (is_metadata or not pd.api.types.is_numeric_dtype(cells)):
            found[name] = _texts(cells)
    return pd.DataFrame(found, index=file.columns.index)


def _with_groups(table: pd.DataFrame, where: str) -> tuple[pd.DataFrame, list[str]]:
    """Give controls without a group that of their kind: what is no treatment has no name."""
    if "control" not in table:
        return table, []
    is_control = ~table["control"].str.casefold().isin(NO)
    filled = (table["group"] == "") & is_control
    if not filled.any():
        return table, []
    kinds = ", ".join(sorted(set(table["control"][filled]))[:NAMES_SHOWN])
    note = f"{where}: {filled.sum()} controls without a group are those of their kind: {kinds}"
    return table.assign(group=table["group"].mask(filled, table["control"])), [note]


def _texts(cells: pd.Series[Any]) -> pd.Series[str]:
    """Return cells as text: missing ones empty, whole numbers without decimals."""
    filled = cells.astype(object).where(cells.notna(), "")
    return filled.map(_text).astype(object)


def _text(cell: Any) -> str:
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "backslashreplace").strip()
    if isinstance(cell, float | np.floating) and float(cell).is_integer():
        return str(int(cell))
    return str(cell).strip()
