"""The first sheet of a workbook (.xlsx) as rows of text, without a further package."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from transferscope.errors import Problem, UserError

MOST_BYTES = 64 << 20
SPACE = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
SAVE_AS_TEXT = "Open it in a spreadsheet program and save it as CSV UTF-8."
STRINGS = "xl/sharedStrings.xml"


def read_workbook(path: Path) -> list[list[str]]:
    """Return the cells of the first sheet, each as it is stored: numbers as they are written.

    Parameters
    ----------
    path
        The workbook.

    Raises
    ------
    UserError
        Where it is damaged or too large, or a cell holds a formula without a value.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            sheets = sorted(
                (
                    name
                    for name in archive.namelist()
                    if re.fullmatch(r"xl/worksheets/sheet\d+\.xml", name)
                ),
                key=lambda name: int(re.sub(r"\D", "", name)),
            )
            if not sheets:
                raise UserError(Problem(str(path), "has no worksheet", SAVE_AS_TEXT))
            shared = list(_shared(archive)) if STRINGS in archive.namelist() else []
            return list(_rows(_parsed(archive, sheets[0], path), shared))
    except (OSError, zipfile.BadZipFile, ElementTree.ParseError, ValueError, IndexError) as error:
        what = f"is not a readable workbook: {error}"
        raise UserError(Problem(str(path), what, SAVE_AS_TEXT)) from None


def _parsed(archive: zipfile.ZipFile, name: str, path: Path | None = None) -> ElementTree.Element:
    if archive.getinfo(name).file_size > MOST_BYTES:
        raise ValueError(f"{name} takes more than {MOST_BYTES >> 20} MiB")
    content = archive.read(name)
    if b"<!DOCTYPE" in content[:1000] or b"<!ENTITY" in content:
        raise ValueError(f"{name} declares entities")
    return ElementTree.fromstring(content)


def _shared(archive: zipfile.ZipFile) -> Iterator[str]:
    for item in _parsed(archive, STRINGS).iter(f"{SPACE}si"):
        yield "".join(text.text or "" for text in item.iter(f"{SPACE}t"))


def _rows(sheet: ElementTree.Element, shared: list[str]) -> Iterator[list[str]]:
    for row in sheet.iter(f"{SPACE}row"):
        cells: dict[int, str] = {}
        for cell in row.iter(f"{SPACE}c"):
            reference = cell.get("r", "")
            column = _column(reference) if reference else len(cells)
            cells[column] = _value(cell, shared)
        yield [cells.get(column, "") for column in range(max(cells, default=-1) + 1)]


def _value(cell: ElementTree.Element, shared: list[str]) -> str:
    kind, value = cell.get("t", "n"), cell.find(f"{SPACE}v")
    if kind == "inlineStr":
        return "".join(text.text or "" for text in cell.iter(f"{SPACE}t"))
    text = "" if value is None else value.text or ""
    if kind == "s" and text:
        return shared[int(text)]
    if kind == "b":
        return "TRUE" if text == "1" else "FALSE"
    if kind == "n" and re.fullmatch(r"-?\d+\.0+", text):
        return text.partition(".")[0]
    return text


def _column(reference: str) -> int:
    """Return the number of a column, from 0.

    Examples
    --------
    >>> _column("A1"), _column("AB7")
    (0, 27)
    """
    number = 0
    for letter in re.sub(r"[^A-Z]", "", reference):
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1
