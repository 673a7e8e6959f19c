"""Which raw files a dataset has, and a digest that changes when one of them is replaced."""

from __future__ import annotations

from pathlib import Path

from transferscope.cards import DatasetCard
from transferscope.models import fingerprint
from transferscope.sheets import read_sheet


def raw_digest(sheet: Path, card: DatasetCard) -> str:
    """Return a digest over name, size and modification time of every raw file of a sheet.

    Contents are not read: a study may have terabytes. A missing file counts as absent.

    Parameters
    ----------
    sheet
        The sample sheet.
    card
        The dataset that it belongs to.
    """
    table = read_sheet(sheet, card)
    cells = table.table[list(table.file_columns)].to_numpy().ravel()
    return fingerprint([_stamp(sheet.parent, cell) for cell in cells])


def _stamp(folder: Path, cell: str) -> tuple[str, int, int]:
    try:
        status = (folder / cell).stat()
    except OSError:
        return (cell, -1, -1)
    return (cell, status.st_size, status.st_mtime_ns)
