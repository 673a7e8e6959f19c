"""Tiles kept once more at a smaller side, for the networks that would reduce them anyway.

What is read of a large tile is most of the work where a network runs on a GPU. The copy is a tile
store like any other, antialiased by the filter that feeds a network, and says what it is of.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from transferscope.backbones.resizing import clipped, resized
from transferscope.errors import user_error
from transferscope.runtime.arrays import Floats32, Values
from transferscope.runtime.fingerprint import fingerprint
from transferscope.runtime.ordered_map import ordered_map
from transferscope.runtime.progress import progress_bar
from transferscope.stores.block_store import BlockStore
from transferscope.stores.manifest import TILES_FORMAT, store_of
from transferscope.stores.tile_store import TileStore
from transferscope.tiles.store import ARRAY, READ_BYTES, SCALED_FROM, rows_per_block
from transferscope.tiles.tiling import REDUCED_FIX, too_small

METHOD = "antialiased bicubic, clipped to the intensity range"
# Attributes of a tile store that hold of its tiles at any size.
KEPT = ("channels", "intensity_range", SCALED_FROM)


def reduce_tiles(tiles: Path, side: int, manifest: Path, workers: int = 1) -> None:
    """Write the tiles of a store at a smaller side.

    Parameters
    ----------
    tiles
        Manifest of the tile store.
    side
        Side of the reduced tiles in px; tiles that are not square are squeezed, as for a network.
    manifest
        Manifest to write; the store lies next to it.
    workers
        Threads.

    Raises
    ------
    UserError
        If the store is missing or damaged, or a tile is less than twice as large.
    """
    source = TileStore(tiles)
    if source.reduced_to is not None:
        raise user_error(
            tiles, "holds tiles that are reduced already", "Give the tiles themselves."
        )
    if what := too_small(source.tile_size, side):
        raise user_error(tiles, what, REDUCED_FIX)
    store = _opened(source, side, manifest)
    # With one, as each worker resizes a tile of its own, results do not depend on their number.
    torch.set_num_threads(1)
    if missing := store.missing():
        total = sum(stop - start for _, start, stop in missing)
        with progress_bar(f"{tiles.stem}: tiles at {side} px", total, "tiles") as bar:
            for block, start, stop in missing:
                store.write_block(block, _reduced(source, side, start, stop, workers))
                bar.update(stop - start)
    store.finish(manifest)


def _opened(source: TileStore, side: int, manifest: Path) -> BlockStore:
    """Open the store to resume it, or make it."""
    n_tiles, n_channels = source.manifest.shape[:2]
    shape, dtype = (n_channels, side, side), source.array.dtype
    height, width = source.tile_size
    per_um = source.pixel_size_um if height == width else None
    kept = {key: source.attributes[key] for key in KEPT if key in source.attributes}
    # Published tiles have the name of another study's dataset.
    named = {} if source.is_remote else {"dataset": source.attributes.get("dataset")}
    made_from = [METHOD, side, kept, source.content_sha256, source.manifest.ids_sha256]
    return BlockStore.open_or_create(
        store_of(manifest),
        format=TILES_FORMAT,
        array=ARRAY,
        fingerprint=fingerprint(made_from),
        shape=(n_tiles, *shape),
        dtype=dtype,
        block_rows=rows_per_block(int(np.prod(shape)) * dtype.itemsize, n_tiles),
        ids=source.tile_ids,
        attributes={
            **named,
            **kept,
            "pixel_size_um": None if per_um is None else per_um * height / side,
            "reduced_by": METHOD,
            **source.origin,
        },
    )


def _reduced(source: TileStore, side: int, start: int, stop: int, workers: int) -> Values:
    """Return tiles [stop - start, C, side, side] in the type of the source."""
    found = np.empty((stop - start, source.manifest.shape[1], side, side), source.array.dtype)
    low, high = (torch.from_numpy(limit) for limit in source.intensity_range.T.copy())
    limits = [limit[None, :, None, None] for limit in (low, high)]

    def reduce(rows: range) -> None:
        tiles = torch.from_numpy(source.read(rows.start, rows.stop))
        smaller = resized(tiles, side, clipped, *limits).numpy()
        found[rows.start - start : rows.stop - start] = _as(found.dtype, smaller)

    step = max(1, READ_BYTES // (found.itemsize * math.prod(source.manifest.shape[1:])))
    spans = [range(first, min(first + step, stop)) for first in range(start, stop, step)]
    # What is read in turn is read by one.
    for _ in ordered_map(reduce, spans, 1 if source.reads_in_turn else workers):
        pass
    return found


def _as(dtype: np.dtype[Any], values: Floats32) -> Values:
    """Return values in a type, integers rounded: the filter overshoots black and white a little."""
    if dtype.kind not in "iu":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    return np.rint(values).clip(limits.min, limits.max).astype(dtype)
