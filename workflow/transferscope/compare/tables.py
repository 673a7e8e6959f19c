"""Reading and writing of the tables of the comparison: columns and order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from transferscope.config.channel_strategies import FEATURES, GIVEN
from transferscope.config.modes import described, is_tuned, mode_of_head
from transferscope.errors import Problem, UserError, user_error
from transferscope.probes.score_table import (
    SCORE_COLUMNS,
    SEEN_IN_TRAINING,
    STORE,
    VALIDATION_SCORE,
    knn_heads,
)
from transferscope.runtime.atomic_files import replacing
from transferscope.runtime.json_text import parse_json
from transferscope.runtime.spreadsheets import guarded, unguarded

HEAD = ["head", "k"]
FOLD = ["seed", "fold"]
SCORE_ORDER = [*STORE, "task", *HEAD, "scheme", *FOLD, "fraction", "metric", "class"]
SUMMARY_KEYS = [*STORE, "task", *HEAD, "scheme", "fraction", "metric", "class"]
TEXT_COLUMNS = [*STORE, "task", "head", "scheme", "metric", "class", SEEN_IN_TRAINING]
DECIMALS = 6
REMAKE = "Remove the file and give the same snakemake command again."


@dataclass(frozen=True, order=True)
class Head:
    """A head: its kind and, for k-NN, its k; otherwise 0."""

    kind: str
    k: int = 0

    @property
    def columns(self) -> dict[str, Any]:
        """Values of the columns `head` and `k`."""
        return {"head": self.kind, "k": self.k or pd.NA}

    def __str__(self) -> str:
        if self.kind in knn_heads():
            return f"{knn_heads()[self.kind]} (k = {self.k})"
        if is_tuned(self.kind):
            return f"fine-tuning of {described(mode_of_head(self.kind))}"
        return {"linear": "linear head", "logreg": "logistic regression", "mlp": "MLP"}.get(
            self.kind, self.kind
        )


@dataclass(frozen=True, order=True)
class Store:
    """A representation and its channel strategy; random orders are merged into one store."""

    backbone: str
    channels: str

    @property
    def columns(self) -> dict[str, str]:
        """Values of the columns `backbone` and `channels`."""
        return asdict(self)

    @property
    def is_handcrafted(self) -> bool:
        """Whether it holds hand-crafted features, which take any channels."""
        return self.channels == FEATURES

    def __str__(self) -> str:
        in_one_way = self.channels in (FEATURES, GIVEN)
        return self.backbone if in_one_way else f"{self.backbone} / {self.channels}"


def head_of(row: Any) -> Head:
    """Return the head that a row of any table names."""
    return Head(str(row["head"]), 0 if pd.isna(row["k"]) else int(row["k"]))


def matching(table: pd.DataFrame, head: Head | None = None, /, **values: object) -> pd.DataFrame:
    """Return the rows of a table with given values.

    Parameters
    ----------
    table
        Any table.
    head
        Head of the rows, for tables with `head` and `k`; None: any.
    **values
        Column -> value.
    """
    kept = pd.Series(True, index=table.index)
    for column, value in values.items():
        kept &= table[column] == value
    if head is not None:
        kept &= (table["head"] == head.kind) & (table["k"].fillna(0) == head.k)
    found: pd.DataFrame = table[kept]
    return found


def read_scores(paths: Sequence[Path]) -> pd.DataFrame:
    """Read all score tables, sorted by the columns that identify a score.

    Raises
    ------
    UserError
        Naming all tables that cannot be read or lack a column; or a score that is repeated.
    """
    problems: list[Problem] = []
    tables = []
    for path in paths:
        try:
            table = pd.read_parquet(path)
        except (OSError, pa.ArrowException) as error:
            problems.append(Problem(str(path), f"cannot be read: {error}", REMAKE))
            continue
        # Older tables have no scores on validation rows.
        table = table.reindex(columns=[*table.columns.union([VALIDATION_SCORE], sort=False)])
        if missing := [c for c in SCORE_COLUMNS if c not in table.columns]:
            problems.append(Problem(str(path), f"lacks the columns {', '.join(missing)}", REMAKE))
            continue
        tables.append(table[SCORE_COLUMNS].astype({"k": "Int64"}))
    if not paths:
        problems.append(Problem("scores", "no score table is given", "Name at least one."))
    if problems:
        raise UserError(problems)
    # The floor uses no embedding and may be in several tables of one store.
    scores = pd.concat(tables, ignore_index=True).drop_duplicates()
    if (repeated := scores.duplicated(SCORE_ORDER)).any():
        row = scores[repeated].iloc[0]
        where = ", ".join(f"{c} {row[c]}" for c in SCORE_ORDER)
        raise user_error("scores", f"given twice: {where}", "Name each table once.")
    return scores.sort_values(SCORE_ORDER, kind="stable", ignore_index=True)


def read_summary(path: Path) -> pd.DataFrame:
    """Read `summary.csv`; a class named "NA" stays a string.

    Raises
    ------
    UserError
        If the file cannot be read or is not a summary.
    """
    try:
        table = pd.read_csv(
            path, dtype=dict.fromkeys(TEXT_COLUMNS, str), keep_default_na=False, na_values=[]
        )
    except (OSError, ValueError) as error:
        raise user_error(path, f"cannot be read: {error}", REMAKE) from None
    if missing := [c for c in SUMMARY_KEYS if c not in table.columns]:
        what = f"is no summary: it lacks {', '.join(missing)}"
        raise user_error(path, what, REMAKE)
    numbers = [c for c in table.columns if c not in TEXT_COLUMNS]
    table[numbers] = table[numbers].apply(pd.to_numeric, errors="coerce")
    return unguarded(table).astype({"k": "Int64"})


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a CSV atomically, floats with six decimals, so that equal results are equal bytes.

    No cell is a formula to a spreadsheet program.
    """
    with replacing(path) as temporary:
        guarded(rounded(table)).to_csv(
            temporary, index=False, float_format=f"%.{DECIMALS}f", lineterminator="\n"
        )


def rounded(table: pd.DataFrame) -> pd.DataFrame:
    """Round floats to six decimals, and replace minus zero by zero."""
    floats = table.select_dtypes("float").columns
    table = table.copy()
    table[floats] = table[floats].round(DECIMALS) + 0.0
    return table


def classes_of(path: Path) -> list[str]:
    """Return the class names in the schema metadata of a prediction table.

    Raises
    ------
    UserError
        If the file cannot be read or has none.
    """
    try:
        metadata = pq.read_schema(path).metadata or {}
        return [str(c) for c in parse_json(metadata[b"transferscope"])["classes"]]
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
        what = f"is no prediction table ({type(error).__name__}: {error})"
        raise user_error(path, what, REMAKE) from None
