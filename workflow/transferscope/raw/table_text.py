"""The file of a table as rows of cells: encoding, delimiter and quotes, read without a guess.

The delimiter is a tab, a comma or a semicolon, or what a first line `sep=` says. Where the header
holds several of them, all rows decide; where they leave it open, the ending of the file's name.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from transferscope.errors import Problem, UserError

LONGEST_CELL = 1 << 20
DELIMITERS = {"\t": "tab", ",": "comma", ";": "semicolon"}
USUAL = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
DECLARED = re.compile(r'"?sep=([^\w\s"]|\t)"?[\t,; ]*(?:\r\n|\r|\n)', re.IGNORECASE)
# UTF-32 first: its mark begins with that of UTF-16.
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
SAVE_AS_TEXT = "Open it in a spreadsheet program and save it as CSV UTF-8 or as tab-separated text."
UNPACK = "Unpack it first."
WRITE_AS_TEXT = "Write it as tab-separated text."
NAME_TABLE = "Name the table."
IMAGES = (b"II*\0", b"MM\0*", b"\x89PNG", b"\xff\xd8\xff", b"GIF8")
NO_TABLE = (
    (b"PK\x03\x04", "is a workbook (.xlsx, .ods) or another ZIP archive", SAVE_AS_TEXT),
    (b"\xd0\xcf\x11\xe0", "is an old Excel workbook (.xls)", SAVE_AS_TEXT),
    (b"PAR1", "is a Parquet file", WRITE_AS_TEXT),
    (b"ARROW1", "is an Arrow file", WRITE_AS_TEXT),
    (b"FEA1", "is a Feather file", WRITE_AS_TEXT),
    (b"\x89HDF", "is an HDF5 file", WRITE_AS_TEXT),
    (b"SQLite format 3", "is a database of SQLite", WRITE_AS_TEXT),
    (b"\x93NUMPY", "is an array of NumPy", WRITE_AS_TEXT),
    (b"\x80\x04", "is a pickle of Python", WRITE_AS_TEXT),
    (b"\x80\x05", "is a pickle of Python", WRITE_AS_TEXT),
    (b"{\\rtf", "is formatted text (RTF)", SAVE_AS_TEXT),
    (b"7z\xbc\xaf", "is a 7-Zip archive", UNPACK),
    (b"Rar!", "is a RAR archive", UNPACK),
    *((start, "is an image", NAME_TABLE) for start in IMAGES),
    (b"\x1f\x8b", "is compressed by gzip", UNPACK),
    (b"BZh", "is compressed by bzip2", UNPACK),
    (b"\xfd7zXZ", "is compressed by xz", UNPACK),
    (b"\x28\xb5\x2f\xfd", "is compressed by zstd", UNPACK),
    (b"%PDF", "is a PDF", "Take the table from its source."),
    (b"version https://git-lfs", "is a pointer of Git LFS", "Run `git lfs pull`."),
)
WEB_PAGE = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*<(?:!--|(?:!doctype|html|\?xml|head|body|table|div)\b)", re.IGNORECASE
)
JSON = re.compile(rb"(?:\xef\xbb\xbf)?\s*[{\[]\s*[\"{\[]")
SAVE_AS_UTF8 = "Save it as UTF-8 (in a spreadsheet program: Save as, CSV UTF-8)."
QUOTES = 'Put the whole cell in quotes and double those within it: "5"" dish".'


@dataclass(frozen=True, slots=True)
class Record:
    """One row.

    Parameters
    ----------
    row
        Number that a spreadsheet shows; the header is 1.
    line
        Line of the file in which it begins, from 1.
    cells
        Its cells, stripped.
    """

    row: int
    line: int
    cells: list[str]


def read_records(path: Path, key: str) -> list[Record]:
    """Read the rows of a table; those without any content are left out.

    Parameters
    ----------
    path
        The file.
    key
        Key of the dataset card, or option, that names it, for error messages.

    Raises
    ------
    UserError
        Where it is no table of text, or its cells cannot be told apart without a guess.
    """
    text, lines_before, declared = _text(path, key), 0, None
    if found := DECLARED.match(text):
        # A spreadsheet program does not show this line, or count it.
        text, lines_before, declared = text[found.end() :], 1, found[1]
    records = []
    if text.strip():
        parser = _Parser(path, text, lines_before)
        records = parser.records(declared or parser.delimiter())
    if not records:
        raise UserError(Problem(str(path), "the sheet is empty", "Write a header and rows."))
    return records


def _text(path: Path, key: str) -> str:
    """Return the content of a file as text."""
    where = f"`{key}`" if key.startswith("-") else f"`{key}:` in the dataset card"
    try:
        if path.exists() and not path.is_file():
            kind = "a folder" if path.is_dir() else "no regular file"
            raise UserError(Problem(str(path), f"cannot be read: it is {kind}", f"Check {where}."))
        content = path.read_bytes()
    except FileNotFoundError:
        what = "the sample sheet does not exist" if key == "sheet" else "the table does not exist"
        raise UserError(Problem(str(path), f"cannot be read: {what}", f"Check {where}.")) from None
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or str(error)
        raise UserError(Problem(str(path), f"cannot be read: {what}", f"Check {where}.")) from None
    for start, what, fix in NO_TABLE:
        if content.startswith(start):
            raise UserError(Problem(str(path), f"{what}, not a table of text", fix))
    if WEB_PAGE.match(content):
        fix = "Download the table itself (on a code host: the raw file)."
        raise UserError(Problem(str(path), "is a web page, not a table", fix))
    if JSON.match(content):
        raise UserError(Problem(str(path), "is JSON, not a table", WRITE_AS_TEXT))
    return _decoded(path, content)


def _decoded(path: Path, content: bytes) -> str:
    encoding = next((name for mark, name in MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        if "utf-8" in encoding:
            what = f"not UTF-8 text: byte 0x{error.object[error.start]:02x}"
        else:
            what = f"not {encoding.upper()} text, though it begins with its mark: {error.reason}"
        raise UserError(Problem(f"{path}, line {line}", what, SAVE_AS_UTF8)) from None
    at = text.find("\0")
    if at < 0:
        return text
    if text.count("\0") > len(text) / 4:
        what = "not UTF-8 text: it looks like UTF-16 without a byte order mark"
        raise UserError(Problem(str(path), what, SAVE_AS_UTF8))
    line = len(re.findall("\r\n|\r|\n", text[:at])) + 1
    fix = "The file may be damaged or no text: save the table again."
    raise UserError(Problem(f"{path}, line {line}", "holds a NUL character", fix))


class _Parser:
    """Splits text into rows of cells.

    Parameters
    ----------
    path
        The file, for messages.
    text
        Its content.
    before
        Number of lines in front of it.
    """

    def __init__(self, path: Path, text: str, before: int) -> None:
        self._path, self._text, self._before = path, text, before
        # Lines with their ends; of a table without quotes, which may be large, none is looked at.
        self._lines = list(self._each_line()) if '"' in text else []

    def _each_line(self) -> Iterator[str]:
        return io.StringIO(self._text, newline="")

    def delimiter(self) -> str:
        """Return the delimiter."""
        usual = USUAL.get(self._path.suffix.lower())
        header = re.sub('"[^"]*"', "", next(filter(str.strip, self._each_line())))
        present = [delimiter for delimiter in DELIMITERS if delimiter in header]
        if len(present) < 2:
            return (present or [usual or "\t"])[0]
        fitting = [delimiter for delimiter in present if self._fits(delimiter)]
        # No name of a column holds a tab.
        fitting = [d for d in fitting if not self._leaves_tabs(header, d)] or fitting
        for choice in (usual, "\t"):
            if choice in fitting:
                return str(choice)
        if len(fitting) > 1:
            names = " and by ".join(DELIMITERS[delimiter] for delimiter in fitting)
            what = f"the columns may be separated by {names}"
            fix = "Write a first line that says which, such as sep=; or save it as .tsv."
            raise UserError(Problem(f"{self._path}, line {self._before + 1}", what, fix))
        return (fitting or [usual if usual in present else present[0]])[0] or "\t"

    def _leaves_tabs(self, header: str, delimiter: str) -> bool:
        return any("\t" in name.strip() for name in header.split(delimiter))

    def _fits(self, delimiter: str) -> bool:
        """Return whether all rows have as many cells as the first."""
        try:
            counts = {len(cells) for _, _, cells in self._rows(delimiter) if any(cells)}
        except csv.Error:
            return False
        return len(counts) == 1

    def records(self, delimiter: str) -> list[Record]:
        """Return the rows that hold anything."""
        found: list[Record] = []
        width = 0
        rows = self._rows(delimiter)
        row, first, last = 0, 1, 0
        while True:
            try:
                first, last, cells = next(rows)
            except StopIteration:
                return found
            except csv.Error as error:
                raise self._broken(last + 1, str(error)) from None
            row += 1
            cells = [cell.strip() for cell in cells]
            if not any(cells):
                continue
            width = width or len(cells)
            if self._lines:
                self._check_quotes(first, last, cells, delimiter, width)
            found.append(Record(row, first + self._before, cells))

    def _rows(self, delimiter: str) -> Iterator[tuple[int, int, list[str]]]:
        """Yield the first and last line of each row, from 1, and its cells."""
        csv.field_size_limit(LONGEST_CELL)
        reader = csv.reader(
            self._each_line(), delimiter=delimiter, strict=True, skipinitialspace=delimiter != " "
        )
        first = 1
        for cells in reader:
            yield first, reader.line_num, cells
            first = reader.line_num + 1

    def _broken(self, first: int, error: str) -> UserError:
        """Return the error for a row that begins in a line and cannot be split."""
        fix = "Save it again as TSV."
        if "unexpected end" in error:
            error, fix = "a quote that opens here is never closed", f"Close it. {QUOTES}"
        elif "expected after" in error:
            error, fix = (
                "text or a space follows the closing quote of a cell",
                QUOTES,
            )
        where = f"{self._path}, line {first + self._before}"
        return UserError(Problem(where, f"not a valid table: {error}", fix))

    def _check_quotes(
        self, first: int, last: int, cells: list[str], delimiter: str, width: int
    ) -> None:
        """Refuse a row whose quotes may have come from two others."""
        raw = "".join(self._lines[first - 1 : last])
        if '"' not in raw:
            return
        what = ""
        if last > first and any(
            _holds_rows(cell, column, delimiter, width) for column, cell in enumerate(cells)
        ):
            what = f"a quote that opens here closes in line {last + self._before}, with rows within"
        elif delimiter != "\t" and _odd_quotes(raw, delimiter):
            what = "a quote stands within a cell that is not in quotes"
        if what:
            where = f"{self._path}, line {first + self._before}"
            raise UserError(Problem(where, f"not a valid table: {what}", QUOTES))


def _holds_rows(cell: str, column: int, delimiter: str, width: int) -> bool:
    """Return whether a cell of several lines is the rest of a row, rows, and the begin of one."""
    lines = re.split("\r\n|\r|\n", cell)
    if len(lines) < 2 or width < 2 or (delimiter == "," and width == 2):
        return False
    counts = [line.count(delimiter) for line in lines]
    full = width - 1
    return counts[0] == full - column and counts[-1] == column and set(counts[1:-1]) <= {full}


def _odd_quotes(raw: str, delimiter: str) -> bool:
    """Return whether an odd number of quotes stands outside the cells that are in quotes."""
    mark = re.escape(delimiter)
    rest = re.sub(rf'(?:^|(?<={mark})) *"(?:[^"]|"")*"(?= *(?:{mark}|[\r\n]|$))', "", raw)
    return rest.count('"') % 2 == 1
