"""The steps that make a dataset of a table: its tile table, and a store per set of features."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np
import pandas as pd

from transferscope.cards import DatasetCard
from transferscope.config.channel_strategies import GIVEN
from transferscope.errors import user_error
from transferscope.given import VERSION
from transferscope.given.rows import read_given, table_of
from transferscope.runtime.atomic_files import write_atomically
from transferscope.runtime.fingerprint import fingerprint
from transferscope.runtime.spreadsheets import guarded
from transferscope.stores.block_store import EMBEDDING_BLOCK_ROWS, BlockStore
from transferscope.stores.manifest import EMBEDDINGS_FORMAT, store_of
from transferscope.stores.parquet import read_tile_table, write_parquet

logger = logging.getLogger(__name__)

SKIPPED_COLUMNS = ("tile_id", "row", "source", "reason")
OUTPUT, ARRAY = "features", "embeddings"


def make_table(
    card: DatasetCard, card_path: Path, *, output: Path, skipped: Path, skip: bool = False
) -> None:
    """Write the tile table of a dataset whose features are given.

    Parameters
    ----------
    card, card_path
        The dataset, and the file of its card.
    output, skipped
        Tile table, and table of the rows that are left out, to write.
    skip
        As of `read_given`.
    """
    given = read_given(card, card_path, skip=skip)
    for note in given.rows.notes:
        logger.warning("%s", note)
    source = table_of(card, card_path).name
    cells = [(each.tile_id, each.row, source, each.reason) for each in given.rows.skipped]
    left_out = guarded(pd.DataFrame(cells, columns=list(SKIPPED_COLUMNS)))
    write_atomically(skipped, left_out.to_csv(index=False, sep="\t"))
    write_parquet(given.rows.table, output, {"dataset": card.name})


def make_store(
    card: DatasetCard,
    card_path: Path,
    name: str,
    *,
    table: Path,
    manifest: Path,
    skip: bool = False,
) -> None:
    """Write a set of given features as an embedding store.

    Parameters
    ----------
    card, card_path
        The dataset, and the file of its card.
    name
        The set.
    table
        Tile table of the dataset.
    manifest
        Manifest to write; the store lies next to it.
    skip
        As of `read_given`.

    Raises
    ------
    UserError
        If there is no such set, or the tile table was made from another table.
    """
    if name not in card.feature_sets:
        known = ", ".join(card.feature_sets) or "none"
        raise user_error(card_path, f'has no set of features "{name}"', f"It has {known}.")
    given = read_given(card, card_path, skip=skip)
    ids = given.rows.table["tile_id"].tolist()
    if read_tile_table(table)["tile_id"].tolist() != ids:
        what = f"has other rows than {table_of(card, card_path)}, which has changed"
        raise user_error(table, what, "Run the workflow again.")
    features, constant = given.sets[name], given.constant[name]
    attributes = {
        "backbone": name,
        "dataset": card.name,
        "strategy": GIVEN,
        "source": "table",
        "feature_names": features.names,
        "constant_features": constant,
        "columns": [
            {"output": OUTPUT, "channel": None, "start": 0, "stop": len(features.names)},
        ],
        "protocol": VERSION,
    }
    content = hashlib.sha256(np.ascontiguousarray(features.values).tobytes()).hexdigest()
    store = BlockStore.open_or_create(
        store_of(manifest),
        format=EMBEDDINGS_FORMAT,
        array=ARRAY,
        fingerprint=fingerprint([attributes, ids, content]),
        shape=features.values.shape,
        dtype="float32",
        block_rows=EMBEDDING_BLOCK_ROWS,
        ids=ids,
        attributes=attributes,
    )
    for block, start, stop in store.missing():
        store.write_block(block, features.values[start:stop])
    store.finish(manifest)
