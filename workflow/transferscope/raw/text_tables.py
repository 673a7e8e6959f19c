"""Tables that people write, TSV or CSV: read strictly, with every problem named by its row.

Rows are numbered as a spreadsheet shows them: the header is row 1.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from transferscope.errors import Problem, UserError, suggest
from transferscope.runtime.plain_files import file_problem

HEADER_ROW = 1
MOST_ALIKE = 20
MOST_ROWS_NAMED = 5
LONGEST_CELL = 1 << 20


@dataclass(frozen=True)
class Finding:
    """One wrong cell; findings with the same text are reported as one problem.

    Parameters
    ----------
    row, column
        Where it is; an empty column means the whole row.
    kind
        Kind of the problem: of one kind, only the first `MOST_ALIKE` texts are reported.
    what, fix
        What is wrong, and what to do. A fix that takes a search is a function: of a million wrong
        cells, few are shown.
    """

    row: int
    column: str
    kind: str
    what: str
    fix: str | Callable[[], str]


def read_table(path: Path, key: str = "sheet") -> pd.DataFrame:
    """Read a table.

    Parameters
    ----------
    path
        A table, TSV or CSV.
    key
        Key of the dataset card that names it, for error messages.

    Returns
    -------
    DataFrame
        All columns str and stripped; the index is the spreadsheet's row number.

    Raises
    ------
    UserError
        With everything that is wrong with the file as a table.
    """
    text = _read_text(path, key)
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text, path))
    try:
        records = list(enumerate(reader, start=HEADER_ROW))
    except csv.Error as error:
        what = f"not a valid table: {error}"
        raise UserError(Problem(str(path), what, "Save it again as TSV.")) from None
    if not records:
        raise UserError(Problem(str(path), "the sheet is empty", "Write a header and rows."))
    (_, header), *rows = [(number, [cell.strip() for cell in row]) for number, row in records]
    rows = [(number, cells) for number, cells in rows if any(cells)]
    if problems := _check_shape(path, header, rows):
        raise UserError(problems)
    index = pd.Index([number for number, _ in rows], name="row")
    return pd.DataFrame([cells for _, cells in rows], columns=header, index=index, dtype=str)


def _read_text(path: Path, key: str) -> str:
    if path.exists() and (problem := file_problem(path)):  # a pipe would never end
        raise UserError(problem)
    try:
        # utf-8-sig drops the byte order mark that spreadsheets put in front.
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        what = "the sample sheet does not exist" if key == "sheet" else "the file does not exist"
        problem = Problem(str(path), what, f"Check `{key}:` in the dataset card.")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        what = f"not UTF-8 text: byte 0x{error.object[error.start]:02x}"
        fix = "Save it as UTF-8 (in a spreadsheet program: Save as, CSV UTF-8)."
        problem = Problem(f"{path}, line {line}", what, fix)
    except OSError as error:
        problem = Problem(str(path), f"cannot be read: {error.strerror}")
    raise UserError(problem)


def _delimiter(text: str, path: Path) -> str:
    """Return the delimiter that the header uses: tab, comma or semicolon."""
    header = text.partition("\n")[0]
    usual = "," if path.suffix.lower() == ".csv" else "\t"
    return next((delimiter for delimiter in "\t,;" if delimiter in header), usual)


def _check_shape(
    path: Path, header: list[str], rows: Sequence[tuple[int, list[str]]]
) -> list[Problem]:
    """Return what is wrong with the names of the columns and the lengths of the rows."""
    where = f"{path}, row {HEADER_ROW}"
    problems = [
        Problem(where, f'the column "{name}" occurs twice', "Rename or remove one of them.")
        for name, count in Counter(header).items()
        if name and count > 1
    ]
    if "" in header:
        what = f"column {header.index('') + 1} has no name"
        problems.append(Problem(where, what, "Name it, or remove it."))
    if not rows:
        problems.append(Problem(str(path), "the sheet has no rows", "Add one row per field."))
    fix = "Quote cells that hold the delimiter; leave no cell out."
    return problems + as_problems(
        path,
        (
            Finding(
                row, "", "length", f"has {len(cells)} cells, but the header has {len(header)}", fix
            )
            for row, cells in rows
            if len(cells) != len(header)
        ),
    )


def missing_columns(path: Path, columns: Sequence[str], required: Iterable[str]) -> list[Problem]:
    """Return a problem for each required column that a table does not have."""
    return [
        Problem(
            f"{path}, row {HEADER_ROW}",
            f'the column "{name}" is missing',
            f'Add the column "{name}". {suggest_column(name, columns)}',
        )
        for name in required
        if name not in columns
    ]


def suggest_column(name: str, columns: Sequence[str]) -> str:
    """Return a sentence that offers the column with the nearest name."""
    by_lower_case = {column.lower(): column for column in columns}
    if name in by_lower_case:
        return f'Did you mean "{by_lower_case[name]}"?'
    return suggest(name, columns)


def cells_of(table: pd.DataFrame, column: str) -> Iterator[tuple[int, str]]:
    """Return (row, cell) of a column; nothing where the table does not have it."""
    return zip(map(int, table.index), table.get(column, ()), strict=False)


def as_problems(path: Path, findings: Iterable[Finding]) -> list[Problem]:
    """Merge findings that say the same, and cap those of one kind."""
    alike: dict[tuple[str, str], dict[str, list[Finding]]] = {}
    for finding in findings:
        of_kind = alike.setdefault((finding.column, finding.kind), {})
        of_kind.setdefault(finding.what, []).append(finding)
    problems = []
    for messages in alike.values():
        for what, same in list(messages.items())[:MOST_ALIKE]:
            fix = same[0].fix if isinstance(same[0].fix, str) else same[0].fix()
            problems.append(Problem(_place(path, same), what, fix))
        if rest := [f for same in list(messages.values())[MOST_ALIKE:] for f in same]:
            what = f"{len(rest)} more rows have the same kind of problem"
            problems.append(Problem(_place(path, rest), what))
    return problems


def _place(path: Path, findings: Sequence[Finding]) -> str:
    """Return the file, rows and column of findings in one column."""
    named = ", ".join(str(finding.row) for finding in findings[:MOST_ROWS_NAMED])
    more = len(findings) - MOST_ROWS_NAMED
    rows = f"row{'s'[: len(findings) > 1]} {named}{f' and {more} more' if more > 0 else ''}"
    column = findings[0].column
    return f"{path}, {rows}{f', column {column}' if column else ''}"
