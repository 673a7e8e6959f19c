"""Names that are two to a program and one to a reader: groups, classes, batches, fields and ids.

A group that is written in two ways counts as two, and its fields are on both sides of a split.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping
from pathlib import Path

import pandas as pd

from transferscope.cards import DatasetCard
from transferscope.errors import Problem
from transferscope.runtime.spelling import quoted, readings, variants

MOST_NAMED = 10
SHOWN = 3
JOINTS = re.compile(r"[,|/+&\n]")
MONTHS = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
CONVERTED = re.compile(
    rf"^(?:\d{{1,2}}-(?:{MONTHS})(?:-\d{{2,4}})?|(?:{MONTHS})-\d{{1,4}}|\d(?:[.,]\d+)?E\+\d{{2,}}"
    r"|#(?:N/A|NAME\?|REF!|VALUE!|DIV/0!|NULL!|NUM!))$",
    re.MULTILINE,
)
MISSING = ("nan", "NaN", "NAN", "NA", "N/A", "n/a", "<NA>", "NaT", "None", "NULL", "null")
EMPTY = "look like empty cells that a program filled in"
MOJIBAKE = "\ufffd|[\u00c2\u00c3\u00ce\u00cf][\u0080-\u00bf]|\u00e2\u20ac"
ODD_NAMES = (
    (
        CONVERTED,
        "look like dates, numbers or errors that a spreadsheet program made",
        "Compare them with the source: SEPT2 becomes 2-Sep, 1E5 becomes 1.00E+05.",
    ),
    (
        re.compile(r"^=.*$", re.MULTILINE),
        "look like formulas of a spreadsheet program",
        'Save what the formula shows: ="01" is 01.',
    ),
    (
        re.compile(rf"^(?:{'|'.join(map(re.escape, MISSING))})$", re.MULTILINE),
        EMPTY,
        "What is not known counts as one and the same here: fill in the name of each.",
    ),
    (
        re.compile(rf"^.*(?:{MOJIBAKE}).*$", re.MULTILINE),
        "look like text that was read in the wrong encoding",
        "Write the table again from its source, as UTF-8.",
    ),
)
# Columns whose names make identity: what it means where one is written in two ways.
ROLES = {
    "group": ("groups", "Their fields may be on both sides of a split, which is a leak."),
    "batch": ("batches", "They count as two."),
    "fov": ("fields of view", "They count as two."),
    "perturbation": ("perturbations", "They count as two."),
    "tile_id": ("ids", "They may be taken for each other."),
}
WRITE_ALIKE = "Write them alike, or, if they are meant to differ, so that a reader sees it."

logger = logging.getLogger(__name__)


def name_problems(table: pd.DataFrame, where: str) -> list[Problem]:
    """Return the names of a table that differ but read as one, with the rows of each.

    Parameters
    ----------
    table
        Sample sheet or tile table.
    where
        Its file.
    """
    found = []
    for column, (role, meaning) in ROLES.items():
        if column not in table:
            continue
        values = table[column]
        if column == "fov" and values.equals(table["tile_id"]):
            continue  # the default
        counts = values.value_counts(sort=False)
        counts = counts[counts.index != ""]

        # A perturbation may be none.
        given = counts.drop(list(MISSING), errors="ignore") if column == "perturbation" else counts
        found += odd_names(given, f"{where}, column {column}", role)

        def about(name: str, values: pd.Series = values, counts: pd.Series = counts) -> str:
            first = values.index[values == name][0]
            n = int(counts[name])
            return f" ({n} row{'s'[: n > 1]}, first {first})"

        place = f"{where}, column {column}"
        same = variants(counts.index)
        for spellings in same[:MOST_NAMED]:
            what = f"the {role} {spellings.describe(about)}"
            found.append(Problem(place, what, f"{meaning} {WRITE_ALIKE}"))
        if len(same) > MOST_NAMED:
            found.append(Problem(place, f"{len(same) - MOST_NAMED} more {role} are like that"))
    return found


def odd_names(counts: pd.Series, where: str, role: str, missing_fix: str = "") -> list[Problem]:
    """Return the names into which a program may have turned others, or nothing.

    Parameters
    ----------
    counts
        Number of rows of each name.
    where, role
        Where they stand, and what they are: "groups".
    missing_fix
        What to do about those that mean nothing, if not the usual.
    """
    found = []
    # At once: a sheet may have a million ids.
    text = "\n".join(counts.index)
    for pattern, what, fix in ODD_NAMES:
        # As whole names: a pattern may fit one line of a name that has several.
        if odd := [name for name in dict.fromkeys(pattern.findall(text)) if name in counts]:
            shown = ", ".join(f"{quoted(name)} ({counts[name]} rows)" for name in odd[:SHOWN])
            how = missing_fix if missing_fix and what == EMPTY else fix
            found.append(Problem(where, f"{len(odd)} {role} {what}: {shown}", how))
    return found


def parts_of(label: str, known: Collection[str]) -> list[str]:
    """Return the labels that a text joins in another way than by `;`; empty: it does not.

    Parameters
    ----------
    label
        The text.
    known
        Labels, of which one must be among the parts.

    Examples
    --------
    >>> parts_of("['er', 'golgi']", ["er", "golgi"]), parts_of("er/golgi", ["nucleus"])
    (['er', 'golgi'], [])
    """
    parts = [part.strip(" '\"") for part in JOINTS.split(label.strip("[](){} "))]
    return parts if len(parts) > 1 and not set(parts).isdisjoint(known) else []


def class_problems(card: DatasetCard, where: str) -> list[Problem]:
    """Return the classes of a card that differ but read as one.

    Parameters
    ----------
    card, where
        The card, and its file.
    """
    return [
        Problem(f"{where}, key labels", f"the classes {spellings.describe()}", WRITE_ALIKE)
        for spellings in variants(card.labels)
    ]


def nearly_classes(
    labels: Mapping[str, int], classes: Collection[str], where: str
) -> list[Problem]:
    """Return the labels of a source that are no class of the card, but read like one.

    They would be left out in silence.

    Parameters
    ----------
    labels
        How many rows have each label.
    classes
        The class list.
    where
        File of the labels.
    """
    by_reading = {reading: name for name in classes for reading in readings(name)}

    def meant(name: str) -> str:
        return next((by_reading[key] for key in readings(name) if key in by_reading), "")

    return [
        Problem(
            where,
            f"the label {quoted(name)} ({count} rows) reads like the class {quoted(meant(name))}",
            "Write both alike: labels that are no class are left out.",
        )
        for name, count in labels.items()
        if name not in classes and meant(name)
    ]


def shared_name_problems(groups: Mapping[str, Collection[str]], where: str) -> list[Problem]:
    """Return the groups that are written in one way in one dataset, and otherwise in another.

    Parameters
    ----------
    groups
        The groups of each dataset.
    where
        What the datasets belong to.
    """
    owners: dict[str, list[str]] = {}
    for dataset, names in groups.items():
        for name in dict.fromkeys(names):
            owners.setdefault(name, []).append(dataset)
    across = [
        spellings
        for spellings in variants(owners)
        if not any(set(spellings.names) <= set(names) for names in groups.values())
    ]
    fix = f"A training would not know the group of the other dataset, a leak. {WRITE_ALIKE}"

    def about(name: str) -> str:
        return f" of {', '.join(owners[name])}"

    found = [
        Problem(where, f"the groups {spellings.describe(about)}", fix)
        for spellings in across[:MOST_NAMED]
    ]
    if len(across) > MOST_NAMED:
        found.append(Problem(where, f"{len(across) - MOST_NAMED} more groups are like that"))
    return found


def collisions(names: Collection[str], what: str, where: str) -> list[Problem]:
    """Return the names of files that are one on a file system that ignores case.

    Parameters
    ----------
    names
        Names of datasets or backbones, after which files are named.
    what, where
        Kind of the names, and what they belong to.
    """
    fix = "On a disk that ignores case, one overwrites the other: rename one of them."
    return [Problem(where, f"the {what} {s.describe()}", fix) for s in variants(names)]


def warn(problems: Collection[Problem]) -> None:
    """Log problems as warnings, one line each."""
    for problem in problems:
        text = f"{problem.where}: {problem.what}. {problem.fix}"
        logger.warning("%s", text.strip())


def warn_of_names(table: pd.DataFrame, card: DatasetCard, path: Path) -> None:
    """Warn of names of a sample sheet and its card that read as one.

    Parameters
    ----------
    table, path
        The sheet, and its file.
    card
        The dataset.
    """
    warn([*class_problems(card, f"the card of {card.name}"), *name_problems(table, str(path))])
