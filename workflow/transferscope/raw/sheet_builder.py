"""A sample sheet from a folder of images and a pattern of their names.

A pattern is a path below the folder with names in braces: `{group}/{well}_{site}_w{channel}.tif`.
A name matches anything but `/`, as much as it can, so that a name with underscores is split from
the right; a name that occurs again must match the same text. `{_}` matches anything and is
forgotten. `{group}` is required; `{channel}` means one file per channel; `{tile_id}` and `{fov}`
mean what they do in the sheet; every other name becomes a column.
"""

from __future__ import annotations

import csv
import logging
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from transferscope.errors import Problem, UserError, suggest
from transferscope.raw.file_checks import first_problems
from transferscope.raw.folders import files_below
from transferscope.raw.names import WRITE_ALIKE, name_problems, odd_names, parts_of, warn
from transferscope.raw.places import absolute_path
from transferscope.raw.sheets import (
    CHANNEL_PATH_PREFIX,
    CONTROL,
    LABEL_SEPARATOR,
    RESERVED_COLUMNS,
    split_labels,
)
from transferscope.raw.text_tables import (
    Finding,
    as_problems,
    cells_of,
    missing_columns,
    read_table,
)
from transferscope.runtime.atomic_files import write_atomically
from transferscope.runtime.spelling import Likely, quoted, variants

CHANNEL_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
FIELD_NAME = re.compile(r"\{([^{}]*)\}")
FORGOTTEN = "_"
SHOWN = 5
# Keys for which a likely match is looked for.
MOST_OFFERED = 10_000
# The separators that label tables use within a cell; `|` is the Human Protein Atlas's.
TABLE_LABEL_SEPARATORS = re.compile(r"[;|]")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelTable:
    """Where labels are looked up.

    Parameters
    ----------
    path
        A CSV or TSV.
    key
        Column that is compared with the pattern's field of that name, or else with the tile id,
        the group and the file name.
    label
        Column of the labels, separated by `;` or `|`. A key may have several rows.
    unlabelled
        Values that mean no label, such as "Unknown".
    """

    path: Path
    key: str
    label: str
    unlabelled: Collection[str] = ()

    @classmethod
    def parse(cls, text: str, unlabelled: Collection[str] = ()) -> LabelTable:
        """Return the table that `path:key_column:label_column` means.

        Raises
        ------
        UserError
            Where the text has another form.
        """
        parts = text.rsplit(":", 2)
        if len(parts) != 3 or not all(parts):
            fix = "Write it as table.csv:key_column:label_column."
            raise UserError(Problem("labels", f'"{text}" names no table and columns', fix))
        return cls(Path(parts[0]), parts[1], parts[2], unlabelled)


@dataclass(frozen=True)
class BuiltSheet:
    """What was written.

    Parameters
    ----------
    path
        The sheet.
    channels
        The channels, where each has a file of its own; empty for multi-channel files.
    labels
        The labels that occur, sorted: the card's class list.
    n_rows, n_unlabelled, n_unused
        Rows, rows without a label, and files that the pattern does not match.
    root
        The folder of the images, where the card must name it in `roots`; else None.
    skipped
        Linked or unreadable folders that were left out, and why.
    unmatched
        What fits nothing in the table of labels, and is in none.
    """

    path: Path
    channels: list[str]
    labels: list[str]
    n_rows: int
    n_unlabelled: int
    n_unused: int
    root: Path | None
    skipped: list[str]
    unmatched: Unmatched


@dataclass(frozen=True)
class Unmatched:
    """What fits nothing on the other side, where labels were looked up.

    Parameters
    ----------
    keys
        Keys of the table that fit no image.
    images
        Images that no key fits, by what they were looked up as.
    """

    keys: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)


@dataclass
class _Row:
    """One field: what its name says, and its file, or its file of each channel."""

    values: dict[str, str]
    files: dict[str, Path] = field(default_factory=dict)

    @property
    def tile_id(self) -> str:
        """Id of the field: as the pattern names it, or else all that its name says."""
        return self.values.get("tile_id") or "_".join(filter(None, self.values.values()))

    @property
    def first_file(self) -> Path:
        """Its file, or that of its first channel."""
        return next(iter(self.files.values()))


def build_sheet(
    folder: Path,
    pattern: str,
    output: Path,
    *,
    regex: bool = False,
    channel_names: Mapping[str, str] | None = None,
    labels: LabelTable | None = None,
) -> BuiltSheet:
    r"""Write a sample sheet for the images of a folder.

    Parameters
    ----------
    folder
        Folder of the images.
    pattern
        Pattern of their paths below the folder, see the module; or a regular expression.
    output
        The sheet to write (TSV). Paths in it are relative if the folder lies below it.
    regex
        The pattern is a Python regular expression with named groups, `(?P<group>\w+)`, which must
        match the whole path.
    channel_names
        What each raw channel name shows, such as `{"w1": "nucleus"}`; channels that are not named
        are left out. None: raw names are used as they are.
    labels
        Where labels are looked up. None: the column stays empty, to be filled in.

    Raises
    ------
    UserError
        Where nothing matches, the pattern lacks a group, channel files are missing, names are not
        unique, or the label table does not fit.
    """
    if not folder.is_dir():
        raise UserError(Problem(str(folder), "the folder does not exist", "Check the path."))
    matcher = _compile(pattern, regex=regex)
    below = files_below(folder)
    paths = [path for path in below.paths if folder / path != output]
    matches = [(path, m) for path in paths if (m := matcher.fullmatch(path.as_posix()))]
    if not matches:
        raise _nothing_matches(folder, pattern, paths, below.skipped)
    rows = _rows(matches, channel_names)
    raw = sorted({m["channel"] for _, m in matches} if "channel" in matcher.groupindex else ())
    channels = _check_channels(rows, raw, channel_names, folder) if raw else []
    _check_ids(rows, folder)
    found, unmatched = [""] * len(rows), Unmatched()
    if labels:
        found, unmatched = _look_up(rows, labels)
    absolute = absolute_path(folder)
    outside = not absolute.is_relative_to(absolute_path(output.parent))
    table = _table(rows, found, channels, folder, output)
    classes = sorted({label for cell in found for label in split_labels(cell)})
    alike = [*name_problems(table.set_axis(table.index + 2), str(output)), *_alike(classes, labels)]
    warn([*alike, *_odd_labels(found, labels)])
    write_atomically(output, table.to_csv(index=False, sep="\t", quoting=csv.QUOTE_MINIMAL))
    return BuiltSheet(
        path=output,
        channels=channels,
        labels=classes,
        n_rows=len(rows),
        n_unlabelled=found.count(""),
        n_unused=len(paths) - sum(len(row.files) for row in rows),
        root=absolute if outside else None,
        skipped=below.skipped,
        unmatched=unmatched,
    )


def _alike(classes: Sequence[str], labels: LabelTable | None) -> list[Problem]:
    """Return the classes of a label table that differ but read as one."""
    where = str(labels.path) if labels else ""
    return [
        Problem(where, f"the labels {spellings.describe()}", WRITE_ALIKE)
        for spellings in variants(classes)
    ]


def _odd_labels(cells: Sequence[str], labels: LabelTable | None) -> Iterator[Problem]:
    """Yield the labels that are likely none, several, or what a program made of others."""
    if labels is None:
        return
    counts = Counter(label for cell in cells for label in split_labels(cell))
    fix = "Name each that means no label by --unlabelled."
    yield from odd_names(pd.Series(counts, dtype=int), str(labels.path), "labels", fix)
    for label, count in counts.items():
        if parts := parts_of(label, counts):
            what = f"{count} images have the label {quoted(label)}, which holds others"
            fix = f'Separate labels by ";": {LABEL_SEPARATOR.join(parts)}.'
            yield Problem(str(labels.path), what, fix)


def _compile(pattern: str, *, regex: bool) -> re.Pattern[str]:
    """Return the regular expression of a pattern, with its names checked."""
    where = f'pattern "{pattern}"'
    try:
        compiled = re.compile(pattern if regex else _as_regex(pattern, where))
    except re.error as error:
        fix = "Names in braces or groups are letters, digits and `_`, as in {group}."
        raise UserError(Problem(where, f"is not valid: {error}", fix)) from None
    if "group" not in compiled.groupindex:
        fix = "Say which part of the name must not be on both sides of a split, as in {group}."
        raise UserError(Problem(where, "names no group", fix))
    if taken := sorted({*RESERVED_COLUMNS, "path", "labels"} & set(compiled.groupindex)):
        what = f"uses the name {taken[0]}, which the sheet needs for itself"
        raise UserError(Problem(where, what, "Choose another name."))
    return compiled


def _as_regex(pattern: str, where: str) -> str:
    literals = FIELD_NAME.split(pattern)
    seen: set[str] = set()
    parts = []
    for number, part in enumerate(literals):
        if number % 2 == 0:
            if "{" in part or "}" in part:
                raise UserError(Problem(where, "has a brace without its partner", "Balance them."))
            parts.append(re.escape(part))
        elif part == FORGOTTEN:
            parts.append("[^/]+")
        else:
            parts.append(f"(?P={part})" if part in seen else f"(?P<{part}>[^/]+)")
            seen.add(part)
    return "".join(parts)


def _nothing_matches(
    folder: Path, pattern: str, paths: Sequence[Path], skipped: Sequence[str]
) -> UserError:
    if not paths:
        fix = "; ".join(["Check the path", *skipped[:SHOWN]]) + "."
        return UserError(Problem(str(folder), "the folder holds no files", fix))
    shown = ", ".join(f'"{path.as_posix()}"' for path in paths[:SHOWN])
    what = f'none of {len(paths)} files matches "{pattern}"'
    return UserError(Problem(str(folder), what, f"The first files are {shown}."))


def _rows(
    matches: Sequence[tuple[Path, re.Match[str]]], channel_names: Mapping[str, str] | None
) -> list[_Row]:
    """Collect files into fields: those whose names differ in the channel only are one field."""
    rows: dict[tuple[str, ...], _Row] = {}
    problems = []
    for path, match in matches:
        values = match.groupdict("")
        raw = values.pop("channel", "")
        if channel_names is not None and raw and raw not in channel_names:
            continue
        channel = (channel_names or {}).get(raw, raw)
        row = rows.setdefault(tuple(values.values()), _Row(values))
        if channel in row.files:
            what = f'has the same fields as "{row.files[channel]}"'
            fix = "Name the part in which they differ."
            problems.append(Problem(str(path), what, fix))
        row.files[channel] = path
    if problems:
        raise UserError(problems[:SHOWN])
    return list(rows.values())


def _check_channels(
    rows: Sequence[_Row],
    raw_names: Sequence[str],
    channel_names: Mapping[str, str] | None,
    folder: Path,
) -> list[str]:
    """Return the channels in order; each must be named well and be there for each field."""
    found = sorted({channel for row in rows for channel in row.files})
    channels = list(dict.fromkeys(channel_names.values())) if channel_names else found
    problems = [
        Problem(str(folder), f'no file has the channel "{raw}"', suggest(raw, raw_names))
        for raw in channel_names or {}
        if raw not in raw_names
    ]
    for channel in channels:
        if not CHANNEL_NAME.fullmatch(channel):
            what = f'"{channel}" cannot be the name of a channel'
            fix = f"Say what it shows in lower case, such as --channel {channel}=nucleus."
            problems.append(Problem(str(folder), what, fix))
    problems += [] if problems else _missing_files(rows, channels, folder)
    if problems:
        raise UserError(problems)
    return channels


def _missing_files(rows: Sequence[_Row], channels: list[str], folder: Path) -> list[Problem]:
    fix = "Add the files, name the channels to use, or match what differs with {_}."
    problems = []
    for row in rows:
        if missing := ", ".join(channel for channel in channels if channel not in row.files):
            what = f'the field of "{row.first_file.as_posix()}" has no file for: {missing}'
            problems.append(Problem(str(folder), what, fix))
    return first_problems(problems, str(folder), "fields lack channel files", SHOWN)


def _check_ids(rows: Sequence[_Row], folder: Path) -> None:
    first: dict[str, _Row] = {}
    problems = []
    for row in rows:
        same = first.setdefault(row.tile_id, row)
        if same is not row:
            paths = [r.first_file.as_posix() for r in (same, row)]
            what = f'"{paths[0]}" and "{paths[1]}" would both have the id "{row.tile_id}"'
            fix = "Put {tile_id} around a part that is unique, or name another part."
            problems.append(Problem(str(folder), what, fix))
    if problems:
        raise UserError(problems[:SHOWN])


def _look_up(rows: Sequence[_Row], labels: LabelTable) -> tuple[list[str], Unmatched]:
    """Return the labels cell of each row; what fits nothing on either side is said."""
    known = _read_labels(labels)
    keys = [_keys(row, labels.key) for row in rows]
    fitting = [[key for key in of_row if key in known] for of_row in keys]
    likely = Likely([key for of_row in keys for key in of_row])
    if not any(fitting):
        what = f'no key of column "{labels.key}" fits an image, such as "{keys[0][0]}"'
        theirs = ", ".join(f'"{key}"' for key in list(known)[:SHOWN])
        offers = list(filter(None, map(likely.of, list(known)[:MOST_OFFERED])))
        fix = f"The first keys are {theirs}. {' '.join(offers[:1])}".strip()
        raise UserError(Problem(str(labels.path), what, fix))
    _check_one_meaning(rows, fitting, known, labels)
    used = {key for of_row in fitting for key in of_row}
    unused = [key for key in known if key not in used]
    without = [of_row[0] for of_row, fits in zip(keys, fitting, strict=True) if not fits]
    if unused:
        logger.warning("%s: %s", labels.path, _unmatched("keys fit no image", unused, likely))
    if without:
        text = _unmatched("images have no key", without, Likely(unused))
        logger.warning("%s: %s", labels.path, text)
    cells = [LABEL_SEPARATOR.join(known[fits[0]]) if fits else "" for fits in fitting]
    return cells, Unmatched(unused, without)


def _unmatched(what: str, names: Sequence[str], likely: Likely) -> str:
    """Return how many names match nothing, the first of them, and what they are likely to mean."""
    shown = ", ".join(map(quoted, names[:SHOWN])) + (", ..." if len(names) > SHOWN else "")
    offered = [(name, offer) for name in names[:MOST_OFFERED] if (offer := likely.of(name))]
    hints = [f"{quoted(name)}: {offer}" for name, offer in offered[:SHOWN]]
    return " ".join([f"{len(names)} {what}: {shown}.", *hints])


def _check_one_meaning(
    rows: Sequence[_Row],
    fitting: Sequence[list[str]],
    known: Mapping[str, list[str]],
    labels: LabelTable,
) -> None:
    """Refuse images that several keys fit, of which each gives other labels."""
    problems = []
    for row, fits in zip(rows, fitting, strict=True):
        if len({tuple(sorted(known[key])) for key in fits}) > 1:
            keys = " and ".join(map(quoted, dict.fromkeys(fits)))
            what = f'the keys {keys} both fit "{row.first_file.as_posix()}", with other labels'
            fix = "Name the column as the part of the pattern that its keys are, such as group."
            problems.append(Problem(f"{labels.path}, column {labels.key}", what, fix))
    if problems:
        where = str(labels.path)
        raise UserError(first_problems(problems, where, "images are fitted by two keys", SHOWN))


def _keys(row: _Row, column: str) -> list[str]:
    if column in row.values:
        return [row.values[column]]
    path = row.first_file
    return [row.tile_id, row.values["group"], path.name, path.stem, path.as_posix()]


def _read_labels(labels: LabelTable) -> dict[str, list[str]]:
    """Return the labels of each key, in the order of the table."""
    table = read_table(labels.path, "--labels")
    columns = list(table.columns)
    if missing := missing_columns(labels.path, columns, (labels.key, labels.label)):
        raise UserError(missing)
    known: dict[str, list[str]] = {}
    findings = []
    merged: dict[str, None] = {}
    keys = cells_of(table, labels.key)
    for (row, key), (_, cell) in zip(keys, cells_of(table, labels.label), strict=True):
        if not key:
            fix = "Fill it, or remove the row."
            findings.append(Finding(row, labels.key, "no key", "is empty", fix))
        elif CONTROL.search(key):
            what = f"{key!r} holds a control character"
            findings.append(Finding(row, labels.key, "odd key", what, "Type it again."))
        values = [value.strip() for value in TABLE_LABEL_SEPARATORS.split(cell)]
        for value in values:
            if not value.isprintable():
                what = f"{value!r} holds a control or invisible character"
                findings.append(Finding(row, labels.label, "odd label", what, "Type it again."))
        found = [value for value in dict.fromkeys(values) if value not in ("", *labels.unlabelled)]
        if key in known and set(found) != set(known[key]):
            merged[key] = None
        given = known.setdefault(key, [])
        given += [value for value in found if value not in given]
    if findings:
        raise UserError(as_problems(labels.path, findings))
    if merged:
        shown = ", ".join(map(quoted, list(merged)[:SHOWN]))
        what = "keys have several rows with different labels, which are all taken"
        logger.warning("%s: %d %s: %s", labels.path, len(merged), what, shown)
    return known


def _table(
    rows: Sequence[_Row], labels: list[str], channels: list[str], folder: Path, output: Path
) -> pd.DataFrame:
    """Return the sheet."""
    lines = []
    for row, cell in zip(rows, labels, strict=True):
        line = {"tile_id": row.tile_id}
        for channel in channels or [""]:
            column = f"{CHANNEL_PATH_PREFIX}{channel}" if channels else "path"
            line[column] = _written(folder / row.files[channel], output)
        line |= {"group": row.values["group"], "labels": cell}
        if "fov" in row.values:
            # A name of the field that is unique: all that stands before it in the pattern, and it.
            names = list(row.values)
            line["fov"] = "_".join(row.values[n] for n in names[: names.index("fov") + 1])
        lines.append(line | {k: v for k, v in row.values.items() if k not in line})
    return pd.DataFrame(lines)


def _written(path: Path, output: Path) -> str:
    """Return a path as the sheet writes it: relative below the sheet, else absolute."""
    base, target = absolute_path(output.parent), absolute_path(path)
    return (target.relative_to(base) if target.is_relative_to(base) else target).as_posix()
