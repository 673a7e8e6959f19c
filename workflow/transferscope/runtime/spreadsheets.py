"""Tables that people open in spreadsheet programs, which would run a cell such as `=1+1`."""

from __future__ import annotations

import re
from collections.abc import Callable

import pandas as pd

# What begins a formula (OWASP, CSV injection). An apostrophe more keeps what had one already apart.
FORMULA = re.compile(r"'*[=+\-@\t\r]")
GUARDED = re.compile(r"'+[=+\-@\t\r]")


def guarded(table: pd.DataFrame) -> pd.DataFrame:
    """Put an apostrophe before each text that would be run: it is then shown as it is."""
    return _with_texts(table, lambda text: f"'{text}" if FORMULA.match(text) else text)


def unguarded(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table that `guarded` was given."""
    return _with_texts(table, lambda text: text[1:] if GUARDED.match(text) else text)


def _with_texts(table: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    """Return a table with each different text of its columns changed."""
    new = {}
    for name in table.columns:
        column = table[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            column = column.astype(object)
        if not (column.dtype == object or isinstance(column.dtype, pd.StringDtype)):
            continue
        texts = [value for value in column.unique() if isinstance(value, str)]
        changed = {text: found for text in texts if (found := change(text)) != text}
        if changed:
            new[name] = column.replace(changed)
    return table.assign(**new) if new else table
