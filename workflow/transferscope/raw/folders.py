"""All files below a folder: linked folders are walked, too, each once."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from transferscope.raw.places import oddity_of

ZARR = ".zarr"


@dataclass
class FoundFiles:
    """What a walk found.

    Parameters
    ----------
    paths
        Paths relative to the folder, sorted within each folder; an OME-Zarr is one file.
    skipped
        What was not walked, and why: a sentence for each.
    """

    paths: list[Path] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def files_below(folder: Path) -> FoundFiles:
    """Find all files below a folder, except those whose names begin with a dot.

    A link to a folder is followed, unless it leads into the folder that is walked, or to where
    another link has led: its files would be found twice, or without an end.

    Parameters
    ----------
    folder
        The folder.
    """
    found = FoundFiles()
    _walk(folder, Path(), {os.path.realpath(folder): "the folder itself"}, found)
    return found


def _walk(folder: Path, here: Path, walked: dict[str, str], found: FoundFiles) -> None:
    try:
        entries = sorted(os.scandir(folder / here), key=lambda entry: entry.name)
    except OSError as error:
        found.skipped.append(f'the folder "{here.as_posix()}" cannot be read: {error.strerror}')
        return
    inner = []
    for entry in entries:
        if _is_folder(entry) and not entry.name.endswith(ZARR):
            inner.append(entry)
        elif not entry.name.startswith("."):
            if oddity := oddity_of(entry.path):
                found.skipped.append(f'"{(here / entry.name).as_posix()}" is {oddity}')
            else:
                found.paths.append(here / entry.name)
    for entry in inner:
        path = here / entry.name
        if entry.is_symlink():
            real = os.path.realpath(entry.path)
            if there := _walked(real, walked):
                text = f'the link "{path.as_posix()}" leads to what is found in {there}'
                found.skipped.append(text)
                continue
            walked[real] = f'"{path.as_posix()}"'
        _walk(folder, path, walked, found)


def _walked(real: str, walked: dict[str, str]) -> str | None:
    """Return in which walked folder another one lies, or which lies in it; None: in none."""
    for other, name in walked.items():
        if f"{real}{os.sep}".startswith(f"{other.rstrip(os.sep)}{os.sep}"):
            return name
        if f"{other}{os.sep}".startswith(f"{real.rstrip(os.sep)}{os.sep}"):
            return f"it, such as {name}"
    return None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False
