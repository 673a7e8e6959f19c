"""Which columns of a sheet are predicted from embeddings, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from transferscope.config.nuisance import USUAL_COLUMNS
from transferscope.config.roles import RoleSettings
from transferscope.errors import Problem, suggest
from transferscope.runtime.arrays import Floats, Texts


def texts_of(column: pd.Series[Any]) -> Texts:
    """Return the values of a column, str [N]; empty where unknown."""
    texts = column.astype(object).where(column.notna(), "").map(str).map(str.strip)
    return np.asarray(texts, dtype=object)


def numbers_of(column: pd.Series[Any]) -> Floats:
    """Return the numbers of a column, [N]; NaN where there is none."""
    return np.asarray(pd.to_numeric(pd.Series(texts_of(column)), errors="coerce"), np.float64)


def usual_columns(table: pd.DataFrame, roles: RoleSettings) -> tuple[list[str], list[str]]:
    """Return what is predicted, and compared with biology, where no columns are named.

    Columns without any value are left out.

    Parameters
    ----------
    table
        Sample sheet or tile table.
    roles
        The study's `roles`, of which the batch counts.
    """
    names = [str(name) for name in table.columns]
    batch = roles.of(names).batch
    usual = list(dict.fromkeys([*([batch] if batch else []), *USUAL_COLUMNS]))
    found = [name for name in usual if name in names and (texts_of(table[name]) != "").any()]
    return found, [name for name in found if name == batch]


def nuisance_problems(
    table: pd.DataFrame, named: Mapping[str, Sequence[str]], where: str
) -> list[Problem]:
    """Return what is wrong with the columns that the settings name.

    Parameters
    ----------
    table
        Sample sheet or tile table.
    named
        Key of the settings -> columns.
    where
        Name of the table in the problems.
    """
    problems = []
    for key, columns in named.items():
        for name in columns:
            if name not in table:
                what = f'no column "{name}", which the key nuisance.{key} names'
                known = [str(column) for column in table.columns]
                problems.append(Problem(where, what, suggest(name, known)))
            elif key == "numbers" and (
                problem := _no_number(table[name], f"{where}, column {name}")
            ):
                problems.append(problem)
    return problems


def _no_number(column: pd.Series[Any], where: str) -> Problem | None:
    texts = texts_of(column)
    wrong = np.flatnonzero((texts != "") & ~np.isfinite(numbers_of(column)))
    if not len(wrong):
        return None
    what = f'"{texts[wrong[0]]}" in row {wrong[0] + 1} is no number'
    return Problem(where, what, "Name it under nuisance.columns, or leave such cells empty.")
