"""Publication of a study to a folder or an object store.

Files that are there already are not sent again. Manifests of stores are sent last, followed by the
list of checksums, which is removed first, so that an incomplete publication is never taken for a
complete one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferscope.errors import Problem, UserError
from transferscope.runtime.atomic_files import sync, writing
from transferscope.runtime.checksum_list import CHECKSUMS, as_list
from transferscope.runtime.plain_files import name_problem, output_problem
from transferscope.runtime.progress import progress_bar
from transferscope.stores.manifest import store_of
from transferscope.study.study import Study
from transferscope.transport.access import located_anywhere, translated_errors
from transferscope.transport.urls import is_url, joined
from transferscope.upkeep.contents import Item, altered, check_current, descriptions, results
from transferscope.upkeep.manifests import manifests_in, reader_of


@dataclass(frozen=True)
class Published:
    """The outcome of a publication.

    Parameters
    ----------
    place
        URL or folder of the published study.
    sent, n_bytes
        Number of files sent, and their bytes.
    kept
        Number of files that were there already.
    unfinished
        Incomplete stores, which are left out.
    """

    place: str
    sent: int
    n_bytes: int
    kept: int
    unfinished: list[Path]


class _Destination:
    """A folder of a file system, with its initial content."""

    def __init__(self, place: str) -> None:
        self.place = place
        self._system, self._path = located_anywhere(place)
        with translated_errors(place):
            self._system.invalidate_cache()
            found: dict[str, dict[str, Any]] = self._system.find(self._path, detail=True)
        self._there = {name.removeprefix(f"{self._path}/"): info for name, info in found.items()}

    def has(self, item: Item) -> bool:
        """Return whether a file of the same size and checksum is there."""
        info = self._there.get(item.name)
        if info is None or info["size"] != item.size:
            return False
        if not is_url(self.place):
            there = Item(item.name, Path(str(info["name"])))
            return there.digest("sha256") == item.digest("sha256")
        # The MD5 of a file that was sent in one piece; any other file is sent again.
        return str(info.get("ETag") or info.get("etag")).strip('"') == item.digest("md5")

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        if name in self._there:
            with self._writing(name):
                self._system.rm_file(f"{self._path}/{name}")

    @contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        """Report errors of the destination with the name of the file and a fix."""
        where = joined(self.place, name)
        with translated_errors(where), nullcontext() if is_url(where) else writing(Path(where)):
            yield

    def send(self, item: Item) -> None:
        """Write a file."""
        target = f"{self._path}/{item.name}"
        # Opened here, so that a failure to read is not reported as a failure to write.
        with item.opened() as content, self._writing(item.name):
            digest = hashlib.file_digest(content, "sha256").hexdigest()
            if item.sha256 not in (None, digest):
                raise UserError(altered(item))
            if isinstance(item.source, Path):
                self._system.put_file(str(item.source), target)
            else:
                self._system.pipe_file(target, item.source)
            if not is_url(self.place):
                sync(Path(target))
                sync(Path(target).parent)


def publish(study: Study, to: str, connections: int) -> Published:
    """Copy complete stores, tables, figures, config and cards of a study.

    Parameters
    ----------
    study
        The study.
    to
        Folder or URL; the study becomes a folder in it, named as the study.
    connections
        Files sent in parallel.

    Raises
    ------
    UserError
        If there are no results, or the destination cannot be written, or is the study itself.
    """
    if not is_url(to) and (problem := name_problem(to) or output_problem(Path(to), folder=True)):
        raise UserError(problem)
    check_current(study)
    place = joined(to if is_url(to) else str(Path(to).absolute()), study.config.study)
    _check_apart(place, study.paths.root)
    items, unfinished = _items(study)
    destination = _Destination(place)
    with ThreadPoolExecutor(connections) as pool:
        there = list(pool.map(destination.has, items))
    missing = [item for item, has in zip(items, there, strict=True) if not has]
    if missing and there[-1]:
        # The list of checksums marks a complete publication, so it is sent after any other file.
        missing.append(items[-1])
    _send(destination, missing, connections)
    n_bytes = sum(item.size for item in missing)
    return Published(place, len(missing), n_bytes, len(items) - len(missing), unfinished)


def _check_apart(place: str, root: Path) -> None:
    """Refuse to publish a study into its own folder or one that holds it."""
    if is_url(place):
        return
    there, here = Path(place).resolve(), root.resolve()
    if there.is_relative_to(here) or here.is_relative_to(there):
        what = f"is, holds or lies in the study's own folder, {root}"
        raise UserError(Problem(place, what, "Publish it to a folder elsewhere."))


def _send(destination: _Destination, items: Sequence[Item], connections: int) -> None:
    """Send files, manifests of stores after all others, and the checksums last."""
    turns: tuple[list[Item], ...] = [], [], []
    for item in items:
        turns[2 if item.name == CHECKSUMS else reader_of(item.name) is not None].append(item)
    # Until everything is there, readers find no description of files that are being replaced.
    for item in [*turns[2], *turns[1]]:
        destination.remove(item.name)
    with (
        ThreadPoolExecutor(connections) as pool,
        progress_bar(f"Publishing {destination.place}", len(items), "files") as bar,
    ):
        for due in turns:
            for _ in pool.map(destination.send, due):
                bar.update()


def _items(study: Study) -> tuple[list[Item], list[Path]]:
    """Return the files to publish, checksums last, and the incomplete stores."""
    root = study.paths.root
    finished = {store_of(manifest) for manifest, _ in manifests_in(root)}
    items, unfinished = descriptions(study), set()
    for item in results(study, stores=True):
        parents = (root / item.name).parents
        store = next((folder for folder in parents if folder.suffix == ".zarr"), None)
        if store is not None and store not in finished:
            unfinished.add(store)
        else:
            items.append(item)
    # Blocks of stores have their checksums in the stores.
    sums = {item.name: item.digest("sha256") for item in items if ".zarr/" not in item.name}
    return [*items, Item(CHECKSUMS, as_list(sums))], sorted(unfinished)
