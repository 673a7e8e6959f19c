"""Whether the rows of a dataset have the batches and the controls that a correction needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from transferscope.config.correction import ON_CONTROLS, CorrectionJob
from transferscope.config.roles import USUAL_NAMES, RoleColumns, RoleSettings
from transferscope.errors import Problem
from transferscope.runtime.arrays import Texts


def texts(column: pd.Series[str]) -> Texts:
    """Return the cells of a column as texts without spaces around them, [N]; empty if missing."""
    filled = column.astype(object).where(column.notna(), "")
    return np.asarray(filled.map(str).str.strip(), dtype=object)


def roles_in(table: pd.DataFrame, named: RoleSettings) -> RoleColumns:
    """Return the column of each role in a table; a usual name counts if any cell is filled in."""
    empty = {name for name in USUAL_NAMES if name in table and not (texts(table[name]) != "").any()}
    return named.of([column for column in table.columns if column not in empty])


def role_problems(rows: pd.DataFrame, job: CorrectionJob, where: Path | str) -> list[Problem]:
    """Return why rows cannot be corrected: columns, batches or controls that are missing.

    Parameters
    ----------
    rows
        Tile table, or sample sheet.
    job
        Method, and columns.
    where
        Its file.
    """
    if job.method == "none":
        return []
    lacking = [name for name in (job.roles.batch, job.roles.control) if name not in (*rows, None)]
    if lacking:
        fix = f"Add it to the sheet, or name another one; it has {', '.join(rows.columns)}."
        return [Problem(f"{where}, column {name}", "is missing", fix) for name in lacking]
    roles, method = roles_in(rows, job.roles), job.method
    problems = []
    of_batch = None if roles.batch is None else texts(rows[roles.batch])
    if of_batch is not None and len(empty := np.flatnonzero(of_batch == "")):
        what = f"{len(empty)} of {len(rows)} tiles are of no batch, which {method} needs"
        fix = f"Fill it in; the first is {rows['tile_id'].iloc[empty[0]]}."
        problems.append(Problem(f"{where}, column {roles.batch}", what, fix))
    if method in ON_CONTROLS:
        problems += _control_problems(rows, job, where)
    return problems


def _control_problems(rows: pd.DataFrame, job: CorrectionJob, where: Path | str) -> list[Problem]:
    roles = roles_in(rows, job.roles)
    if roles.control is None:
        fix = "Add a column `control` with true or false, or name it: roles.control."
        what = f"has no negative controls, which {job.method} needs"
        return [Problem(str(where), what, fix)]
    marks = texts(rows[roles.control])
    if (count := sum(roles.are_controls(list(marks)))) > 1:
        return []
    wanted = ", ".join(roles.control_values) or "true, yes or 1"
    known = ", ".join(sorted(set(marks))[:5])
    what = f"{count} negative controls ({wanted}), but {job.method} needs two or more"
    fix = f"Name the values of controls: roles.control_values; the column has {known}."
    return [Problem(f"{where}, column {roles.control}", what, fix)]
