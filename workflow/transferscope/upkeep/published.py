"""Whether a study that was published, to a folder or an object store, is what was sent."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from transferscope.errors import Problem, UnreachableError, UserError
from transferscope.transport.access import REQUESTS
from transferscope.transport.publications import Publication
from transferscope.transport.urls import is_url, joined
from transferscope.upkeep.verify import is_manifest, reader_of


@dataclass(frozen=True)
class Sound:
    """A publication that is as it was sent.

    Parameters
    ----------
    files, stores, blocks
        How many of each were read; files are those beside the stores.
    """

    files: int
    stores: int
    blocks: int


def verify_published(place: str) -> Sound:
    """Read a publication and compare it with its manifests and checksums; nothing is copied.

    Parameters
    ----------
    place
        URL or folder of one study.

    Raises
    ------
    UserError
        Where it cannot be reached or was not published to its end, or naming each file and block
        that differs.
    """
    publication = Publication(place)
    names = list(publication.sums)
    with ThreadPoolExecutor(REQUESTS) as pool:
        found = list(pool.map(lambda name: _file_problems(publication, name), names))
    problems = [problem for wrong in found for problem in wrong]
    manifests = [n for n, wrong in zip(names, found, strict=True) if is_manifest(n) and not wrong]
    blocks = 0
    for name in manifests:
        manifest = joined(place, name)
        try:
            reader = reader_of(name)(manifest if is_url(place) else Path(manifest))
            blocks += reader.blocks
            reader.check()
        except UnreachableError:
            raise
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(problems)
    return Sound(len(names), len(manifests), blocks)


def _file_problems(publication: Publication, name: str) -> list[Problem]:
    try:
        publication.read(name)
    except UnreachableError:
        raise
    except UserError as error:
        return error.problems
    return []
