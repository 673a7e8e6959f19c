"""Where the raw files of a sample sheet are: in its folder, in another one, or in an object store.

A path is relative to the sheet, or to the object store that the card names as `location`; a URL
stands for itself. What lies outside the sheet's folder, or in a store, must lie below one of the
card's `roots` or its `location`. Symbolic links are the user's own decision and are followed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Sequence
from pathlib import Path

from transferscope.cards import DatasetCard
from transferscope.errors import Problem
from transferscope.transport.files import RawFile, RemoteFile
from transferscope.transport.listing import Entry, Listing, list_folders, measured_folders
from transferscope.transport.urls import MARK, fault_of, is_below, is_url, joined, without_password

# Of two protocols for one place, one.
SAME_PLACES = {"s3a": "s3", "gcs": "gs", "abfss": "abfs"}
ODDITIES = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
INSIDE_STORE = "Name a file of an object store, such as s3://bucket/plate/field.tif."


class Places:
    """What the paths of a sheet mean, whether they are allowed, and whether they exist.

    Parameters
    ----------
    sheet, card
        The sheet and its dataset.
    """

    def __init__(self, sheet: Path, card: DatasetCard) -> None:
        self._sheet = sheet
        self._folder = str(absolute_path(sheet.parent))
        self._location = card.location
        folders = [root for root in card.roots if not is_url(root)]
        self._roots = [_inside(os.path.normpath(Path(self._folder) / root)) for root in folders]
        self._stores = [root for root in card.roots if is_url(root)]
        self._stores += [card.location] if card.location else []
        self._own = _inside(self._folder)
        self._listing = Listing()
        self._numbers: dict[str, int] = {}

    def target(self, cell: str) -> str:
        """Return the file that a path of the sheet means, or its URL without a final slash."""
        if is_url(cell):
            return cell.removesuffix("/")
        if self._location and not os.path.isabs(cell):  # noqa: PTH117
            return joined(self._location, cell).removesuffix("/")
        return os.path.join(self._folder, cell)  # noqa: PTH118

    def is_remote(self, cell: str) -> bool:
        """Return whether a path of the sheet means a file in an object store."""
        if self._location is None or not cell:
            return is_url(cell)
        return is_url(cell) or not os.path.isabs(cell)  # noqa: PTH117

    def any_remote(self, cells: Sequence[str]) -> bool:
        """Return whether any of many paths does: a sheet may have a million."""
        if self._location is None:
            return is_url("\n".join(cells))
        return any(map(self.is_remote, cells))

    def refusal(self, cell: str) -> tuple[str, str] | None:
        """Return what forbids a path, as the sheet writes it, and the fix; None: it is allowed.

        Returns
        -------
        what, fix
            The fix without the name of the card.
        """
        if not self.is_remote(cell):
            if self._holds(cell):
                return None
            fix = "Move the sheet above the raw files, or name their folder in `roots:` of"
            return f'"{cell}" lies outside the folder of the sheet', fix
        url = self.target(cell)
        if fault := fault_of(url):
            what = f'"{without_password(url)}" {fault}'
            return what, f"{INSIDE_STORE} Allowed are those that `roots:` name in"
        if any(is_below(url, store) for store in self._stores):
            return None
        fix = "Name the part of the object store that holds it in `roots:` of"
        return f'"{url}" lies in none of the object stores that the card allows', fix

    def look_up(self, cells: Collection[str]) -> None:
        """List the object stores' folders in which allowed paths of the sheet lie."""
        urls = {self.target(cell) for cell in cells if self.is_remote(cell)}
        if not urls:
            return
        self._listing = list_folders(sorted({_parent(url) for url in urls}))
        entries = self._listing.entries
        folders = [url for url in sorted(urls) if url in entries and entries[url].is_folder]
        # An OME-Zarr is a folder: what is in it tells whether it was replaced.
        self._listing.entries |= measured_folders(folders)

    def failure(self, cell: str) -> Problem | None:
        """Return why it is not known whether a file in an object store exists."""
        failures = self._listing.failures
        return failures.get(_parent(self.target(cell))) if failures else None

    def identity(self, cell: str) -> tuple[int, int] | None:
        """Return the number of the file system and that of the file of a path.

        Of an object store the first is 0. None: there is no file or folder.
        """
        target = self.target(cell)
        if not self.is_remote(cell):
            return _identity(target)
        if target not in self._listing.entries:
            return None
        return 0, self._numbers.setdefault(_one_protocol(target), len(self._numbers))

    def oddity(self, cell: str) -> str | None:
        """Return what a path of this machine names that is neither a file nor a folder."""
        return None if self.is_remote(cell) else oddity_of(self.target(cell))

    def neighbours(self, cell: str) -> list[str] | None:
        """Return the names next to a file that is not there; None: not even its folder is."""
        target = self.target(cell)
        if self.is_remote(cell):
            return sorted(self._listing.names.get(_parent(target), [])) or None
        parent = Path(target).parent
        return sorted(entry.name for entry in parent.iterdir()) if parent.is_dir() else None

    def file(self, cell: str) -> RawFile:
        """Return the file that a path of the checked sheet means."""
        if not self.is_remote(cell):
            return self._sheet.parent / cell
        entry = self.entry(cell)
        return RemoteFile(entry.url, entry.size, entry.is_folder)

    def entry(self, cell: str) -> Entry:
        """Return what the object store's listing says of a file."""
        return self._listing.entries[self.target(cell)]

    def _holds(self, cell: str) -> bool:
        """Return whether a path of this machine is allowed."""
        # Text, not pathlib: a sheet may have a million rows, most of them as plain as this.
        if not os.path.isabs(cell) and ".." not in cell:  # noqa: PTH117
            return True
        target = os.path.normpath(self.target(cell))
        below = _inside(target)
        if any(below.startswith(root) for root in self._roots):
            return True
        return below.startswith(self._own)


def absolute_path(path: Path) -> Path:
    """Return an absolute path without following links: what a user calls a folder is its name."""
    return Path(os.path.abspath(path))  # noqa: PTH100 (resolve() would follow links)


def _inside(folder: str) -> str:
    """Return the text with which every path below a folder begins, and its own with a slash."""
    return folder.rstrip(os.sep) + os.sep


def _one_protocol(url: str) -> str:
    """Return a URL with the first of the protocols that name the same place."""
    protocol, mark, rest = url.partition(MARK)
    return f"{SAME_PLACES.get(protocol, protocol)}{mark}{rest}"


def _parent(url: str) -> str:
    return url.rpartition("/")[0]


def _identity(target: str) -> tuple[int, int] | None:
    try:
        found = os.stat(target)  # noqa: PTH116 (a million times: pathlib is slow)
    except (OSError, ValueError):  # such as a name that is too long for the file system
        return None
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        return None
    return found.st_dev, found.st_ino


def oddity_of(path: str | Path) -> str | None:
    """Return what a path names that is neither a file nor a folder; None: nothing of the kind.

    To open one may wait for ever.
    """
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
    except (OSError, ValueError):
        return None
    return next((name for fits, name in ODDITIES if fits(mode)), None)
