"""What a fetch will make: a sample sheet, and the files that have to be fetched for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from transferscope.transport.download import Download

FILES = "files"


@dataclass(frozen=True)
class Planned:
    """The outcome of a fetch, known before any image is there.

    Parameters
    ----------
    table
        The sample sheet; paths begin with `files/`, the folder or link next to the sheet.
    root
        What `files` is: a folder for the downloads, or the folder of this machine in which the
        images are already.
    downloads
        Files to fetch into `root` or below.
    complete
        Whether the table has a row for each field. Before the source has been listed, it has one
        row per group, which is enough to count groups.
    """

    table: pd.DataFrame
    root: Path
    downloads: list[Download] = field(default_factory=list)
    complete: bool = True

    def files(self) -> list[Path]:
        """Return every raw file of the table, in its order, as it lies on this machine."""
        return [self.root / name.removeprefix(f"{FILES}/") for name in named_files(self.table)]


def named_files(table: pd.DataFrame) -> list[str]:
    """Return every raw file that a sample sheet of a fetch names."""
    return [str(name) for name in table.filter(regex="^path(_|$)").to_numpy().ravel()]
