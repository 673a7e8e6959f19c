"""Which files in the folder of a study are results."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

# Records of a run, with times, and files for communication between jobs: not results.
RECORDS = ("logs", "benchmarks", "raw", "parts", "checksums")
# Folders and files next to a result that only the job which makes it reads.
WORKING = (".blocks", ".fields", ".parts", ".checkpoint.pt")


def results_below(root: Path, place: Path, *, stores: bool = False) -> Iterator[Path]:
    """Yield a file of a study, or the files in one of its folders, that are results.

    Parameters
    ----------
    root
        Folder of the study.
    place
        The file or folder.
    stores
        Whether files of stores are among them.
    """
    excluded = WORKING if stores else (*WORKING, ".zarr")

    def kept(names: Iterable[str]) -> list[str]:
        return [name for name in names if not name.startswith(".") and not name.endswith(excluded)]

    if place.is_file():
        yield place
    # Not `rglob`: it fails if a running job removes a folder, and enters excluded folders.
    for folder, folders, names in os.walk(place):
        if Path(folder) == root:
            folders[:] = set(folders).difference(RECORDS)
        folders[:] = kept(folders)
        for path in (Path(folder, name) for name in kept(names)):
            # A link may lead to a file outside the study.
            if path.is_file() and not path.is_symlink():
                yield path


def files_in(place: Path) -> list[Path]:
    """Return a file, or the files in a folder, in order; none if it is not there."""
    found = [place, *sorted(place.rglob("*"))]
    return [path for path in found if path.is_file() and not path.name.startswith(".")]


def is_result(root: Path, path: Path) -> bool:
    """Return whether a file is a result of a study, and no part of a store."""
    if not path.is_relative_to(root):
        return False
    parts = path.relative_to(root).parts
    return parts[0] not in RECORDS and not any(
        part.startswith(".") or part.endswith((*WORKING, ".zarr")) for part in parts
    )
