"""A digest of a dataset's raw files that changes when one of them is replaced."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transferscope.models import fingerprint
from transferscope.raw.sheets import SampleSheet


def raw_digest(sheet: SampleSheet, more_columns: Sequence[str] = ()) -> str:
    """Return a digest over name, size and modification time of every raw file of a sheet.

    Contents are not read: a study may have terabytes.

    Parameters
    ----------
    sheet
        A sample sheet that has been checked, so that its files exist.
    more_columns
        Further columns that name files, such as masks.
    """
    cells = sheet.table[[*sheet.file_columns, *more_columns]].to_numpy().ravel()
    return fingerprint([_stamp(sheet.path.parent, cell) for cell in cells])


def _stamp(folder: Path, cell: str) -> tuple[str, int, int]:
    path = folder / cell
    # An OME-Zarr is a folder, whose own time does not change with the chunks in it.
    parts = [part.stat() for part in path.rglob("*")] if path.is_dir() else []
    found = [path.stat(), *parts]
    return (cell, sum(s.st_size for s in found), max(s.st_mtime_ns for s in found))
