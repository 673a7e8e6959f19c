"""A study copied to where others read it: a folder, or an object store.

What is there already is not sent again. Manifests of stores go last, and the list of checksums
after them; it is removed before anything is sent, so that half a publication is never taken for a
whole one.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from transferscope.errors import Problem, UserError
from transferscope.runtime.atomic_files import writing
from transferscope.runtime.checksum_list import CHECKSUMS, as_list
from transferscope.runtime.progress import progress_bar
from transferscope.stores.manifest import store_of
from transferscope.study.study import Study
from transferscope.transport.access import located_anywhere, translated_errors
from transferscope.transport.urls import is_url, joined
from transferscope.upkeep.export import descriptions, opened, results_of
from transferscope.upkeep.verify import manifests_in


@dataclass(frozen=True)
class Published:
    """What a publication did.

    Parameters
    ----------
    place
        URL or folder in which the study now is.
    sent, n_bytes
        Files that were sent, and their bytes.
    kept
        Files that were there already.
    unfinished
        Stores that are left out, because they are not finished.
    """

    place: str
    sent: int
    n_bytes: int
    kept: int
    unfinished: list[Path]


@dataclass(frozen=True)
class _Item:
    """A file to publish: of this machine, or a text."""

    name: str
    source: Path | bytes

    @property
    def size(self) -> int:
        with self.opened() as file:
            return file.seek(0, os.SEEK_END)

    def digest(self, kind: str) -> str:
        new = partial(hashlib.new, kind, usedforsecurity=False)
        with self.opened() as file:
            return hashlib.file_digest(file, new).hexdigest()

    def opened(self) -> AbstractContextManager[io.BytesIO | io.BufferedReader]:
        """Open it to be read; raise a `UserError` where that fails."""
        return io.BytesIO(self.source) if isinstance(self.source, bytes) else opened(self.source)


class _Destination:
    """A folder of a file system, with what was in it at the beginning."""

    def __init__(self, place: str) -> None:
        self.place = place
        self._system, self._path = located_anywhere(place)
        with translated_errors(place):
            self._system.invalidate_cache()
            found: dict[str, dict[str, Any]] = self._system.find(self._path, detail=True)
        self._there = {name.removeprefix(f"{self._path}/"): info for name, info in found.items()}

    def has(self, item: _Item) -> bool:
        """Return whether a file is there, with its size and its checksum."""
        info = self._there.get(item.name)
        if info is None or info["size"] != item.size:
            return False
        if not is_url(self.place):
            there = _Item(item.name, Path(str(info["name"])))
            return there.digest("sha256") == item.digest("sha256")
        # The MD5 of what was sent in one piece; anything else is sent again.
        return str(info.get("ETag") or info.get("etag")).strip('"') == item.digest("md5")

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        if name in self._there:
            with self._writing(name):
                self._system.rm_file(f"{self._path}/{name}")

    @contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        """Name the file, and what to do, where the destination refuses it."""
        where = joined(self.place, name)
        with translated_errors(where), nullcontext() if is_url(where) else writing(Path(where)):
            yield

    def send(self, item: _Item) -> None:
        """Write a file."""
        target = f"{self._path}/{item.name}"
        # Opened here, so that a failure to read is not reported as a failure to write.
        with item.opened(), self._writing(item.name):
            if isinstance(item.source, Path):
                self._system.put_file(str(item.source), target)
            else:
                self._system.pipe_file(target, item.source)


def publish(study: Study, to: str, connections: int) -> Published:
    """Copy finished stores, tables, figures, config and cards of a study.

    Parameters
    ----------
    study
        The study.
    to
        Folder or URL; the study becomes a folder in it, named as the study.
    connections
        Files sent at a time.

    Raises
    ------
    UserError
        Where there are no results, or the destination cannot be written, or is the study itself.
    """
    place = joined(to if is_url(to) else str(Path(to).absolute()), study.config.study)
    _check_apart(place, study.paths.root)
    items, unfinished = _items(study)
    destination = _Destination(place)
    with ThreadPoolExecutor(connections) as pool:
        there = list(pool.map(destination.has, items))
    missing = [item for item, has in zip(items, there, strict=True) if not has]
    if missing and there[-1]:
        # Blocks of stores are not in the list of checksums, but it tells that they are all there.
        missing.append(items[-1])
    manifests = {_name(study, path) for path, _ in manifests_in(study.paths.root)}
    _send(destination, missing, manifests, connections)
    n_bytes = sum(item.size for item in missing)
    return Published(place, len(missing), n_bytes, len(items) - len(missing), unfinished)


def _check_apart(place: str, root: Path) -> None:
    """Refuse to publish a study into or around itself, where it would be part of itself."""
    if is_url(place):
        return
    there, here = Path(place).resolve(), root.resolve()
    if there.is_relative_to(here) or here.is_relative_to(there):
        what = f"is, holds or lies in the study's own folder, {root}"
        raise UserError(Problem(place, what, "Publish it to a folder elsewhere."))


def _send(
    destination: _Destination, items: Sequence[_Item], manifests: set[str], connections: int
) -> None:
    """Send files, manifests of stores after all others, and the checksums last."""
    turns: tuple[list[_Item], ...] = [], [], []
    for item in items:
        turns[2 if item.name == CHECKSUMS else item.name in manifests].append(item)
    # Until all is there, a reader finds nothing that describes what is being replaced.
    for item in [*turns[2], *turns[1]]:
        destination.remove(item.name)
    with (
        ThreadPoolExecutor(connections) as pool,
        progress_bar(f"Publishing {destination.place}", len(items), "files") as bar,
    ):
        for due in turns:
            for _ in pool.map(destination.send, due):
                bar.update()


def _items(study: Study) -> tuple[list[_Item], list[Path]]:
    """Return what is to be published, checksums last, and the stores that are not finished."""
    root = study.paths.root
    finished = {store_of(manifest) for manifest, _ in manifests_in(root)}
    files, unfinished = [], set()
    for path in results_of(root, stores=True):
        store = next((part for part in path.parents if part.suffix == ".zarr"), None)
        if store is not None and store not in finished:
            unfinished.add(store)
        else:
            files.append(path)
    items = [_Item(name, text) for name, text in descriptions(study).items()]
    items += [_Item(_name(study, path), path) for path in files]
    # Blocks of stores have their checksums in the stores.
    sums = {item.name: item.digest("sha256") for item in items if ".zarr/" not in item.name}
    return [*items, _Item(CHECKSUMS, as_list(sums))], sorted(unfinished)


def _name(study: Study, path: Path) -> str:
    return path.relative_to(study.paths.root).as_posix()
