"""Verification of a published study, in a folder or an object store."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from transferscope.errors import Problem, UnreachableError, UserError
from transferscope.runtime.checksum_list import CHECKSUMS
from transferscope.stores.manifest import store_of
from transferscope.stores.reader import StoreReader
from transferscope.transport.access import REQUESTS
from transferscope.transport.publications import Publication
from transferscope.transport.urls import is_url, joined
from transferscope.upkeep.manifests import reader_of


@dataclass(frozen=True)
class Sound:
    """The number of verified files of an intact publication.

    Parameters
    ----------
    files, stores, blocks
        Numbers of each; files are those outside the stores.
    others
        Files in a folder that were not sent; they are not verified.
    """

    files: int
    stores: int
    blocks: int
    others: list[str]


def verify_published(place: str) -> Sound:
    """Compare a publication with its manifests and checksums, without copying it.

    Parameters
    ----------
    place
        URL or folder of one study.

    Raises
    ------
    UserError
        If it cannot be reached or is incomplete; or naming each file and block that differs.
    """
    publication = Publication(place)
    names = list(publication.sums)
    with ThreadPoolExecutor(REQUESTS) as pool:
        found = list(pool.map(lambda name: _problems(lambda: publication.read(name)), names))
    problems = list(chain.from_iterable(found))
    intact = [
        (name, reader_of(name)) for name, faults in zip(names, found, strict=True) if not faults
    ]
    manifests = [(name, kind) for name, kind in intact if kind is not None]
    blocks, others = [], list[str]()

    def check_store(name: str, kind: type[StoreReader]) -> None:
        manifest = joined(place, name)
        reader = kind(manifest if is_url(place) else Path(manifest))
        blocks.append(reader.blocks)
        reader.check()
        strange = reader.strange_files()
        others.extend((store_of(Path(name)) / one).as_posix() for one in strange)

    for name, kind in manifests:
        problems += _problems(partial(check_store, name, kind))
    if problems:
        raise UserError(problems)
    stores = {store_of(Path(name)) for name, _ in manifests}
    others += [] if is_url(place) else _others(Path(place), {CHECKSUMS, *names}, stores)
    return Sound(len(names), len(manifests), sum(blocks), others)


def _others(folder: Path, names: set[str], stores: set[Path]) -> list[str]:
    """Return the files in a folder that its list does not name, and that are in no store."""
    paths = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if not path.is_dir())
    return [
        path.as_posix()
        for path in paths
        if path.as_posix() not in names and stores.isdisjoint(path.parents)
    ]


def _problems(check: Callable[[], object]) -> list[Problem]:
    """Return the problems that a check finds; unreachable files raise an error instead."""
    try:
        check()
    except UnreachableError:
        raise
    except UserError as error:
        return error.problems
    return []
