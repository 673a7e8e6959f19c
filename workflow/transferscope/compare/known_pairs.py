"""The recall of known pairs in sentences, from the tables of the step `relate`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from transferscope.compare.tables import matching
from transferscope.compare.wording import count, number, quoted, signed
from transferscope.config.correction import NONE
from transferscope.errors import first_line, user_error
from transferscope.relations.table_names import (
    ALL_PAIRS,
    LABELS_ONLY,
    RANDOM,
    SCORED,
    TWO_SIDED,
)

# In the summary, which stays on one page.
SOURCES_IN_SHORT = 3


@dataclass(frozen=True)
class KnownPairTables:
    """Recall of known pairs in one dataset, and paired differences from its first map.

    Parameters
    ----------
    recall, differences
        Two-sided recall among all pairs, at the first threshold.
    """

    recall: pd.DataFrame
    differences: pd.DataFrame

    @classmethod
    def read(cls, folder: Path) -> KnownPairTables:
        """Read the tables of one dataset.

        Raises
        ------
        UserError
            If one is missing or damaged.
        """
        return cls(*(_headline(folder / f"{name}.csv") for name in ("recall", "differences")))


def _headline(path: Path) -> pd.DataFrame:
    try:
        # A source may be named NA.
        table = pd.read_csv(path, keep_default_na=False, na_values=[""])
        if "status" in table:
            table = matching(table, status=SCORED)
        found = matching(table, measure=TWO_SIDED, null=ALL_PAIRS)
        chosen: pd.DataFrame = found[found["threshold"] == found["threshold"].head(1).max()]
    except (OSError, ValueError, LookupError) as error:
        what = f"cannot be read: {first_line(error)}"
        raise user_error(path, what, "Relate the stores of this dataset first.") from None
    return chosen


def known_pairs_in_short(tables: KnownPairTables) -> Iterator[str]:
    """Say for each of the first sources which map recalls most, and what correction changes."""
    sources = list(dict.fromkeys(tables.recall["source"]))
    for source in sources[:SOURCES_IN_SHORT]:
        yield _highest(source, tables)
    if more := sources[SOURCES_IN_SHORT:]:
        yield f"{count(len(more), 'more source')}: see `details.md`."


def known_pairs(tables: KnownPairTables) -> Iterator[str]:
    """Say the same of every source, and how the maps differ from the first."""
    if tables.recall.empty:
        yield "No map was scored: `recall.csv` says why."
    for source in dict.fromkeys(tables.recall["source"]):
        yield _highest(source, tables)
        yield from _against_first(source, tables)
        yield from _by_correction(source, tables)


def _highest(source: str, tables: KnownPairTables) -> str:
    rows = matching(tables.recall, source=source)
    given = rows["map"].isin([RANDOM, LABELS_ONLY])
    maps = rows[~given]
    first = rows.to_dict("records")[0]
    text = f"{quoted(source)} ({count(int(first['n_pairs']), 'known pair')}): "
    if len(maps):
        best = maps.sort_values("value", kind="stable").to_dict("records")[-1]
        of_how_many = f", the highest of {count(len(maps), 'map')}" if len(maps) > 1 else ""
        text += f"recall is {_value(best)} with {_name(best)}{of_how_many}; "
    text += f"chance is {_chance(first)}"
    for name in (RANDOM, LABELS_ONLY):
        if len(row := matching(rows, map=name)):
            text += f", {name} {number(row.iloc[0]['value'])}"
    return f"{text}."


def _against_first(source: str, tables: KnownPairTables) -> Iterator[str]:
    """Compare the maps of the user with the first, each with the same correction as that."""
    rows = matching(tables.differences, source=source)
    rows = rows[~rows["map"].isin([RANDOM, LABELS_ONLY]) & (rows["map"] != rows["reference"])]
    for correction in dict.fromkeys(rows["correction"]):
        yield _others(source, matching(rows, correction=correction))


def _others(source: str, rows: pd.DataFrame) -> str:
    """Say which maps recall more than the reference, in one correction."""
    above = rows[rows["low"] > 0].sort_values("difference", ascending=False)
    named = "; ".join(f"{quoted(row['map'])} {_gap(row)}" for row in above.to_dict("records")[:3])
    first = rows.iloc[0]
    return (
        f"{quoted(source)}: of {count(len(rows), 'other map')}{_corrected(first)}, {len(above)} "
        f"recall more than {quoted(first['reference'])}, and {int((rows['high'] < 0).sum())} "
        f"less, each tested alone{f': {named}' if named else ''}."
    )


def _by_correction(source: str, tables: KnownPairTables) -> Iterator[str]:
    """Say what each correction changes in every map."""
    rows = matching(tables.differences, source=source)
    rows = rows[rows["map"] == rows["reference"]]
    for row in rows.to_dict("records"):
        before = row["reference_correction"]
        than = "" if before == NONE else f" compared with {quoted(before)}"
        what = f"correction by {quoted(row['correction'])}"
        if row["correction"] == NONE:
            what = "no correction"
        yield (
            f"{quoted(source)}: {what}{than} changes the recall of {quoted(row['map'])} by "
            f"{_gap(row)}."
        )


def _name(row: Any) -> str:
    return f"{quoted(row['map'])}{_corrected(row)}"


def _corrected(row: Any) -> str:
    return "" if row["correction"] == NONE else f" corrected by {quoted(row['correction'])}"


def _value(row: Any) -> str:
    if pd.isna(row["low"]):
        return number(row["value"])
    return f"{number(row['value'])} ({number(row['low'])} to {number(row['high'])})"


def _chance(row: Any) -> str:
    if pd.isna(row["chance_low"]):
        return number(row["chance"])
    return f"{number(row['chance_low'])} to {number(row['chance_high'])}"


def _gap(row: Any) -> str:
    return f"{signed(row['difference'])} ({signed(row['low'])} to {signed(row['high'])})"
