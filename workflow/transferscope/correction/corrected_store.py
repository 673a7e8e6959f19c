"""The step that corrects a store: embeddings of one output in, a store like any other out.

A correction sees the batch of every row and which rows are negative controls, in training and in
test groups alike; it sees neither labels nor groups.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from transferscope.config.channel_strategies import single_channel
from transferscope.config.correction import CorrectionJob
from transferscope.config.probed import CORRECTED_BY, Probed
from transferscope.correction import VERSION
from transferscope.correction.methods import Corrected, correct
from transferscope.correction.role_checks import role_problems, roles_in, texts
from transferscope.correction.rows import Rows
from transferscope.errors import UserError, user_error
from transferscope.runtime.fingerprint import fingerprint
from transferscope.stores.block_store import EMBEDDING_BLOCK_ROWS, BlockStore
from transferscope.stores.embedding_store import EmbeddingStore
from transferscope.stores.manifest import EMBEDDINGS_FORMAT, store_of
from transferscope.stores.origin import check_store
from transferscope.stores.parquet import read_tile_table

logger = logging.getLogger(__name__)

ARRAY = "embeddings"
# What a corrected store says of the network and the tiles as the one that it was made from does.
KEPT = ("backbone", "card_fingerprint", "weights_sha256", "tiles_sha256", "precision")


def correct_store(
    embeddings: Path, probed: Probed, table: Path, job: CorrectionJob, manifest: Path
) -> None:
    """Correct one output of a store for batches, and write the result as a store.

    Parameters
    ----------
    embeddings
        Manifest of the store to correct.
    probed
        What the corrected store is called; its output and channel strategy are read.
    table
        Tile table, with the columns of batches and controls.
    job
        Method, and columns.
    manifest
        Manifest to write; the store lies next to it.

    Raises
    ------
    UserError
        If table and store have different tiles, a column is missing, a tile is of no batch, or
        there are too few controls.
    """
    store = EmbeddingStore(embeddings)
    rows, columns = rows_of(table, store.tile_ids, job)
    output = probed.output or store.columns[0].output
    check_store(embeddings, store.attributes, probed.uncorrected)
    values = store.read(output, probed.channels)
    if not np.isfinite(values).all():
        raise user_error(embeddings, "holds values that are not finite", "Embed again in fp32.")
    done = correct(values, rows, job.method, published=job.published)
    for note in done.notes:
        logger.warning("%s: %s", manifest.stem, note)
    made_from = store.manifest.content_sha256
    description = {
        **{key: store.attributes[key] for key in KEPT if key in store.attributes},
        "representation": probed.representation,
        "strategy": probed.channels,
        CORRECTED_BY: job.method,
        "correction": {**done.record, **columns, "notes": done.notes},
        "corrected_from_sha256": made_from,
        "protocol": VERSION,
        "columns": _columns(done, output, probed.channels),
    }
    recipe = [VERSION, job.model_dump(mode="json"), probed.representation, probed.channels]
    digest = fingerprint([recipe, made_from, columns, _digest(rows)])
    _write(manifest, store, done, description, digest)


def rows_of(
    table: Path, tile_ids: list[str], job: CorrectionJob
) -> tuple[Rows, dict[str, str | None]]:
    """Return batch and role of each row of a store, and the columns that say so.

    Raises
    ------
    UserError
        As `correct_store`.
    """
    rows = read_tile_table(table)
    if rows["tile_id"].tolist() != tile_ids:
        fix = "Give the tile table of the same dataset and study."
        raise user_error(table, "has other tiles than the store", fix)
    if problems := role_problems(rows, job, table):
        raise UserError(problems)
    roles = roles_in(rows, job.roles)
    batches = None if roles.batch is None else texts(rows[roles.batch])
    if batches is None:
        logger.warning("%s has no column of batches: all tiles are one batch", table)
    controls = np.zeros(len(rows), dtype=bool)
    if roles.control is not None:
        controls = np.array(roles.are_controls(list(texts(rows[roles.control]))))
    return Rows.of(batches, controls), {"batch": roles.batch, "control": roles.control}


def _columns(done: Corrected, output: str, channels: str) -> list[dict[str, Any]]:
    channel = single_channel(channels)
    width = done.embeddings.shape[1]
    return [{"output": output, "channel": channel, "start": 0, "stop": width}]


def _digest(rows: Rows) -> str:
    return fingerprint([rows.codes.tolist(), rows.names, rows.controls.tolist()])


def _write(
    manifest: Path,
    source: EmbeddingStore,
    done: Corrected,
    description: dict[str, Any],
    digest: str,
) -> None:
    store = BlockStore.open_or_create(
        store_of(manifest),
        format=EMBEDDINGS_FORMAT,
        array=ARRAY,
        fingerprint=digest,
        shape=done.embeddings.shape,
        dtype="float32",
        block_rows=EMBEDDING_BLOCK_ROWS,
        ids=source.tile_ids,
        attributes=description,
    )
    for block, start, stop in store.missing():
        store.write_block(block, done.embeddings[start:stop])
    store.finish(manifest)
