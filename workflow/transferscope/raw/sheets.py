"""The sample sheet: which raw files a dataset holds, what they show and what groups them.

A sheet is a TSV or CSV with one row a field. Rows are numbered as a spreadsheet shows them: the
header is row 1. What its paths mean, and which are allowed, says `places`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import pandas as pd

from transferscope.cards import DatasetCard
from transferscope.errors import Problem, UserError, suggest
from transferscope.raw.places import Places
from transferscope.transport.files import RawFile
from transferscope.transport.urls import without_password

REQUIRED_COLUMNS = ("tile_id", "group", "labels")
LABEL_COLUMNS = ("tile_id", "labels")
MASK_COLUMNS = ("mask", "nucleus_mask")
OPTIONAL_COLUMNS = ("fov", "batch", *MASK_COLUMNS)
# The tile table fills these columns itself.
RESERVED_COLUMNS = ("source", "y", "x")
CELL_COLUMNS = (
    *("cell", "centroid_y", "centroid_x", "area_px", "area_um2"),
    *("box_top", "box_left", "box_bottom", "box_right", "touches_border"),
)
CHANNEL_PATH_PREFIX = "path_"
LABEL_SEPARATOR = ";"
NAME_FILE = "Name the raw file."
OWN_ID = "Give each row an id of its own."
HEADER_ROW = 1
MOST_ALIKE = 20
MOST_ROWS_NAMED = 5
LONGEST_CELL = 1 << 20


@dataclass(frozen=True)
class SampleSheet:
    """A sample sheet that has been checked.

    Parameters
    ----------
    path
        The file that it was read from.
    table
        One row a field, all columns str and stripped; the index is the spreadsheet's row number.
        `fov` and `batch` are always there (default: the tile id, and nothing).
    file_columns
        `("path",)`, or one `path_<channel>` column a channel in the order of the card.
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
    def one_file_a_channel(self) -> bool:
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
        return [str(tile_id) for tile_id in self.table["tile_id"]]

    @cached_property
    def _file_cells(self) -> list[tuple[str, ...]]:
        columns = (map(str, self.table[column]) for column in self.file_columns)
        return list(zip(*columns, strict=True))

    def place(self, position: int) -> str:
        """Return file and row of the field at a position, for error messages."""
        return f"{self.path}, row {self.table.index[position]}"


@dataclass(frozen=True)
class _Finding:
    """One wrong cell; findings that say the same are reported as one problem.

    A mend that takes a search is a function: of a million wrong cells, few are shown.
    """

    row: int
    column: str
    kind: str
    what: str
    mend: str | Callable[[], str]


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
        With every problem that `check_sheet` finds.
    """
    table, problems = read_table(path)
    places = Places(path, card)
    if table is not None:
        problems += _check_table(path, table, card, card_path, places)
    if table is None or problems:
        raise UserError(problems)
    columns = file_columns(list(table.columns), card)
    return SampleSheet(path, _with_defaults(table), columns, places)


def check_sheet(path: Path, card: DatasetCard, card_path: Path | None = None) -> list[Problem]:
    """Return every problem of a sample sheet, without opening any raw file.

    Parameters
    ----------
    path
        The sheet, TSV or CSV.
    card
        The dataset that it belongs to.
    card_path
        File of the card, for error messages.
    """
    table, problems = read_table(path)
    if table is not None:
        problems += _check_table(path, table, card, card_path, Places(path, card))
    return problems


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
    problems = _missing_columns(f"{path}, row {HEADER_ROW}", list(table.columns), LABEL_COLUMNS)
    findings = [
        *_check_ids(table, "Keep one row a tile."),
        *_check_labels(table, card, card_path),
        *_check_known(table, known_ids),
    ]
    return problems + _as_problems(path, findings)


def _check_known(table: pd.DataFrame, known_ids: Iterable[str] | None) -> Iterator[_Finding]:
    if known_ids is None or "tile_id" not in table:
        return
    known = dict.fromkeys(known_ids)
    mend = f'Ids are those of the tile table, such as "{next(iter(known), "")}".'
    for row, tile_id in _cells(table, "tile_id"):
        if tile_id and tile_id not in known:
            what = f'the dataset has no tile "{tile_id}"'
            yield _Finding(row, "tile_id", "unknown id", what, mend)


def file_columns(columns: Sequence[str], card: DatasetCard) -> tuple[str, ...]:
    """Return the columns that name raw files, in channel order."""
    if "path" in columns:
        return ("path",)
    return tuple(f"{CHANNEL_PATH_PREFIX}{channel}" for channel in card.channels)


def _with_defaults(table: pd.DataFrame) -> pd.DataFrame:
    fov = table["fov"] if "fov" in table else pd.Series("", index=table.index)
    different = dict.fromkeys(table["labels"])
    labels = table["labels"].map({c: LABEL_SEPARATOR.join(split_labels(c)) for c in different})
    return table.assign(
        fov=fov.where(fov != "", table["tile_id"]), batch=table.get("batch", ""), labels=labels
    )


def read_table(path: Path, key: str = "sheet") -> tuple[pd.DataFrame | None, list[Problem]]:
    """Return the cells, and what is wrong with the file as a table; no cells where unreadable.

    Parameters
    ----------
    path
        A table, TSV or CSV.
    key
        Key of the dataset card that names it, for error messages.

    Returns
    -------
    table
        All columns str and stripped; the index is the spreadsheet's row number.
    problems
        What is wrong.
    """
    text, problem = _read_text(path, key)
    if text is None:
        return None, [problem] if problem else []
    try:
        records = _records(text, path)
    except csv.Error as error:
        return None, [Problem(str(path), f"not a valid table: {error}", "Save it again as TSV.")]
    if not records:
        return None, [Problem(str(path), "the sheet is empty", "Write a header and rows.")]
    header = [cell.strip() for cell in records[0][1]]
    problems = _check_header_cells(path, header)
    rows = {number: cells for number, cells in records[1:] if any(c.strip() for c in cells)}
    problems += _check_lengths(path, rows, len(header))
    if not rows:
        problems.append(Problem(str(path), "the sheet has no rows", "Add one row a field."))
    if problems:
        return None, problems
    cells = [[cell.strip() for cell in row] for row in rows.values()]
    index = pd.Index(list(rows), name="row")
    return pd.DataFrame(cells, columns=header, index=index, dtype=str), []


def _read_text(path: Path, key: str) -> tuple[str | None, Problem | None]:
    try:
        # utf-8-sig drops the byte order mark that spreadsheets put in front.
        return path.read_bytes().decode("utf-8-sig"), None
    except FileNotFoundError:
        mend = f"Check `{key}:` in the dataset card."
        what = "the sample sheet does not exist" if key == "sheet" else "the file does not exist"
        return None, Problem(str(path), what, mend)
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        what = f"not UTF-8 text: byte 0x{error.object[error.start]:02x}"
        mend = "Save it as UTF-8 (in a spreadsheet program: Save as, CSV UTF-8)."
        return None, Problem(f"{path}, line {line}", what, mend)
    except OSError as error:
        return None, Problem(str(path), f"cannot be read: {error.strerror}")


def _records(text: str, path: Path) -> list[tuple[int, list[str]]]:
    """Return (spreadsheet row, cells) of every row, blank ones included."""
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text, path))
    return list(enumerate(reader, start=HEADER_ROW))


def _delimiter(text: str, path: Path) -> str:
    """Return the delimiter that the header uses: tab, comma or semicolon."""
    header = text.split("\n", 1)[0]
    for delimiter in ("\t", ",", ";"):
        if delimiter in header:
            return delimiter
    return "," if path.suffix.lower() == ".csv" else "\t"


def _check_header_cells(path: Path, header: list[str]) -> list[Problem]:
    where = f"{path}, row {HEADER_ROW}"
    problems = [
        Problem(where, f'the column "{name}" occurs twice', "Rename or remove one of them.")
        for name in sorted({n for n in header if n and header.count(n) > 1})
    ]
    if "" in header:
        what = f"column {header.index('') + 1} has no name"
        problems.append(Problem(where, what, "Name it, or remove it."))
    return problems


def _check_lengths(path: Path, rows: dict[int, list[str]], width: int) -> list[Problem]:
    findings = [
        _Finding(
            number,
            "",
            "length",
            f"has {len(cells)} cells, but the header has {width}",
            "Quote cells that hold the delimiter; leave no cell out.",
        )
        for number, cells in rows.items()
        if len(cells) != width
    ]
    return _as_problems(path, findings)


def _check_table(
    path: Path, table: pd.DataFrame, card: DatasetCard, card_path: Path | None, places: Places
) -> list[Problem]:
    columns = list(table.columns)
    problems = _check_columns(path, columns, card, card_path)
    findings = [
        *_check_ids(table),
        *_check_groups(table),
        *_check_fovs(table),
        *_check_labels(table, card, card_path),
        *_check_paths(places, table, card, card_path),
    ]
    return problems + _as_problems(path, findings)


def _check_columns(
    path: Path, columns: list[str], card: DatasetCard, card_path: Path | None
) -> list[Problem]:
    where = f"{path}, row {HEADER_ROW}"
    problems = _missing_columns(where, columns, REQUIRED_COLUMNS)
    reserved = [*RESERVED_COLUMNS, *(CELL_COLUMNS if card.cells is not None else ())]
    for name in reserved:
        if name in columns:
            what = f'the column "{name}" is filled by transferscope itself'
            problems.append(Problem(f"{where}, column {name}", what, "Rename the column."))
    return problems + _check_path_columns(where, columns, card, card_path)


def _missing_columns(where: str, columns: list[str], required: Sequence[str]) -> list[Problem]:
    return [
        Problem(
            where,
            f'the column "{name}" is missing',
            f'Add the column "{name}". {_suggest_column(name, columns)}',
        )
        for name in required
        if name not in columns
    ]


def _suggest_column(name: str, columns: list[str]) -> str:
    by_lower_case = {column.lower(): column for column in columns}
    if name in by_lower_case:
        return f'Did you mean "{by_lower_case[name]}"?'
    return suggest(name, columns)


def _check_path_columns(
    where: str, columns: list[str], card: DatasetCard, card_path: Path | None
) -> list[Problem]:
    given = [c for c in columns if c.startswith(CHANNEL_PATH_PREFIX)]
    expected = [f"{CHANNEL_PATH_PREFIX}{channel}" for channel in card.channels]
    if "path" in columns:
        mend = "Keep `path` (one file for all channels) or the `path_<channel>` columns."
        what = f'both "path" and "{given[0]}" are given' if given else ""
        return [Problem(where, what, mend)] if given else []
    if not given:
        mend = f'Add "path", or {", ".join(expected)}. {_suggest_column("path", columns)}'
        return [Problem(where, "no column names the raw files", mend)]
    problems = []
    for column in (c for c in given if c not in expected):
        channel = column.removeprefix(CHANNEL_PATH_PREFIX)
        what = f'unknown channel "{channel}": the dataset card does not name it'
        mend = f"{suggest(channel, card.channels)} Channels are named in {card_path or 'the card'}."
        problems.append(Problem(f"{where}, column {column}", what, mend))
    for column in (c for c in expected if c not in columns):
        mend = f'Add the column "{column}", or take the channel out of the card.'
        problems.append(Problem(where, f'the column "{column}" is missing', mend))
    return problems


def _check_ids(table: pd.DataFrame, mend: str = OWN_ID) -> Iterator[_Finding]:
    if "tile_id" not in table:
        return
    first: dict[str, int] = {}
    for row, tile_id in _cells(table, "tile_id"):
        if not tile_id:
            yield _Finding(row, "tile_id", "no id", "is empty", mend)
        elif not tile_id.isprintable():
            what = f"{tile_id!r} holds a control character"
            yield _Finding(row, "tile_id", "odd id", what, "Use printable characters.")
        elif tile_id in first:
            what = f'the id "{tile_id}" is already used in row {first[tile_id]}'
            yield _Finding(row, "tile_id", "same id", what, mend)
        else:
            first[tile_id] = row


def _check_groups(table: pd.DataFrame) -> Iterator[_Finding]:
    if "group" not in table:
        return
    mend = "Name what must not be on both sides of a split: the protein, well, patient or plate."
    for row, group in _cells(table, "group"):
        if not group:
            yield _Finding(row, "group", "no group", "is empty", mend)


def _check_fovs(table: pd.DataFrame) -> Iterator[_Finding]:
    if "fov" not in table or "group" not in table:
        return
    seen: dict[str, tuple[str, int]] = {}
    for (row, fov), (_, group) in zip(_cells(table, "fov"), _cells(table, "group"), strict=True):
        first_group, first_row = seen.setdefault(fov, (group, row))
        if fov and group != first_group:
            what = f'fov "{fov}" is of group "{group}", but of "{first_group}" in row {first_row}'
            mend = "A field belongs to one group: make the fov names unique across groups."
            yield _Finding(row, "fov", "two groups", what, mend)


def _check_labels(
    table: pd.DataFrame, card: DatasetCard, card_path: Path | None
) -> Iterator[_Finding]:
    if "labels" not in table:
        return
    # Once for each different cell: of a million tiles, few differ.
    faults = {
        cell: list(_label_faults(cell, card, card_path)) for cell in dict.fromkeys(table["labels"])
    }
    for row, cell in _cells(table, "labels"):
        for kind, what, mend in faults[cell]:
            yield _Finding(row, "labels", kind, what, mend)


def _label_faults(
    cell: str, card: DatasetCard, card_path: Path | None
) -> Iterator[tuple[str, str, str]]:
    """Yield kind, problem and mend of everything that is wrong with one cell of labels."""
    labels = split_labels(cell)
    for label in labels:
        if label not in card.labels:
            mend = f"{suggest(label, card.labels)} Labels are listed in {card_path or 'the card'}."
            yield "unknown label", f'unknown label "{label}"', mend
    for label in sorted({x for x in labels if labels.count(x) > 1}):
        yield "same label", f'the label "{label}" is given twice', "Remove one."
    if card.task == "single-label" and len(labels) > 1:
        what = f"has {len(labels)} labels, but the dataset is single-label"
        mend = f"Keep one, or set `task: multi-label` in {card_path or 'the card'}."
        yield "several labels", what, mend


def _check_paths(
    places: Places, table: pd.DataFrame, card: DatasetCard, card_path: Path | None
) -> Iterator[_Finding]:
    columns = (*file_columns(list(table.columns), card), *MASK_COLUMNS)
    remote: list[tuple[int, str, str]] = []
    for column in (name for name in columns if name in table):
        for row, cell in _cells(table, column):
            finding = _check_cell(places, cell, row, column, card_path)
            if finding is None and cell and places.is_remote(cell):
                remote.append((row, column, cell))
            elif found := finding or (_check_there(places, cell, row, column) if cell else None):
                yield found
    places.look_up([cell for _, _, cell in remote])
    for row, column, cell in remote:
        if found := _check_there(places, cell, row, column):
            yield found


def _check_cell(
    places: Places, cell: str, row: int, column: str, card_path: Path | None
) -> _Finding | None:
    """Check a path by its text alone."""
    if not cell:
        needed = column not in MASK_COLUMNS
        return _Finding(row, column, "no file", "is empty", NAME_FILE) if needed else None
    if not cell.isprintable():
        what = f"{without_password(repr(cell))} holds a control character"
        return _Finding(row, column, "odd path", what, NAME_FILE)
    if refusal := places.refusal(cell):
        what, mend = refusal
        return _Finding(row, column, "outside", what, f"{mend} {card_path or 'the card'}.")
    return None


def _check_there(places: Places, cell: str, row: int, column: str) -> _Finding | None:
    """Check that the file of an allowed path exists."""
    if failure := places.failure(cell):
        what = f"{failure.where}: {failure.what}"
        return _Finding(row, column, "unknown", what, failure.mend)
    if places.exists(cell):
        return None
    named = places.target(cell) if places.is_remote(cell) else cell
    what = f'"{named}" does not exist'
    return _Finding(row, column, "no such file", what, partial(_nearest, places, cell))


def _nearest(places: Places, cell: str) -> str:
    folder, _, name = places.target(cell).rpartition("/")
    names = places.neighbours(cell)
    if names is None:
        return f"The folder {folder} does not exist either: check the path."
    return suggest(name, names[:10_000])


def _cells(table: pd.DataFrame, column: str) -> Iterator[tuple[int, str]]:
    return zip((int(row) for row in table.index), table[column].tolist(), strict=True)


def _as_problems(path: Path, findings: Sequence[_Finding] | Iterator[_Finding]) -> list[Problem]:
    """Merge findings that say the same, and cap those of one kind."""
    alike: dict[tuple[str, str], dict[str, list[_Finding]]] = {}
    for finding in findings:
        of_kind = alike.setdefault((finding.column, finding.kind), {})
        of_kind.setdefault(finding.what, []).append(finding)
    problems = []
    for (column, _), messages in alike.items():
        at = f", column {column}" if column else ""
        for what, same in list(messages.items())[:MOST_ALIKE]:
            mend = same[0].mend if isinstance(same[0].mend, str) else same[0].mend()
            problems.append(Problem(f"{path}, {_rows([f.row for f in same])}{at}", what, mend))
        if rest := list(messages.values())[MOST_ALIKE:]:
            rows = [finding.row for same in rest for finding in same]
            what = f"{len(rows)} more rows have the same kind of problem"
            problems.append(Problem(f"{path}, {_rows(rows)}{at}", what))
    return problems


def _rows(rows: list[int]) -> str:
    named = ", ".join(map(str, rows[:MOST_ROWS_NAMED]))
    more = f" and {len(rows) - MOST_ROWS_NAMED} more" if len(rows) > MOST_ROWS_NAMED else ""
    return f"{'row' if len(rows) == 1 else 'rows'} {named}{more}"
