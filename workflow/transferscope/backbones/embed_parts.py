"""One embedding store filled by several jobs, each of which writes blocks of its own.

The first job that comes decides on the number format and makes the empty store. Each fills the
blocks of its part, which are whole chunks, so that no two jobs ever write the same file. The last
step reads everything again, compares it with the checksums and writes the manifest. The store is
the same, byte for byte, as one that a single job fills.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from transferscope.backbones.embed import OnePass, starting
from transferscope.backbones.filling import ARRAY, StoreFilling
from transferscope.errors import Problem, UserError
from transferscope.runtime.atomic_files import write_atomically
from transferscope.runtime.json_text import parse_json
from transferscope.stores.block_store import UNREADABLE, BlockStore, attributes_of
from transferscope.stores.manifest import refuse_newer, store_of


def blocks_of(part: int, n_parts: int, n_blocks: int) -> range:
    """Return the blocks of one part; a store of fewer blocks than parts leaves some without any.

    Examples
    --------
    >>> [list(blocks_of(part, 3, 5)) for part in range(3)]
    [[0], [1, 2], [3, 4]]
    """
    return range(part * n_blocks // n_parts, (part + 1) * n_blocks // n_parts)


def fill_part(
    job: StoreFilling,
    part: int,
    n_parts: int,
    output: Path,
    also: Mapping[str, Path] | None = None,
) -> None:
    """Fill the blocks of one part that are missing; the first job makes the store.

    Parameters
    ----------
    job
        Which store, and what fills it; closed at the end.
    part, n_parts
        Number of the part, from 0, and how many parts there are.
    output
        JSON to write when its blocks are done.
    also
        As for `embed.embed`: the same blocks of other strategies.

    Raises
    ------
    UserError
        As `embed.embed`.
    """
    with OnePass(job, also) as filling:
        filling.start(blocks_of(part, n_parts, job.n_blocks))
        filling.fill()
    write_atomically(output, json.dumps({"fingerprint": job.fingerprint}) + "\n")


def finish_store(manifest: Path, notes: Sequence[Path]) -> None:
    """Read the whole store again, check it, and write its manifest.

    Parameters
    ----------
    manifest
        Manifest to write.
    notes
        What the parts wrote, in their order. Those of parts with missing or damaged blocks, or of
        another store, are removed, so that the next run makes these parts again.

    Raises
    ------
    UserError
        Where blocks are missing, not what was written, or made from something else.
    """
    path = store_of(manifest)
    attributes = attributes_of(path)
    refuse_newer(path, attributes.get("version"))
    if attributes.get("version") == 1:
        raise _again(path, "an older version has filled it; each part converts it first", notes)
    found = attributes.get("fingerprint")
    told = [_fingerprint_of(note) for note in notes]
    foreign = {part for part, one in enumerate(told) if one is None or one != found}
    if foreign:
        what = f"{len(foreign)} of {len(notes)} parts were made from other tiles, weights, settings"
        raise _again(path, what, [notes[part] for part in foreign])
    try:
        store = BlockStore(path, ARRAY)
    except UNREADABLE:
        raise _again(path, "its metadata are damaged", notes) from None
    for block in store.damaged():
        store.forget(block)
    n_blocks = len(store.blocks())
    missing = [block for block, _, _ in store.missing()]
    if missing:
        what = f"{len(missing)} blocks are missing or damaged, the first is block {missing[0]}"
        again = [
            note
            for part, note in enumerate(notes)
            if set(blocks_of(part, len(notes), n_blocks)) & set(missing)
        ]
        raise _again(path, what, again)
    with starting(path):
        store.finish(manifest)


def _fingerprint_of(note: Path) -> str | None:
    try:
        return str(parse_json(note.read_text(encoding="utf-8"))["fingerprint"])
    except (OSError, ValueError, TypeError, LookupError):
        return None


def _again(store: Path, what: str, notes: Sequence[Path]) -> UserError:
    """Remove the notes of parts that have to be made again; return the error that says so."""
    for note in notes:
        note.unlink(missing_ok=True)
    fix = "Give the same snakemake command again: it makes them anew."
    return UserError(Problem(str(store), what, fix))
