"""Header checks of all raw files of a sheet: problems found in seconds, before any decoding."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from transferscope.cards import DatasetCard
from transferscope.errors import Problem, UserError
from transferscope.progress import progress_bar
from transferscope.raw.images import FieldHeader, read_field_header
from transferscope.raw.sheets import SampleSheet
from transferscope.remote.access import REQUESTS

# Headers are small and far apart: threads wait for the disk, not for each other.
HEADER_THREADS = 8
MOST_SHOWN = 20


def check_files(
    sheet: SampleSheet, card: DatasetCard, max_files: int | None = None
) -> list[Problem]:
    """Read the header of every raw file and return what is wrong with them.

    Parameters
    ----------
    sheet
        A sheet that has passed `read_sheet`.
    card
        The dataset.
    max_files
        Check an evenly spaced selection of the fields, so that at most this many files are
        opened. None: check all.

    Returns
    -------
    list of Problem
        Unreadable and truncated files, wrong channels, axes, types and sizes, each with the row.
    """
    positions = _selection(sheet, max_files)
    headers = scan_headers(sheet, card, positions)
    found = [p for header in headers if isinstance(header, list) for p in header]
    problems = found[:MOST_SHOWN]
    if more := found[MOST_SHOWN:]:
        problems.append(Problem(str(sheet.path), f"{len(more)} more raw files have problems"))
    good = {
        position: header
        for position, header in zip(positions, headers, strict=True)
        if isinstance(header, FieldHeader)
    }
    return problems + check_uniform(sheet, card, good)


def scan_headers(
    sheet: SampleSheet, card: DatasetCard, positions: Sequence[int]
) -> list[FieldHeader | list[Problem]]:
    """Read the headers of the fields at these positions; problems in place of a bad field's."""
    results = []
    with (
        ThreadPoolExecutor(REQUESTS if sheet.is_remote else HEADER_THREADS) as pool,
        progress_bar(f"Headers of {card.name}", len(positions), "fields") as bar,
    ):
        for result in pool.map(partial(header_at, sheet, card), positions):
            results.append(result)
            bar.update()
    return results


def header_at(sheet: SampleSheet, card: DatasetCard, position: int) -> FieldHeader | list[Problem]:
    """Read the header of one field; problems in place of a bad field's."""
    try:
        return read_field_header(
            sheet.files(position), card, one_file_a_channel=sheet.one_file_a_channel
        )
    except UserError as error:
        return in_row(sheet, position, error)


def in_row(sheet: SampleSheet, position: int, error: UserError) -> list[Problem]:
    """Return the problems of a raw file with the sheet's row put in front."""
    return [Problem(f"{sheet.place(position)}: {p.where}", p.what, p.mend) for p in error.problems]


def check_uniform(
    sheet: SampleSheet, card: DatasetCard, headers: dict[int, FieldHeader]
) -> list[Problem]:
    """Refuse fields of different types; of different sizes too where tiles keep the field's size.

    Parameters
    ----------
    sheet, card
        The dataset.
    headers
        Headers of the fields, by position in the sheet.
    """
    problems: list[Problem] = []
    if not headers:
        return problems
    first_position, first = next(iter(headers.items()))
    for what, mend, differs in (
        ("type", "Export all fields in one type.", _other_type),
        ("size", "Set `tiles.size` in the dataset card.", _other_size),
    ):
        if what == "size" and (card.tiles.size is not None or card.cells is not None):
            continue
        other = next((i for i, h in headers.items() if differs(h, first)), None)
        if other is not None:
            here, there = headers[other], sheet.place(first_position)
            text = (
                f"{_describe(here)} differs in {what} from {first.files[0].path} ({there}), "
                f"which is {_describe(first)}"
            )
            where = f"{sheet.place(other)}: {here.files[0].path}"
            problems.append(Problem(where, text, mend))
    return problems


def _other_type(header: FieldHeader, first: FieldHeader) -> bool:
    return header.dtype != first.dtype


def _other_size(header: FieldHeader, first: FieldHeader) -> bool:
    return header.shape != first.shape


def _describe(header: FieldHeader) -> str:
    return f"{header.dtype.name} of {header.shape[0]} x {header.shape[1]} px"


def _selection(sheet: SampleSheet, max_files: int | None) -> list[int]:
    files_a_field = len(sheet.file_columns)
    if max_files is None or len(sheet) * files_a_field <= max_files:
        return list(range(len(sheet)))
    count = max(1, max_files // files_a_field)
    return sorted({round(at) for at in np.linspace(0, len(sheet) - 1, count)})
