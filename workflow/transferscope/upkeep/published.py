"""Whether a study that was published, to a folder or an object store, is what was sent."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferscope.errors import Problem, UserError
from transferscope.remote.access import PUBLISH_AGAIN, REQUESTS, asking, located_anywhere
from transferscope.remote.urls import is_url, joined
from transferscope.upkeep.export import CHECKSUMS
from transferscope.upkeep.verify import is_manifest, reader_of

MISSING, DIFFERS = "is missing", "differs from its checksum"


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
    system, path = located_anywhere(place)
    sums = _checksums(system, path, place)
    with ThreadPoolExecutor(REQUESTS) as pool:
        digests = pool.map(lambda name: _sha256(system, f"{path}/{name}"), sums)
        found = dict(zip(sums, digests, strict=True))
    wrong = [name for name, expected in sums.items() if found[name] != expected]
    problems = [
        Problem(joined(place, name), MISSING if found[name] is None else DIFFERS, PUBLISH_AGAIN)
        for name in wrong
    ]
    manifests = [name for name in sums if is_manifest(name) and name not in wrong]
    blocks = 0
    for name in manifests:
        manifest = joined(place, name)
        try:
            reader = reader_of(name)(manifest if is_url(place) else Path(manifest))
            blocks += reader.blocks
            reader.check()
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(problems)
    return Sound(len(sums), len(manifests), blocks)


def _checksums(system: Any, path: str, place: str) -> dict[str, str]:
    """Return the checksum of each file by its name."""
    with asking(place):
        if not system.exists(f"{path}/{CHECKSUMS}"):
            what = f"holds no {CHECKSUMS}: nothing was published here, or not to the end"
            mend = "Name the folder of one study, or give the command `publish` again."
            raise UserError(Problem(place, what, mend))
        text = system.cat_file(f"{path}/{CHECKSUMS}").decode("utf-8", errors="replace")
    lines = (line.partition("  ") for line in text.splitlines())
    return {name: digest for digest, _, name in lines}


def _sha256(system: Any, path: str) -> str | None:
    """Return the sha256 of a file; None: it is not there."""
    with asking(path):
        try:
            return hashlib.sha256(system.cat_file(path)).hexdigest()
        except FileNotFoundError:
            return None
