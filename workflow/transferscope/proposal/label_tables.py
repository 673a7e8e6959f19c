"""Which table in a folder has the labels of its images, and in which columns."""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from transferscope.errors import UserError
from transferscope.proposal.workbook import read_workbook
from transferscope.raw.sheet_builder import TABLE_LABEL_SEPARATORS, LabelTable
from transferscope.raw.text_tables import read_table

TABLES = (".csv", ".tsv", ".tab", ".txt")
WORKBOOK = ".xlsx"
# Share of the images that a table of labels has to name.
FEWEST_MATCHES = 0.3
MOST_CLASSES = 50
LABEL_COLUMNS = re.compile(
    r"label|class|locali[sz]ation|annotation|phenotype|category|compartment|grade", re.IGNORECASE
)
NO_LABEL_COLUMN = re.compile(
    r"(?:^|[_ ])(?:idx|id|index|number|no|n|count)(?:$|[_ ])", re.IGNORECASE
)
NO_LABEL = re.compile(r"unknown|unlabel+ed|none|n/?a|nan|\?+|-+|unsure|todo", re.IGNORECASE)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FoundLabels:
    """A table of labels that was found.

    Parameters
    ----------
    table
        Where labels are looked up.
    n_matches
        Images that it names.
    """

    table: LabelTable
    n_matches: int


def find_labels(
    tables: Sequence[Path], keys: Sequence[Sequence[str]], named: Mapping[str, Sequence[str]]
) -> FoundLabels | None:
    """Return the table and columns that name most images and have classes; None: there is none.

    Parameters
    ----------
    tables
        Tables that may hold labels.
    keys
        What each image may be called.
    named
        Parts of the names of the images, by name: a column that is called so is compared with it.
    """
    best: FoundLabels | None = None
    for path in tables:
        try:
            table = read_table(path, "--labels")
        except UserError as error:
            logger.warning("%s: not read for labels: %s", path, error.problems[0].what)
            continue
        for column in table:
            given = set(table[column]) - {""}
            part = named.get(str(column))
            own = keys if part is None else [[value] for value in part]
            matches = sum(not given.isdisjoint(each) for each in own)
            if matches < max(1, FEWEST_MATCHES * len(own)) or (best and matches <= best.n_matches):
                continue
            if label := _label_column(table, str(column)):
                odd = sorted({value for value in table[label] if NO_LABEL.fullmatch(value)})
                best = FoundLabels(LabelTable(path, str(column), label, odd), matches)
    return best


def as_text_table(path: Path) -> str:
    """Return the first sheet of a workbook as tab-separated text."""
    rows = read_workbook(path)
    width = max(map(len, rows), default=0)
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerows([*row, *[""] * (width - len(row))] for row in rows)
    return text.getvalue()


def _label_column(table: pd.DataFrame, key: str) -> str | None:
    """Return the first column with classes whose name says that it holds labels.

    A column that merely repeats, such as a plate, is no label.
    """
    for column in map(str, table):
        if column == key or not LABEL_COLUMNS.search(column) or NO_LABEL_COLUMN.search(column):
            continue
        values = [value for value in table[column] if value and not NO_LABEL.fullmatch(value)]
        classes = {part.strip() for value in values for part in TABLE_LABEL_SEPARATORS.split(value)}
        is_number = all(re.fullmatch(r"[-+.\d]+", value) for value in classes)
        if 2 <= len(classes) <= MOST_CLASSES and not is_number:
            return column
    return None
