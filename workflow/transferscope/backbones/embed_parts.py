"""One embedding store filled by many jobs, each of which writes blocks of its own.

A first job decides on the number format and makes the empty store. Each further one fills the
blocks of its part, which are whole chunks, so that no two jobs ever write the same file. A last one
reads everything again, compares it with the checksums and writes the manifest. The store is the
same, byte for byte, as one that a single job fills.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from transferscope.backbones.embed import StoreFilling
from transferscope.cards import HandcraftedCard, NetworkCard
from transferscope.config import ComputeSettings
from transferscope.disk import write_atomically
from transferscope.errors import Problem, UserError
from transferscope.paths import store_of
from transferscope.stores import BlockStore, attributes_of

ARRAY = "embeddings"


@dataclass(frozen=True)
class EmbedTask:
    """What the jobs of one store share; the parameters are those of `embed.embed`."""

    tiles: Path
    card: NetworkCard | HandcraftedCard
    card_path: Path
    strategy: str
    manifest: Path
    settings: ComputeSettings

    def job(self) -> StoreFilling:
        """Read the tiles' store and build the network."""
        return StoreFilling.of(
            self.tiles,
            self.card,
            self.strategy,
            self.manifest,
            self.settings,
            self.card_path,
            self.settings.block_rows,
        )


def start_store(task: EmbedTask, output: Path) -> None:
    """Decide on the number format, and make the empty store or keep what is done of it.

    Parameters
    ----------
    task
        Which store.
    output
        JSON to write: what the parts are to find.
    """
    job = task.job()
    try:
        job.start()
        write_atomically(output, json.dumps({"fingerprint": job.fingerprint}) + "\n")
    finally:
        job.close()


def fill_part(task: EmbedTask, started: Path, part: int, blocks_a_job: int, output: Path) -> None:
    """Fill the blocks of one part that are missing.

    Parameters
    ----------
    task
        Which store.
    started
        What `start_store` wrote.
    part, blocks_a_job
        Number of the part, from 0, and its blocks.
    output
        JSON to write when they are done.

    Raises
    ------
    UserError
        Where the store is not the one that was started, or what it is made from has changed.
    """
    store = _open_started(task.manifest, started)
    own = range(part * blocks_a_job, (part + 1) * blocks_a_job)
    missing = [block for block in store.missing() if block[0] in own]
    if missing:
        job = task.job()
        try:
            if job.fingerprint != _fingerprint_of(started):
                raise _outdated(task.manifest)
            job.fill(job.start(), missing)
        finally:
            job.close()
    rows = [[start, stop] for block, start, stop in store.blocks() if block in own]
    write_atomically(output, json.dumps({"rows": rows}) + "\n")


def finish_store(manifest: Path, started: Path, parts: Path, blocks_a_job: int) -> None:
    """Read the whole store again, check it, and write its manifest.

    Parameters
    ----------
    manifest
        Manifest to write.
    started
        What `start_store` wrote.
    parts
        Folder of what the parts wrote. Notes of damaged ones are removed, so that the next run
        makes these again.
    blocks_a_job
        Blocks a part.

    Raises
    ------
    UserError
        Where blocks are missing, not finite, or not what was written.
    """
    store = _open_started(manifest, started)
    for block in store.damaged():
        store.forget(block)
    missing = [block for block, _, _ in store.missing()]
    if missing:
        for part in {block // blocks_a_job for block in missing}:
            (parts / f"{part}.json").unlink(missing_ok=True)
        what = f"{len(missing)} blocks are missing or damaged, the first is block {missing[0]}"
        mend = "Give the same snakemake command again: it makes them anew."
        raise UserError(Problem(str(store.path), what, mend))
    store.finish(manifest)


def _open_started(manifest: Path, started: Path) -> BlockStore:
    path = store_of(manifest)
    if attributes_of(path).get("fingerprint") != _fingerprint_of(started):
        raise _outdated(manifest)
    return BlockStore(path, ARRAY)


def _fingerprint_of(started: Path) -> str:
    return str(json.loads(started.read_text(encoding="utf-8"))["fingerprint"])


def _outdated(manifest: Path) -> UserError:
    what = "is not the store that was started: tiles, weights or settings have changed since"
    mend = "Give the same snakemake command with --forcerun embed_start."
    return UserError(Problem(str(store_of(manifest)), what, mend))
