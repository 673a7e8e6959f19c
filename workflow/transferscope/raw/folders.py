"""All files below a folder: linked folders are walked, too, each once."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from transferscope.raw.places import oddity_of
from transferscope.raw.zarr_fields import ZARR, images_in


@dataclass
class FoundFiles:
    """What a walk found.

    Parameters
    ----------
    paths
        Paths relative to the folder, sorted within each folder; an OME-Zarr is
        one file, or those of its images where it is a plate or holds several.
    skipped
        What was not walked, and why: a sentence for each.
    """

    paths: list[Path] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def files_below(folder: Path) -> FoundFiles:
    """Find all files below a folder, except those in what has a name that begins with a dot.

    Linked folders are walked as well, after all others; no folder is walked twice. A link to a
    folder that holds the walked one is not followed: it may lead to a whole disk.

    Parameters
    ----------
    folder
        The folder.
    """
    found, top = FoundFiles(), os.path.realpath(folder)
    walked: dict[str, str] = {}
    links = _walk(folder, Path(), "the folder itself", walked, found)
    while links:
        link = links.pop(0)
        real = os.path.realpath(folder / link)
        there = walked.get(real)
        if there is None and f"{top}{os.sep}".startswith(f"{real.rstrip(os.sep)}{os.sep}"):
            there = "it, such as the folder itself"
        if there is not None:
            found.skipped.append(f'the link "{link.as_posix()}" leads to what is found in {there}')
            continue
        links += _walk(folder, link, f'"{link.as_posix()}"', walked, found)
    found.paths.sort(key=lambda path: (path.parent.parts, path.name))
    return found


def _walk(
    folder: Path, start: Path, name: str, walked: dict[str, str], found: FoundFiles
) -> list[Path]:
    """Walk a folder and those in it, except links, which are returned.

    Parameters
    ----------
    folder, start
        The folder that was named, and where to start in it.
    name
        What is walked, for messages.
    walked
        Real path of each folder that was walked -> the name; it is added to.
    found
        What was found; it is added to.
    """
    links: list[Path] = []
    waiting = [start]
    while waiting:
        here = waiting.pop()
        there = walked.setdefault(os.path.realpath(folder / here), name)
        if there != name:
            found.skipped.append(f'the folder "{here.as_posix()}" is found in {there}, too')
            continue
        try:
            entries = sorted(os.scandir(folder / here), key=lambda entry: entry.name)
        except OSError as error:
            found.skipped.append(f'the folder "{here.as_posix()}" cannot be read: {error.strerror}')
            continue
        for entry in entries:
            path = here / entry.name
            if not _is_folder(entry) or entry.name.endswith(ZARR):
                if entry.name.startswith("."):
                    continue
                if oddity := oddity_of(entry.path):
                    found.skipped.append(f'"{path.as_posix()}" is {oddity}')
                else:
                    within, faults = images_in(folder / path) if _is_folder(entry) else ([], [])
                    found.paths += [path / image for image in within] or [path]
                    found.skipped += faults
            elif entry.name.startswith("."):
                found.skipped.append(f'the folder "{path.as_posix()}" is hidden')
            else:
                (links if entry.is_symlink() else waiting).append(path)
    return links


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False
