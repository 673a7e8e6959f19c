"""The file of a table of features: Parquet, text or AnnData, read as columns and matrices.

Nothing of it is executed: objects that Python has pickled are not read.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from transferscope.errors import Problem, UserError, first_line, user_error
from transferscope.raw.text_tables import read_table
from transferscope.runtime.arrays import Floats32
from transferscope.runtime.plain_files import file_problem
from transferscope.runtime.shipped import install_hint

INSTALL = f"{install_hint('anndata')}; or write the table as Parquet."
# The matrix of AnnData itself, next to those of `obsm`.
X = "X"
PANDAS_INDEX = "__index_level_"
WRITE_AGAIN = "Write it again, or give the right table."
# What a damaged file makes its reader raise.
DAMAGE = (
    *(OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError),
    *(ArithmeticError, pa.ArrowException),
)


@dataclass(frozen=True)
class Matrix:
    """Features that belong together: a column of lists, or a matrix of AnnData.

    Parameters
    ----------
    values
        float32 [N, D]; a value that is missing is NaN.
    names
        Name of each column, [D].
    """

    values: Floats32
    names: list[str]


@dataclass(frozen=True)
class TableFile:
    """What a file holds.

    Parameters
    ----------
    path
        The file.
    columns
        Its columns, in any type; the index has the numbers of the rows: of text as a spreadsheet
        shows them, else from 1.
    matrices
        Name -> matrix.
    ids
        Name of each row, where the file has them apart from its columns.
    default
        What is taken as features where the card does not say it; None: all columns of numbers,
        and all matrices.
    """

    path: Path
    columns: pd.DataFrame
    matrices: dict[str, Matrix] = field(default_factory=dict)
    ids: list[str] | None = None
    default: Sequence[str] | None = None

    @property
    def names(self) -> list[str]:
        """Names of all columns and matrices."""
        return [*self.column_names, *self.matrices]

    @property
    def column_names(self) -> list[str]:
        """Names of its columns."""
        return [str(name) for name in self.columns.columns]


def read_file(path: Path, where: str) -> TableFile:
    """Read a table of features.

    Parameters
    ----------
    path
        A file with the ending .parquet, .csv, .tsv, .tab, .txt or .h5ad.
    where
        Card and key that name it, for messages.

    Raises
    ------
    UserError
        Where it is missing, damaged or of another kind.
    """
    if problem := file_problem(path):
        raise UserError(Problem(f"{where}: {problem.where}", problem.what, problem.fix))
    kind = path.suffix.lower()
    if kind not in READERS:
        what = f"{path.name} is no table that can be read: its name ends with {kind or 'nothing'}"
        raise user_error(where, what, f"Give a file that ends with {', '.join(READERS)}.")
    return READERS[kind](path, where)


def anndata_problems(path: Path, where: str) -> list[Problem]:
    """Return a problem where a file needs the extra `anndata`, and it is not installed."""
    if path.suffix.lower() != ".h5ad" or importlib.util.find_spec("anndata"):
        return []
    return [Problem(where, "anndata is not installed, which reads .h5ad", INSTALL)]


def _text(path: Path, where: str) -> TableFile:
    return TableFile(path, read_table(path, "table"))


def _parquet(path: Path, where: str) -> TableFile:
    try:
        # Absolute, because what looks like a URL would be taken for one.
        table = pq.ParquetFile(path.absolute()).read()
        names = [str(name) for name in table.column_names]
        if repeated := [name for name, count in Counter(names).items() if count > 1]:
            what = f'the column "{repeated[0]}" occurs twice'
            raise user_error(path, what, "Rename or remove one of them.")
        # An index without a name says nothing.
        kept = [name for name in names if not name.startswith(PANDAS_INDEX)]
        lists = {name: table[name] for name in kept if _is_matrix(table[name])}
        plain = table.select([name for name in kept if name not in lists])
        columns = plain.to_pandas(ignore_metadata=True)
    except DAMAGE as error:
        raise _unreadable(path, error) from None
    columns.index = _numbers(len(columns))
    matrices = {name: _of_lists(name, column) for name, column in lists.items()}
    return TableFile(path, columns, matrices)


def _is_matrix(column: pa.ChunkedArray) -> bool:
    kind, types = column.type, pa.types
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return bool(
        is_list
        and (types.is_floating(kind.value_type) or types.is_integer(kind.value_type))
        and _width(column)
    )


def _of_lists(name: str, column: pa.ChunkedArray) -> Matrix:
    """Return a column of lists of numbers as a matrix; a row without a list is missing."""
    is_given = column.is_valid().to_numpy()
    width = _width(column)
    values = np.full((len(column), width), np.nan, dtype=np.float32)
    values[is_given] = to_float32(pc.list_flatten(column.drop_null()).to_numpy()).reshape(-1, width)
    return Matrix(values, _numbered(name, width))


def _width(column: pa.ChunkedArray) -> int:
    """Return the length of a column's lists; 0 if they differ, or hold nothing."""
    widths = pc.unique(pc.list_value_length(column.drop_null())).to_pylist()
    return int(widths[0]) if len(widths) == 1 else 0


def _anndata(path: Path, where: str) -> TableFile:
    if problems := anndata_problems(path, where):
        raise UserError(problems)
    import anndata

    try:
        data: Any = anndata.read_h5ad(path)
        columns = data.obs.copy()
        columns.columns = [str(name) for name in columns.columns]
        ids = [str(name) for name in data.obs_names]
        found = {} if data.X is None else {X: (data.X, [str(name) for name in data.var_names])}
        for name in data.obsm:
            values = data.obsm[name]
            found[str(name)] = (values, [str(c) for c in getattr(values, "columns", ())])
        matrices = {name: _matrix(path, name, *given) for name, given in found.items()}
    except DAMAGE as error:
        raise _unreadable(path, error) from None
    columns.index = _numbers(len(columns))
    return TableFile(path, columns, matrices, ids, [X] if X in matrices else [])


def _matrix(path: Path, name: str, values: Any, names: list[str]) -> Matrix:
    dense = np.asarray(values.toarray() if hasattr(values, "toarray") else values)
    if dense.ndim != 2 or not np.issubdtype(dense.dtype, np.number):
        what = f"{name} is of type {dense.dtype} and has {dense.ndim} dimensions"
        raise user_error(path, what, "Write features as a matrix of numbers, one row per tile.")
    return Matrix(to_float32(dense), names or _numbered(name, dense.shape[1]))


def to_float32(values: npt.NDArray[Any]) -> Floats32:
    """Return numbers as float32; what is too large for it becomes infinite."""
    if np.iscomplexobj(values):
        raise TypeError("complex numbers")
    with np.errstate(over="ignore"):
        return np.asarray(values, dtype=np.float32)


def _numbered(name: str, width: int) -> list[str]:
    return [f"{name}_{column}" for column in range(width)]


def _numbers(n_rows: int) -> pd.Index[int]:
    return pd.RangeIndex(1, n_rows + 1, name="row")


def _unreadable(path: Path, error: Exception) -> UserError:
    return user_error(path, f"cannot be read ({first_line(error)})", WRITE_AGAIN)


READERS: dict[str, Callable[[Path, str], TableFile]] = {
    ".parquet": _parquet,
    ".csv": _text,
    ".tsv": _text,
    ".tab": _text,
    ".txt": _text,
    ".h5ad": _anndata,
}
