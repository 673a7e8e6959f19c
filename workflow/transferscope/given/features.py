"""Which columns of a table are features, and their values, checked."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import pandas as pd

from transferscope.cards.dataset import DEFAULT_SET
from transferscope.errors import Problem, UserError, suggest
from transferscope.given.table_file import Matrix, TableFile, to_float32
from transferscope.raw.text_tables import Finding, as_problems
from transferscope.runtime.arrays import Bools, Floats32

METADATA_PREFIX = "Metadata_"
MISSING = frozenset({"", "nan", "na", "n/a", "none", "null", "<na>"})
# A column of text with more numbers than other cells is one of numbers that has faults.
MOSTLY = 0.5
WITHOUT = "!"
SHOWN = 5


@dataclass(frozen=True)
class FeatureSet:
    """A set of features of all rows.

    Parameters
    ----------
    values
        float32 [N, D].
    names
        Name of each feature, [D].
    """

    values: Floats32
    names: list[str]

    def finite(self) -> Bools:
        """Return which rows have only values that are finite, bool [N]."""
        return np.asarray(np.isfinite(self.values).all(axis=1))

    def rows(self, kept: Bools) -> FeatureSet:
        """Return some rows."""
        return FeatureSet(self.values[kept], self.names)

    def varying(self) -> tuple[FeatureSet, list[str]]:
        """Return the features that are not the same in all rows, and the names of the others."""
        same = (self.values == self.values[:1]).all(axis=0)
        left = [name for name, is_same in zip(self.names, same, strict=True) if not is_same]
        constant = [name for name, is_same in zip(self.names, same, strict=True) if is_same]
        return FeatureSet(self.values[:, ~same], left), constant


def feature_sets(
    file: TableFile, asked: dict[str, str], roles: Collection[str], where: str
) -> dict[str, FeatureSet]:
    """Return the sets of features that a card asks for.

    Parameters
    ----------
    file
        The table.
    asked
        Name of a set -> names and patterns of its columns, as in the card; empty: one set of all
        features.
    roles
        Columns with a role, which are no features.
    where
        File of the card.

    Raises
    ------
    UserError
        With every pattern that fits no column, and every cell that is no number.
    """
    problems: list[Problem] = []
    found: dict[str, FeatureSet] = {}
    numbers = _Numbers(file)
    for name, text in (asked or {DEFAULT_SET: ""}).items():
        key = f"{where}, key features.{name}"
        try:
            chosen = _matching(text, file, roles, key) if asked else _default(file, roles, numbers)
            if not chosen:
                raise UserError(_no_feature(file, asked, where))
            found[name] = _joined([numbers.of(column) for column in chosen])
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(list(dict.fromkeys(problems)))
    return found


def _no_feature(file: TableFile, asked: dict[str, str], where: str) -> Problem:
    if file.default is not None:
        known = ", ".join(file.matrices) or "none"
        fix = f"Name them in the card: `features: {{pca: X_pca}}`; it has {known}."
        return Problem(str(file.path), "has no X, and the card names no other features", fix)
    fix = f"Write one column of numbers per feature, whose name begins not with {METADATA_PREFIX}"
    what = "has no column of features: all have a role, or hold text"
    return Problem(str(file.path), what, f"{fix}, or name them: `features:` in {where}.")


def _matching(text: str, file: TableFile, roles: Collection[str], key: str) -> list[str]:
    """Return the columns and matrices that patterns name, in the order of the file."""
    parts = [part.strip() for part in text.split("|")]
    if not all(part.removeprefix(WITHOUT).strip() for part in parts):
        fix = "Give names or patterns, such as Cells_*|Nuclei_*."
        raise UserError(Problem(key, f'"{text}" has an empty pattern', fix))
    wanted = [part for part in parts if not part.startswith(WITHOUT)]
    without = [part.removeprefix(WITHOUT).strip() for part in parts if part.startswith(WITHOUT)]
    known = [name for name in file.names if name not in roles]
    if not wanted:
        wanted = ["*"]
    fitting: dict[str, None] = {}
    for pattern in wanted:
        # Metadata is none of the features, unless it is asked for.
        own = pattern.startswith(METADATA_PREFIX)
        fits = [
            name
            for name in known
            if name == pattern
            or (fnmatchcase(name, pattern) and (own or not name.startswith(METADATA_PREFIX)))
        ]
        if not fits:
            what = f'no column of {file.path.name} fits "{pattern}"'
            if pattern in roles:
                what = f'the column "{pattern}" has a role, and is no feature'
            raise UserError(Problem(key, what, suggest(pattern, known)))
        fitting |= dict.fromkeys(fits)
    return [
        name
        for name in known
        if name in fitting and not any(fnmatchcase(name, pattern) for pattern in without)
    ]


def _default(file: TableFile, roles: Collection[str], numbers: _Numbers) -> list[str]:
    if file.default is not None:
        return list(file.default)
    return [
        name
        for name in file.names
        if name not in roles and not name.startswith(METADATA_PREFIX) and numbers.has(name)
    ]


class _Numbers:
    """The numbers of the columns of a file, each read once."""

    def __init__(self, file: TableFile) -> None:
        self._file = file
        self._parsed: dict[str, pd.Series[float]] = {}

    def has(self, name: str) -> bool:
        """Return whether a column is one of numbers, as far as nobody says so."""
        if name in self._file.matrices:
            return True
        cells = self._file.columns[name]
        if not _is_text(cells):
            return pd.api.types.is_numeric_dtype(cells) and not pd.api.types.is_bool_dtype(cells)
        given = ~_missing(cells)
        return bool(given.any()) and self._number(name)[given].notna().mean() > MOSTLY

    def of(self, name: str) -> Matrix:
        """Return the numbers of a column or a matrix.

        Raises
        ------
        UserError
            Naming the rows of the cells that are no numbers.
        """
        if name in self._file.matrices:
            return self._file.matrices[name]
        cells = self._file.columns[name]
        if _is_text(cells):
            number = self._number(name)
            wrong = number.isna() & ~_missing(cells)
            if wrong.any():
                raise UserError(as_problems(self._file.path, _no_numbers(cells, wrong, name)))
        elif not pd.api.types.is_numeric_dtype(cells) or cells.dtype.kind in "bc":
            what = f"is of type {cells.dtype}, which is no number"
            raise UserError(Problem(f"{self._file.path}, column {name}", what, _as_no_feature()))
        else:
            number = cells
        values = number.to_numpy(dtype=np.float64, na_value=np.nan)
        return Matrix(to_float32(values)[:, None], [name])

    def _number(self, name: str) -> pd.Series[float]:
        if name not in self._parsed:
            cells = self._file.columns[name]
            # As text, because cells may be lists.
            texts = cells.map(str).where(~_missing(cells), None)
            self._parsed[name] = pd.to_numeric(texts, errors="coerce").astype(np.float64)
        return self._parsed[name]


def _is_text(cells: pd.Series[str]) -> bool:
    return pd.api.types.is_object_dtype(cells) or pd.api.types.is_string_dtype(cells)


def _missing(cells: pd.Series[str]) -> pd.Series[bool]:
    return cells.isna() | cells.map(str).str.strip().str.lower().isin(MISSING)


def _no_numbers(cells: pd.Series[str], wrong: pd.Series[bool], name: str) -> Iterator[Finding]:
    for row, cell in cells[wrong].items():
        what = f'"{cell}" is not a number'
        yield Finding(int(str(row)), name, "number", what, _as_no_feature())


def _as_no_feature() -> str:
    return f"Write numbers. If it is no feature, name it {METADATA_PREFIX}..., or use `features:`."


def _joined(matrices: Sequence[Matrix]) -> FeatureSet:
    names = [name for matrix in matrices for name in matrix.names]
    return FeatureSet(np.concatenate([matrix.values for matrix in matrices], axis=1), names)


def not_finite(sets: dict[str, FeatureSet], rows: pd.Index[int], where: str) -> list[Problem]:
    """Return a problem per column with values that are missing or not finite, the worst first."""
    counts: dict[str, tuple[int, int]] = {}
    for each in sets.values():
        bad = ~np.isfinite(each.values)
        for column in np.flatnonzero(bad.any(axis=0)):
            first = int(rows[int(bad[:, column].argmax())])
            counts[each.names[column]] = (int(bad[:, column].sum()), first)
    worst = sorted(counts, key=lambda name: -counts[name][0])
    fix = "Leave the feature out (`features:` of the card), or set `bad_tiles: skip` in the study."
    problems = []
    for name in worst[:SHOWN]:
        n, first = counts[name]
        what = f"{n} of {len(rows)} values are missing or not finite, the first in row {first}"
        problems.append(Problem(f"{where}, column {name}", what, fix))
    if len(worst) > SHOWN:
        what = f"{len(worst) - SHOWN} more features have such values"
        problems.append(Problem(where, what, fix))
    return problems
