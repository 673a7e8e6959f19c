"""A digest of a dataset's raw files that changes when one of them is replaced."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from transferscope.raw.places import Places
from transferscope.raw.sheets import SampleSheet
from transferscope.runtime.fingerprint import fingerprint


def raw_digest(sheet: SampleSheet, more_columns: Sequence[str] = ()) -> str:
    """Return a digest over name, size and modification time of every raw file of a sheet.

    Contents are not read: a study may have terabytes. Of files in an object store, it is what the
    store listed when the sheet was read: size, and ETag or else time.

    Parameters
    ----------
    sheet
        A sample sheet that has been checked, so that its files exist.
    more_columns
        Further columns that name files, such as masks.
    """
    return files_digest(sheet, [*sheet.file_columns, *more_columns])


def files_digest(sheet: SampleSheet, columns: Sequence[str]) -> str:
    """Return the same over the files of some columns; cells may be empty."""
    cells = sheet.table[list(columns)].to_numpy().ravel()
    folder = str(sheet.path.parent)
    places = sheet.places
    return fingerprint([_stamp(places, folder, cell) if cell else "" for cell in cells])


def _stamp(places: Places, folder: str, cell: str) -> tuple[str, int, int | str]:
    if places.is_remote(cell):
        entry = places.entry(cell)
        return cell, entry.size, entry.stamp
    path = os.path.join(folder, cell)  # noqa: PTH118 (a million times: pathlib is slow)
    own = os.stat(path)  # noqa: PTH116
    if not stat.S_ISDIR(own.st_mode):
        return cell, own.st_size, own.st_mtime_ns
    # An OME-Zarr is a folder, whose own time does not change with the chunks in it.
    found = [own, *(part.stat() for part in Path(path).rglob("*"))]
    return cell, sum(s.st_size for s in found), max(s.st_mtime_ns for s in found)
