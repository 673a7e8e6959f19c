"""Reading of known pairs: from a relation card, or directly from a table with two columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from transferscope.cards.lookup import Located, find_card
from transferscope.cards.relations import RelationCard
from transferscope.errors import Problem, UserError, user_error
from transferscope.raw.text_tables import Finding, as_problems, missing_columns, read_table
from transferscope.runtime.arrays import Texts
from transferscope.transport.cache import cached_file

FOLDER = "resources/relations"
ONE_LINE = "Close or remove the quote, and write one name per cell."
TABLES = (".csv", ".tsv", ".txt")


@dataclass(frozen=True)
class ListedPairs:
    """The pairs of a source as listed.

    Parameters
    ----------
    name
        Name of the source.
    first, second
        Names of the entities, str [L].
    """

    name: str
    first: Texts
    second: Texts


def read_source(ref: str, roots: Sequence[Path]) -> ListedPairs:
    """Read a source, given as the name or path of a card, or as a table of two columns.

    Parameters
    ----------
    ref
        Name of a card, path of a card (.yaml), or path of a table (.csv, .tsv, .txt), whose first
        two columns hold the names.
    roots
        Folders to which cards are relative.

    Raises
    ------
    UserError
        If there is no such source, or its table is not as the card says.
    """
    if ref.lower().endswith(TABLES):
        path = Path(ref)
        table = read_table(path, "source")
        if len(table.columns) < 2:
            what = f"has {len(table.columns)} columns, but a pair takes two"
            raise user_error(path, what, "Write one pair per row, each name in a column.")
        return _listed(path.stem, path, table, (str(table.columns[0]), str(table.columns[1])))
    located: Located[RelationCard] = find_card(
        ref, "relations", RelationCard, FOLDER, roots, "--source"
    )
    card = located.card
    path, table = _table(located)
    missing = missing_columns(path, list(table.columns), [*card.columns, *card.at_least])
    if missing:
        raise UserError(missing)
    return _listed(card.name, path, _strong(path, table, card), card.columns)


def source_files(ref: str, roots: Sequence[Path]) -> list[Path]:
    """Return the files of a source that are on this machine for sure: a card, its own table.

    Raises
    ------
    UserError
        If there is no such card or table.
    """
    if ref.lower().endswith(TABLES):
        found = [Path(ref)]
    else:
        located = find_card(ref, "relations", RelationCard, FOLDER, roots, "relations.sources")
        found = [located.path]
        if located.card.path is not None:
            found.append(located.path.parent / located.card.path)
    if missing := [path for path in found if not path.is_file()]:
        raise user_error("relations.sources", f"{missing[0]} does not exist", "Check the path.")
    return found


def _table(located: Located[RelationCard]) -> tuple[Path, pd.DataFrame]:
    card = located.card
    if card.path is not None:
        path = located.path.parent / card.path
        if card.sha256 is not None and path.is_file():
            _verify(path, card.sha256, located.path)
        return path, read_table(path, "path")
    assert card.url is not None  # the card's own check
    path = cached_file(card.url, card.sha256)
    return path, read_export(path, str(located.path))


def read_export(path: Path, card: str) -> pd.DataFrame:
    """Read a table from an address, as text.

    It is written by a program, which may number its rows in a column without a name.

    Parameters
    ----------
    path
        The table.
    card
        The card that names it, for messages.
    """
    try:
        return read_table(path, "url", numbered=True)
    except UserError as error:
        first = error.problems[0]
        fix = f"Check `url:` in {card}."
        raise user_error(first.where, f"is not a table: {first.what}", fix) from None


def _verify(path: Path, wanted: str, card: Path) -> None:
    from transferscope.transport.checksums import Checksum

    expected = Checksum("sha256", wanted.lower())
    if (found := expected.of(path)) != expected:
        what = f"the checksum is {found}, not the expected {expected}"
        raise user_error(path, what, f"Get it again, or fix `sha256:` in {card}.")


def _strong(path: Path, table: pd.DataFrame, card: RelationCard) -> pd.DataFrame:
    """Return the rows whose numbers are large enough."""
    kept = np.ones(len(table), dtype=bool)
    findings = []
    for column, least in card.at_least.items():
        numbers = pd.to_numeric(table[column], errors="coerce")
        for row in table.index[numbers.isna()]:
            cell = str(table[column].loc[row])
            findings.append(
                Finding(int(row), column, "number", f'"{cell}" is not a number', "Write a number.")
            )
        kept &= np.asarray(numbers >= least)
    if findings:
        raise UserError(as_problems(path, findings))
    if not kept.any():
        told = ", ".join(f"{column} of {least:g}" for column, least in card.at_least.items())
        raise user_error(path, f"no row reaches {told}", "Lower `at_least:` in the card.")
    return table[kept]


def _listed(name: str, path: Path, table: pd.DataFrame, columns: tuple[str, str]) -> ListedPairs:
    """Return the pairs of a table in which every cell of both columns has a name."""
    first, second = (table[column].astype(str).str.strip() for column in columns)
    findings = [
        Finding(int(row), column, "empty", "has no name", "Write both names of the pair.")
        for column, cells in zip(columns, (first, second), strict=True)
        for row in table.index[cells == ""]
    ]
    findings += [
        Finding(int(row), column, "odd", f"{cells.loc[row]!r} is of several lines", ONE_LINE)
        for column, cells in zip(columns, (first, second), strict=True)
        for row in table.index[cells.str.contains(r"[\r\n]")]
    ]
    if findings:
        raise UserError(as_problems(path, findings))
    texts = (np.asarray(cells, dtype=object) for cells in (first, second))
    return ListedPairs(name, next(texts), next(texts))


def distinct_names(sources: Sequence[ListedPairs]) -> None:
    """Check that no two sources have the same name."""
    names = [source.name for source in sources]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        fix = "Name each once, or rename one of the tables."
        raise UserError([Problem("--source", f'two are named "{name}"', fix) for name in twice])
