"""The sample sheet: which raw files a dataset holds, what they show and what groups them.

A sheet is a TSV or CSV with one row per field. Rows are numbered as a spreadsheet shows them: the
header is row 1. What its paths mean, and which are allowed, says `places`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path

import pandas as pd

from transferscope.cards import DatasetCard
from transferscope.errors import Problem, UserError, suggest
from transferscope.raw.names import MISSING, parts_of, warn
from transferscope.raw.one_place import (
    Fields,
    FilesSeen,
    Use,
    describe,
)
from transferscope.raw.places import Places
from transferscope.raw.text_tables import (
    HEADER_ROW,
    Finding,
    as_problems,
    cells_of,
    missing_columns,
    read_table,
    suggest_column,
)
from transferscope.runtime.spelling import Likely, quoted
from transferscope.transport.files import RawFile
from transferscope.transport.urls import without_password

REQUIRED_COLUMNS = ("tile_id", "group", "labels")
LABEL_COLUMNS = ("tile_id", "labels")
MASK_COLUMNS = ("mask", "nucleus_mask")
# The tile table fills these columns itself.
RESERVED_COLUMNS = ("source", "y", "x")
CENTRE_COLUMNS = ("centroid_y", "centroid_x")
AREA_COLUMN = "area_um2"
BOX_COLUMNS = ("box_top", "box_left", "box_bottom", "box_right")
BORDER_COLUMN = "touches_border"
CELL_COLUMNS = ("cell", *CENTRE_COLUMNS, "area_px", AREA_COLUMN, *BOX_COLUMNS, BORDER_COLUMN)
CHANNEL_PATH_PREFIX = "path_"
LABEL_SEPARATOR = ";"
NAME_FILE = "Name the raw file; one whose name a table cannot hold has to be renamed."
OWN_ID = "Give each row an id of its own."
MOST_WARNED = 5
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SampleSheet:
    """A sample sheet that has been checked.

    Parameters
    ----------
    path
        The file that it was read from.
    table
        One row per field, all columns str and stripped; the index is the spreadsheet's row number.
        `fov` and `batch` are always there (default: the tile id, and nothing).
    file_columns
        `("path",)`, or one `path_<channel>` column per channel in the order of the card.
    places
        What its paths mean.
    """

    path: Path
    table: pd.DataFrame
    file_columns: tuple[str, ...]
    places: Places

    def __len__(self) -> int:
        return len(self.table)

    @property
    def one_file_per_channel(self) -> bool:
        """Whether each channel has a file of its own."""
        return self.file_columns != ("path",)

    def files(self, position: int) -> list[RawFile]:
        """Return the raw files of the field at a position (from 0), in channel order."""
        return [self.places.file(cell) for cell in self._file_cells[position]]

    @cached_property
    def is_remote(self) -> bool:
        """Whether any raw file lies in an object store."""
        return any(self.places.any_remote(self.table[c].tolist()) for c in self.file_columns)

    def source(self, position: int) -> str:
        """Return the raw files of a field as the sheet writes them, joined by `;`."""
        return LABEL_SEPARATOR.join(self._file_cells[position])

    @cached_property
    def tile_ids(self) -> list[str]:
        """Ids of the rows; a list, because single cells of a table are slow to look up."""
        return self.table["tile_id"].tolist()

    @cached_property
    def _file_cells(self) -> list[tuple[str, ...]]:
        return list(self.table[list(self.file_columns)].itertuples(index=False, name=None))

    def cell(self, use: Use) -> str:
        """Return the file of a use as the sheet writes it."""
        return self._file_cells[use.position][use.channel]

    def place(self, position: int) -> str:
        """Return file and row of the field at a position, for error messages."""
        return f"{self.path}, row {self.table.index[position]}"


def split_labels(cell: str) -> list[str]:
    """Return the labels of a cell, stripped; an empty cell has none.

    Examples
    --------
    >>> split_labels("golgi; vesicles")
    ['golgi', 'vesicles']
    """
    return [label.strip() for label in cell.split(LABEL_SEPARATOR) if label.strip()]


def read_sheet(path: Path, card: DatasetCard, card_path: Path | None = None) -> SampleSheet:
    """Read a sample sheet and check it.

    Parameters
    ----------
    path
        The sheet, TSV or CSV.
    card
        The dataset that it belongs to.
    card_path
        File of the card, for error messages.

    Raises
    ------
    UserError
        With every problem of the sheet; no raw file is opened.
    """
    table = read_table(path)
    columns, places = list(table.columns), Places(path, card)
    named = str(card_path or "the card")
    seen = FilesSeen()
    findings = [
        *row_findings(table, card, named),
        *_check_paths(places, table, card, named, seen),
    ]
    if problems := _check_columns(path, columns, card, named) + as_problems(path, findings):
        raise UserError(problems)
    sheet = SampleSheet(path, with_defaults(table), file_columns(columns, card), places)
    pairs = seen.repeated(lambda use: places.target(sheet.cell(use)))
    report_repeats(sheet, card, pairs, "file")
    return sheet


def report_repeats(
    sheet: SampleSheet, card: DatasetCard, pairs: Iterable[tuple[Use, Use]], what: str
) -> None:
    """Warn of images that are in several places.

    Parameters
    ----------
    sheet, card
        The dataset.
    pairs
        Uses of one image.
    what
        "file" or "pixels".

    Raises
    ------
    UserError
        Where they are in several groups, or files in two channels or two rows, and the card does
        not say that this is known.
    """
    rows = sheet.table.index.tolist()
    fields = Fields(rows, sheet.table["group"].tolist(), sheet.file_columns, card.channels)
    stops, warnings = describe(pairs, fields, what, known=card.duplicates == "warn")
    warn(as_problems(sheet.path, warnings)[:MOST_WARNED])
    if len(warnings) > MOST_WARNED:
        what = "rows or more have the file or pixels of another"
        logger.warning("%s: %d %s", sheet.path, len(warnings), what)
    if stops:
        raise UserError(as_problems(sheet.path, stops))


def check_label_rows(
    path: Path,
    table: pd.DataFrame,
    card: DatasetCard,
    card_path: Path | None,
    known_ids: Iterable[str] | None = None,
) -> list[Problem]:
    """Return every problem of a table that gives tiles labels, by their ids.

    Parameters
    ----------
    path, table
        The file, and its cells as `read_table` returns them.
    card, card_path
        The dataset that it belongs to, and the file of its card.
    known_ids
        Ids of the dataset's tiles; None: not known yet.
    """
    findings = [
        *_check_ids(table, "Keep one row per tile."),
        *_check_labels(table, card, str(card_path or "the card")),
        *(() if known_ids is None else _check_known(table, dict.fromkeys(known_ids))),
    ]
    return missing_columns(path, list(table.columns), LABEL_COLUMNS) + as_problems(path, findings)


def _check_known(table: pd.DataFrame, known: dict[str, None]) -> Iterator[Finding]:
    likely = cache(lambda: Likely(known))
    fix = f'Ids are those of the tile table, such as "{next(iter(known), "")}".'

    def offer(tile_id: str) -> str:
        return f"{fix} {likely().of(tile_id)}".strip()

    for row, tile_id in cells_of(table, "tile_id"):
        if tile_id and tile_id not in known:
            what = f"the dataset has no tile {quoted(tile_id)}"
            yield Finding(row, "tile_id", "unknown id", what, partial(offer, tile_id))


def file_columns(columns: Sequence[str], card: DatasetCard) -> tuple[str, ...]:
    """Return the columns that name raw files, in channel order."""
    if "path" in columns:
        return ("path",)
    return tuple(f"{CHANNEL_PATH_PREFIX}{channel}" for channel in card.channels)


def row_findings(table: pd.DataFrame, card: DatasetCard, named: str) -> Iterator[Finding]:
    """Yield what is wrong with ids, groups, fields, batches and labels of rows.

    Parameters
    ----------
    table
        All columns str and stripped; the index has the numbers of the rows.
    card, named
        The dataset that it belongs to, and the file of its card.
    """
    yield from _check_ids(table)
    yield from _check_groups(table)
    yield from _check_characters(table)
    yield from _check_fovs(table)
    yield from _check_labels(table, card, named)


def with_defaults(table: pd.DataFrame) -> pd.DataFrame:
    """Return checked rows with tidy labels, and with `fov` and `batch` filled by defaults."""
    # Once per different cell: of a million tiles, few differ.
    tidy = {cell: LABEL_SEPARATOR.join(split_labels(cell)) for cell in table["labels"].unique()}
    return table.assign(
        fov=_fovs(table),
        batch=table.get("batch", ""),
        labels=table["labels"].map(tidy),
    )


def _fovs(table: pd.DataFrame) -> pd.Series:
    """Return the field of each row: the row's own where it names none."""
    fov = table.get("fov", table["tile_id"])
    return fov.where(fov != "", table["tile_id"])


def _check_columns(path: Path, columns: list[str], card: DatasetCard, named: str) -> list[Problem]:
    reserved = [*RESERVED_COLUMNS, *(CELL_COLUMNS if card.cells is not None else ())]
    where = f"{path}, row {HEADER_ROW}"
    problems = missing_columns(path, columns, REQUIRED_COLUMNS)
    for name in reserved:
        if name in columns:
            what = f'the column "{name}" is filled by transferscope itself'
            problems.append(Problem(f"{where}, column {name}", what, "Rename the column."))
    return problems + _check_path_columns(where, columns, card, named)


def _check_path_columns(
    where: str, columns: list[str], card: DatasetCard, named: str
) -> list[Problem]:
    given = [c for c in columns if c.startswith(CHANNEL_PATH_PREFIX)]
    expected = [f"{CHANNEL_PATH_PREFIX}{channel}" for channel in card.channels]
    if "path" in columns:
        fix = "Keep `path` (one file for all channels) or the `path_<channel>` columns."
        what = f'both "path" and "{given[0]}" are given' if given else ""
        return [Problem(where, what, fix)] if given else []
    if not given:
        fix = f'Add "path", or {", ".join(expected)}. {suggest_column("path", columns)}'
        return [Problem(where, "no column names the raw files", fix)]
    problems = []
    for column in (c for c in given if c not in expected):
        channel = column.removeprefix(CHANNEL_PATH_PREFIX)
        what = f'unknown channel "{channel}": the dataset card does not name it'
        fix = f"{suggest(channel, card.channels)} Channels are named in {named}."
        problems.append(Problem(f"{where}, column {column}", what, fix))
    for column in (c for c in expected if c not in columns):
        fix = f'Add the column "{column}", or take the channel out of the card.'
        problems.append(Problem(where, f'the column "{column}" is missing', fix))
    return problems


def _check_ids(table: pd.DataFrame, fix: str = OWN_ID) -> Iterator[Finding]:
    first: dict[str, int] = {}
    for row, tile_id in cells_of(table, "tile_id"):
        if not tile_id:
            yield Finding(row, "tile_id", "no id", "is empty", fix)
        elif not tile_id.isprintable():
            what = f"{tile_id!r} holds a control character"
            yield Finding(row, "tile_id", "odd id", what, "Use printable characters.")
        elif tile_id in first:
            what = f'the id "{tile_id}" is already used in row {first[tile_id]}'
            yield Finding(row, "tile_id", "same id", what, fix)
        else:
            first[tile_id] = row


def _check_groups(table: pd.DataFrame) -> Iterator[Finding]:
    fix = "Name what must not be on both sides of a split: the protein, well, patient or plate."
    for row, group in cells_of(table, "group"):
        if not group:
            yield Finding(row, "group", "no group", "is empty", fix)


def _check_characters(table: pd.DataFrame) -> Iterator[Finding]:
    """Yield names that a line break or another control character divides."""
    for column in ("group", "fov", "batch"):
        for row, name in cells_of(table, column):
            if not name.isprintable() and CONTROL.search(name):
                what = f"{name!r} holds a control character"
                yield Finding(row, column, "odd name", what, "Use printable characters.")


def _check_fovs(table: pd.DataFrame) -> Iterator[Finding]:
    groups = cells_of(table, "group")
    seen: dict[str, tuple[str, int]] = {}
    fovs = _fovs(table) if "fov" in table and "tile_id" in table else ()
    for fov, (row, group) in zip(fovs, groups, strict=False):
        first_group, first_row = seen.setdefault(fov, (group, row))
        if fov and group != first_group:
            what = f'fov "{fov}" is of group "{group}", but of "{first_group}" in row {first_row}'
            fix = "A field belongs to one group: make the fov names unique across groups."
            yield Finding(row, "fov", "two groups", what, fix)


def _check_labels(table: pd.DataFrame, card: DatasetCard, named: str) -> Iterator[Finding]:
    # Once per different cell: of a million tiles, few differ.
    faults = cache(lambda cell: list(_label_faults(cell, card, named)))
    for row, cell in cells_of(table, "labels"):
        for kind, what, fix in faults(cell):
            yield Finding(row, "labels", kind, what, fix)


def _label_faults(cell: str, card: DatasetCard, named: str) -> Iterator[tuple[str, str, str]]:
    """Yield kind, problem and fix of everything that is wrong with one cell of labels."""
    labels = split_labels(cell)
    for label in labels:
        if label not in card.labels:
            meant = _meant_label(label, card.labels)
            fix = f"{meant} Labels are listed in {named}."
            yield "unknown label", f"unknown label {quoted(label)}", fix
    for label in sorted({x for x in labels if labels.count(x) > 1}):
        yield "same label", f'the label "{label}" is given twice', "Remove one."
    if card.task == "single-label" and len(labels) > 1:
        what = f"has {len(labels)} labels, but the dataset is single-label"
        fix = f"Keep one, or set `task: multi-label` in {named}."
        yield "several labels", what, fix


def _meant_label(label: str, known: Sequence[str]) -> str:
    if label in MISSING:
        return "Leave the cell empty where there is no label."
    if set(parts := parts_of(label, known)) <= set(known) and parts:
        return f'Separate labels by ";": {LABEL_SEPARATOR.join(parts)}.'
    return Likely(known).of(label) or suggest(label, known)


def _check_paths(
    places: Places, table: pd.DataFrame, card: DatasetCard, named: str, seen: FilesSeen
) -> Iterator[Finding]:
    """Yield what is wrong with the paths, and collect the files of the channels."""
    remote: list[tuple[int, str, str, int, int]] = []
    of_channels = file_columns(list(table.columns), card)
    for number, column in enumerate((*of_channels, *MASK_COLUMNS)):
        for position, (row, cell) in enumerate(cells_of(table, column)):
            if found := _check_text(places, row, column, cell, named):
                yield found
            elif places.is_remote(cell):
                remote.append((row, column, cell, position, number))
            elif cell:
                yield from _check_there(places, row, column, cell, (position, number), seen)
    places.look_up([cell for _, _, cell, _, _ in remote])
    for row, column, cell, *use in remote:
        yield from _check_there(places, row, column, cell, use, seen)


def _check_text(places: Places, row: int, column: str, cell: str, named: str) -> Finding | None:
    """Check a path by its text alone."""
    if not cell:
        needed = column not in MASK_COLUMNS
        return Finding(row, column, "no file", "is empty", NAME_FILE) if needed else None
    if not cell.isprintable():
        what = f"{without_password(repr(cell))} holds a control character"
        return Finding(row, column, "odd path", what, NAME_FILE)
    if refusal := places.refusal(cell):
        what, fix = refusal
        return Finding(row, column, "outside", what, f"{fix} {named}.")
    return None


def _check_there(
    places: Places, row: int, column: str, cell: str, use: Sequence[int], seen: FilesSeen
) -> Iterator[Finding]:
    """Check that the file of an allowed path exists, and note it if it is of a channel."""
    if failure := places.failure(cell):
        what = f"{failure.where}: {failure.what}"
        yield Finding(row, column, "unknown", what, failure.fix)
    elif (identity := places.identity(cell)) is None and (oddity := places.oddity(cell)):
        yield Finding(row, column, "odd file", f'"{cell}" is {oddity}, not a file', NAME_FILE)
    elif identity is None:
        shown = places.target(cell) if places.is_remote(cell) else cell
        what, fix = f'"{shown}" does not exist', partial(_nearest, places, cell)
        yield Finding(row, column, "no such file", what, fix)
    elif column not in MASK_COLUMNS:
        seen.add(use[0], use[1], identity)


def _nearest(places: Places, cell: str) -> str:
    folder, _, name = places.target(cell).rpartition("/")
    names = places.neighbours(cell)
    if names is None:
        return f"The folder {folder} does not exist either: check the path."
    return Likely(names).of(name) or suggest(name, names[:10_000])
