"""Listings of folders in an object store: one request per folder, not one per file."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from transferscope.errors import Problem, UserError
from transferscope.runtime.fingerprint import fingerprint
from transferscope.transport.access import REQUESTS, SilentServerError, located, translated_errors
from transferscope.transport.urls import MARK, joined

CHANGED = ("LastModified", "last_modified", "updated", "modified", "mtime")


@dataclass(frozen=True, slots=True)  # a dataset may have a million of them
class Entry:
    """A file in an object store, or a folder.

    Parameters
    ----------
    url
        Its URL.
    size
        Its bytes; of a folder, those of all files below.
    stamp
        Changes when it is replaced: the ETag, or else the time of the last change.
    is_folder
        Whether it is a folder.
    """

    url: str
    size: int
    stamp: str
    is_folder: bool = False


@dataclass
class Listing:
    """The content of some folders.

    Parameters
    ----------
    entries
        Files and folders by their URLs.
    failures
        Folders that could not be listed, and why.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    failures: dict[str, Problem] = field(default_factory=dict)

    @cached_property
    def names(self) -> dict[str, list[str]]:
        """Names of the entries of each folder that is not empty."""
        names: dict[str, list[str]] = {}
        for url in self.entries:
            folder, _, name = url.rpartition("/")
            names.setdefault(folder, []).append(name)
        return names


def list_folders(folders: Collection[str]) -> Listing:
    """List folders, with one request per thousand files.

    Parameters
    ----------
    folders
        URLs of folders; a missing one is empty.
    """
    listing = Listing()
    by_protocol: dict[str, list[str]] = {}
    for folder in dict.fromkeys(folders):
        by_protocol.setdefault(folder.partition(MARK)[0], []).append(folder)
    for first, *others in by_protocol.values():
        # One request first: if the server does not answer, the others are not sent.
        found = _listed(first)
        _take(listing, first, found)
        if isinstance(found, SilentServerError):
            listing.failures |= dict.fromkeys(others, found.problems[0])
            continue
        with ThreadPoolExecutor(REQUESTS) as pool:
            for folder, more in zip(others, pool.map(_listed, others), strict=True):
                _take(listing, folder, more)
    return listing


def measured_folders(urls: Collection[str]) -> dict[str, Entry]:
    """Return size and stamp of folders, over all files below them.

    Parameters
    ----------
    urls
        URLs of folders that exist, such as OME-Zarr images.

    Raises
    ------
    UserError
        If one cannot be listed.
    """
    with ThreadPoolExecutor(REQUESTS) as pool:
        return dict(zip(urls, pool.map(_measured, urls), strict=True))


def _take(listing: Listing, folder: str, found: dict[str, Entry] | UserError) -> None:
    if isinstance(found, UserError):
        listing.failures[folder] = found.problems[0]
    else:
        listing.entries |= found


def _listed(folder: str) -> dict[str, Entry] | UserError:
    try:
        system, path = located(folder)
        with translated_errors(folder):
            return {entry.url: entry for entry in _entries(system, path, folder)}
    except UserError as error:
        return error


def _entries(system: Any, path: str, folder: str) -> Iterator[Entry]:
    try:
        found = system.ls(path, detail=True, refresh=True)
    except FileNotFoundError:
        # The bucket must exist; a folder in it is only a prefix of names.
        with suppress(PermissionError):
            system.info(path.partition("/")[0])
        return
    for info in found:
        name = str(info["name"]).rstrip("/").rpartition("/")[2]
        yield _entry(joined(folder, name), info)


def _entry(url: str, info: dict[str, Any]) -> Entry:
    stamp = info.get("ETag") or info.get("etag")
    if stamp is None:
        stamp = next((info[key] for key in CHANGED if info.get(key) is not None), "")
    return Entry(url, int(info.get("size") or 0), str(stamp), info["type"] == "directory")


def _measured(url: str) -> Entry:
    system, path = located(url)
    with translated_errors(url):
        infos = system.find(path, detail=True)
    parts = [(name, _entry(name, info)) for name, info in sorted(infos.items())]
    stamp = fingerprint([(name.removeprefix(path), e.size, e.stamp) for name, e in parts])
    return Entry(url, sum(entry.size for _, entry in parts), stamp, is_folder=True)
