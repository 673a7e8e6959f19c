"""Tables that people write, TSV or CSV: read strictly, with every problem named by its row.

One reader for all of them. Rows are numbered as a spreadsheet shows them: the header is row 1.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from transferscope.errors import Problem, UserError, suggest
from transferscope.raw.table_text import DELIMITERS, Record, read_records
from transferscope.runtime.spelling import Likely, quoted, variants, visible
from transferscope.transport.urls import MARK, secret_in, without_password

HEADER_ROW = 1
MOST_ALIKE = 20
MOST_ROWS_NAMED = 5
MOST_SHOWN = 40
NAMES_BELOW = "If the names are in a later row, remove the rows above it."
REMOVE_ROW = "Remove the row."
TAKE_SECRET_OUT = "Take the secret out of the table."
ONE_CELL_FIX = (
    "Separate columns by tabs, commas or semicolons, or name another delimiter in a first line, "
    "such as sep=|"
)

logger = logging.getLogger(__name__)


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


def read_table(path: Path, key: str = "sheet", *, numbered: bool = False) -> pd.DataFrame:
    """Read a table.

    Parameters
    ----------
    path
        A table, TSV or CSV.
    key
        Key of the dataset card, or option, that names it, for error messages.
    numbered
        The first column may number the rows, without a name; it is left out.

    Returns
    -------
    DataFrame
        All columns str and stripped; the index is the spreadsheet's row number.

    Raises
    ------
    UserError
        With everything that is wrong with the file as a table.
    """
    first, *rest = read_records(path, key)
    header, rows = _without_empty_columns(first.cells, rest)
    if numbered and header[0] == "" and all(len(record.cells) == len(header) for record in rows):
        header, rows = header[1:], [Record(r.row, r.line, r.cells[1:]) for r in rows]
    # First and alone: other messages would print what they complain of.
    if secrets := list(_secrets(header, rows)):
        raise UserError(as_problems(path, secrets))
    if problems := _check_shape(path, header, rows):
        raise UserError(problems)
    for spellings in variants(header):
        logger.warning("%s: the columns %s", path, spellings.describe())
    index = pd.Index([record.row for record in rows], name="row")
    return pd.DataFrame([record.cells for record in rows], columns=header, index=index, dtype=str)


def _without_empty_columns(header: list[str], rows: list[Record]) -> tuple[list[str], list[Record]]:
    """Leave out columns without a name and content, as spreadsheet programs write them."""
    if "" not in header or any(len(record.cells) != len(header) for record in rows):
        return header, rows
    used = [
        column
        for column, name in enumerate(header)
        if name or any(record.cells[column] for record in rows)
    ]
    kept = [Record(r.row, r.line, [r.cells[column] for column in used]) for r in rows]
    return [header[column] for column in used], kept


def _check_shape(path: Path, header: list[str], rows: Sequence[Record]) -> list[Problem]:
    """Return what is wrong with the names of the columns and the lengths of the rows."""
    where = f"{path}, row {HEADER_ROW}"
    problems = list(_check_header(where, header))
    if not rows:
        problems.append(Problem(str(path), "the sheet has no rows", "Add one row per field."))
    again = (
        Finding(record.row, "", "header again", "repeats the header", REMOVE_ROW)
        for record in rows
        if record.cells == header
    )
    return problems + as_problems(path, [*_wrong_lengths(header, rows), *again])


def _secrets(header: list[str], rows: Sequence[Record]) -> Iterator[Finding]:
    """Yield cells with a URL that holds a password or another secret: tables are passed on."""
    for record in (Record(HEADER_ROW, HEADER_ROW, header), *rows):
        if MARK not in " ".join(record.cells):  # of a million rows, most
            continue
        for column, cell in enumerate(record.cells):
            name = without_password(header[column]) if column < len(header) else ""
            for fault in filter(None, map(secret_in, cell.split())):
                yield Finding(record.row, name, "secret", f"a URL {fault}", TAKE_SECRET_OUT)


def _check_header(where: str, header: list[str]) -> Iterator[Problem]:
    for name, count in Counter(header).items():
        if name and count > 1:
            what = f'the column "{name}" occurs twice'
            yield Problem(where, what, "Rename or remove one of them.")
        if name != visible(name) or not name.isprintable():
            what = f"the name of the column {quoted(name)} holds a character that nobody sees"
            yield Problem(where, what, f'Type it again: "{" ".join(visible(name).split())}".')
    if "" in header:
        what = f"column {header.index('') + 1} has no name"
        # As spreadsheet programs write a title above a table.
        title = len(header) > 2 and not any(header[1:])
        fix = NAMES_BELOW if title else "Name it, or remove it."
        yield Problem(where, what, fix)
    if len(header) == 1 and re.search(r"\S[\s|:,;]+\S", header[0]):
        what = f"the header is one cell: {quoted(header[0])}"
        in_quotes = any(delimiter in header[0] for delimiter in DELIMITERS)
        fix = "If whole rows are in quotes, take these away." if in_quotes else ONE_CELL_FIX
        yield Problem(where, what, fix)


def _wrong_lengths(header: list[str], rows: Sequence[Record]) -> Iterator[Finding]:
    wrong = [record for record in rows if len(record.cells) != len(header)]
    one_more = len(wrong) == len(rows) and all(len(r.cells) == len(header) + 1 for r in wrong)
    # Perhaps a title or a remark: all rows below it are longer, and alike.
    alike = len(rows) > 1 and len({len(record.cells) for record in rows}) == 1
    below_title = alike and len(rows[0].cells) > len(header) + 1
    for record in wrong:
        fix = "Quote cells that hold the delimiter; leave no cell out."
        if one_more and not any(r.cells[-1] for r in wrong):
            fix = "Take the delimiter at the end off every row, or name the column in the header."
        elif one_more:
            fix = "Quote cells that hold the delimiter; if rows begin with row names, name those."
        elif len(record.cells) > len(header) and not any(record.cells[len(header) :]):
            fix = "Take the delimiter at the end off the row."
        elif len(record.cells) == 1:
            fix = "Write all cells of the row, or remove it."
        elif below_title:
            fix = f"{fix} {NAMES_BELOW}"
        line = f" (line {record.line})" if record.line != record.row else ""
        count = len(record.cells)
        shown = f": {quoted(record.cells[0][:MOST_SHOWN])}" if count == 1 else ""
        what = f"has {count} cells, but the header has {len(header)}{line}{shown}"
        yield Finding(record.row, "", "length", what, fix)


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
    if found := Likely(columns).of(name):
        return found
    for column in columns:
        parts = [part.strip() for part in re.split(r"[\t,;|]", column)]
        if name in parts:
            fix = "Put names that hold a delimiter in quotes, or write a first line such as sep=;"
            return f"The header was split otherwise: {quoted(column)} is one cell of it. {fix}"
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
