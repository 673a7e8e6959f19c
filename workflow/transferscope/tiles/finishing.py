"""What is found out once all tiles are there: the range of their values, and doubts about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from transferscope.cards import DatasetCard
from transferscope.runtime.arrays import Floats, Integers
from transferscope.stores.block_store import IDENTITIES, BlockStore, attributes_of
from transferscope.stores.manifest import store_of
from transferscope.stores.parquet import read_tile_table
from transferscope.tiles.doubts import Looked, doubts_about, judge_now, sentences_of, some_pixels
from transferscope.tiles.orders import doubts_about_order
from transferscope.tiles.store import SCALED_FROM

PERCENTILES = (0.1, 99.9)
MOST_TILES = 64
# Attributes of a tile store: doubts in sentences, and where its range comes from.
DOUBTS, RANGE_FROM = "doubts", "intensity_range_from"
SEEN = "percentiles 0.1 and 99.9 over all tiles"


def look_at_tiles(
    store: BlockStore,
    card: DatasetCard,
    measured: Floats,
    table: Path,
    where: str,
    quality: str,
    workers: int = 1,
) -> None:
    """Write range and doubts into the attributes of a tile store whose blocks are all written.

    Parameters
    ----------
    store
        The store.
    card
        The dataset.
    measured
        `Quality.values()` of each tile and channel, [N, C, measures].
    table
        The tile table.
    where
        What the doubts are about, for messages.
    quality
        `warn` or `stop`.
    workers
        Fields whose channels are looked at at a time.

    Raises
    ------
    UserError
        With all doubts, where they stop the study.
    """
    ranges = store.group.attrs["intensity_range"]
    added: dict[str, Any] = {}
    if card.ranges_from_tiles:
        ranges = _range_of(store)
        added = {"intensity_range": ranges, RANGE_FROM: SEEN}
    rows = np.unique(np.linspace(0, len(measured) - 1, MOST_TILES).round().astype(int))
    tiles = [np.asarray(store.array[int(row)]) for row in rows]
    looked = Looked(measured, some_pixels(tiles), "tiles")
    scaled = store.group.attrs.get(SCALED_FROM)
    largest = float(np.iinfo(store.array.dtype).max)
    doubts = doubts_about(looked, card.channels, ranges, largest, scaled)
    doubts += doubts_about_order(store, read_tile_table(table), card.channels, workers)
    if doubts:
        added[DOUBTS] = sentences_of(doubts)
    if added:
        _add(store, added)
    judge_now(doubts, where, quality)


def _add(store: BlockStore, added: dict[str, Any]) -> None:
    """Write attributes in front of those that only a finished store has: in any run the same."""
    found = dict(store.group.attrs)
    last = {key: found.pop(key) for key in IDENTITIES if key in found}
    store.group.attrs.put({**found, **added, **last})


def doubts_of_store(manifest: Path) -> list[str]:
    """Return what a finished tile store says is doubtful about its tiles, and that they were seen.

    Parameters
    ----------
    manifest
        Its manifest. Published stores, and those of older versions, say nothing.
    """
    attributes = attributes_of(store_of(manifest))
    found = [str(text) for text in attributes.get(DOUBTS, [])]
    if source := attributes.get(RANGE_FROM):
        pairs = zip(attributes["channels"], attributes["intensity_range"], strict=True)
        ranges = ", ".join(f"{name} [{low:g}, {high:g}]" for name, (low, high) in pairs)
        found.append(
            f"`intensity_range: auto`: black and white are {source}, so that pixels of test tiles "
            f"were seen, but no label ({ranges}). Numbers in the card avoid that."
        )
    return found


def _range_of(store: BlockStore) -> list[list[float]]:
    """Return [C][2]: exact percentiles of each channel over all tiles."""
    n_channels = store.array.shape[1]
    counts: Integers = np.zeros((n_channels, np.iinfo(store.array.dtype).max + 1), np.int64)
    for _, start, stop in store.blocks():
        block = np.asarray(store.array[start:stop])
        for channel in range(n_channels):
            counts[channel] += np.bincount(block[:, channel].ravel(), minlength=counts.shape[1])
    ranges = []
    for of_channel in counts:
        cumulative = np.cumsum(of_channel)
        ranks = np.ceil(np.array(PERCENTILES) / 100 * cumulative[-1]).clip(1)
        low, high = np.searchsorted(cumulative, ranks).astype(float).tolist()
        ranges.append([low, max(high, low + 1)])
    return ranges
