"""Opening a tile store to fill it, whatever its tiles are cut from."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from transferscope.cards import DatasetCard
from transferscope.raw.float_values import scaled_from, stored_ranges, stored_type
from transferscope.runtime.atomic_files import remove_durably, writing
from transferscope.stores.block_store import BlockStore, attributes_of, remove_store
from transferscope.stores.conversion import convert_folder
from transferscope.stores.manifest import TILES_FORMAT, manifest_of, refuse_newer, store_of
from transferscope.tiles.blocks import BlockLog

BLOCK_BYTES = 64 << 20
MOST_BLOCK_ROWS = 4096
# Of tiles that a worker reads at once, to reduce them.
REDUCED_BYTES = 16 << 20
ARRAY = "images"
# Attribute of tiles of floats: the range of each channel in the files.
SCALED_FROM = "scaled_from"

logger = logging.getLogger(__name__)


def drop_outdated(log: BlockLog, store: Path) -> None:
    """Remove a store, and empty its log, where they were made from other input than the log's."""
    if log.belongs():
        return
    if store.exists():
        refuse_newer(store, attributes_of(store).get("version"))
        logger.warning("the raw files or the card have changed: starting %s over", store)
        with writing(store):
            remove_durably(manifest_of(store))
            remove_store(store)
    log.start_over()


def rows_per_block(tile_bytes: int, n_tiles: int) -> int:
    """Return how many tiles of a size are written at a time."""
    return int(np.clip(BLOCK_BYTES // tile_bytes, 1, min(MOST_BLOCK_ROWS, n_tiles)))


def open_tile_store(
    manifest: Path,
    card: DatasetCard,
    *,
    ids: list[str],
    tile_shape: tuple[int, int, int],
    dtype: np.dtype[Any],
    pixel_size_um: float | None,
    made_from: str,
) -> BlockStore:
    """Open the tile store of a manifest to resume it, or make it.

    Parameters
    ----------
    manifest
        Manifest that will describe it.
    card
        The dataset.
    ids
        Id of each tile, in store order.
    tile_shape
        Channels, height and width.
    dtype
        Of the raw fields.
    pixel_size_um
        Of the tiles; None: unknown, or not the same for all.
    made_from
        Digest of what the tiles are made from.
    """
    stored, given = stored_type(dtype), scaled_from(card, dtype)
    block_rows = rows_per_block(int(np.prod(tile_shape)) * stored.itemsize, len(ids))
    path = store_of(manifest)
    if attributes_of(path).get("fingerprint") == made_from:
        convert_folder(path, ARRAY)
    return BlockStore.open_or_create(
        path,
        format=TILES_FORMAT,
        array=ARRAY,
        fingerprint=made_from,
        shape=(len(ids), *tile_shape),
        dtype=stored,
        block_rows=block_rows,
        ids=ids,
        attributes={
            "dataset": card.name,
            "channels": card.channels,
            "pixel_size_um": pixel_size_um,
            "intensity_range": stored_ranges(card, dtype),
            **({} if given is None else {SCALED_FROM: given}),
        },
    )
