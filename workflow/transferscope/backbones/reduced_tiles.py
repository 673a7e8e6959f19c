"""Tiles kept once more at a smaller side, for the networks that would reduce them anyway.

Where a network runs on a GPU, reading and resizing large tiles takes longer than the network does.
The copy is a tile store like any other, made by the filter that feeds a network, and says what it
is of. Its levels are finer than any network tells apart, and reach beyond black and white, for the
filter overshoots both: to clip that, or to round to 8 bit, would change embeddings.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from transferscope.backbones.preprocessing import Preprocessor
from transferscope.cards import Normalization
from transferscope.errors import user_error
from transferscope.runtime.arrays import Values
from transferscope.runtime.fingerprint import fingerprint
from transferscope.runtime.ordered_map import ordered_map
from transferscope.runtime.progress import progress_bar
from transferscope.stores.block_store import BlockStore
from transferscope.stores.manifest import TILES_FORMAT, store_of
from transferscope.stores.tile_store import CLIP_RANGE, TileStore
from transferscope.tiles.store import ARRAY, REDUCED_BYTES, rows_per_block
from transferscope.tiles.tiling import REDUCED_FIX, too_small

METHOD = "antialiased bicubic"
DTYPE = np.dtype(np.uint16)
# Levels of black and white, and the highest one. The filter overshoots by less than a fifth of the
# range (the square of its largest sum of positive weights along an axis, 1.083).
BLACK, WHITE, HIGHEST = 1024, 5120, 6144


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
        raise user_error(tiles, "these tiles are reduced already", "Give the tiles themselves.")
    if what := too_small(source.tile_size, side):
        raise user_error(tiles, what, REDUCED_FIX)
    store = _opened(source, side, manifest)
    # Each worker resizes tiles of its own, so that results do not depend on their number.
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
    shape = n_channels, side, side
    height, width = source.tile_size
    pixel_size_um = source.pixel_size_um if height == width else None
    levels = [BLACK, WHITE, HIGHEST]
    of_tiles = source.content_sha256, source.manifest.ids_sha256, source.intensity_range.tolist()
    return BlockStore.open_or_create(
        store_of(manifest),
        format=TILES_FORMAT,
        array=ARRAY,
        fingerprint=fingerprint([METHOD, side, levels, *of_tiles]),
        shape=(n_tiles, *shape),
        dtype=DTYPE,
        block_rows=rows_per_block(math.prod(shape) * DTYPE.itemsize, n_tiles),
        ids=source.tile_ids,
        attributes={
            **({} if source.dataset is None else {"dataset": source.dataset}),
            "channels": source.channels,
            "pixel_size_um": None if pixel_size_um is None else pixel_size_um * height / side,
            "intensity_range": [[BLACK, WHITE]] * n_channels,
            CLIP_RANGE: [[0, HIGHEST]] * n_channels,
            "reduced_by": METHOD,
            **source.origin,
        },
    )


def _reduced(source: TileStore, side: int, start: int, stop: int, workers: int) -> Values:
    """Return reduced tiles [stop - start, C, side, side]."""
    n_channels = len(source.channels)
    found = np.empty((stop - start, n_channels, side, side), DTYPE)
    plain = Normalization(kind="none")
    preprocessor = Preprocessor(source.channels, source.intensity_range, side, plain, n_channels)

    @torch.inference_mode()
    def reduce(rows: range) -> None:
        scaled = preprocessor.resize(torch.from_numpy(source.read(rows.start, rows.stop)))
        levels = scaled.mul_(WHITE - BLACK).add_(BLACK).round_().clamp_(0, HIGHEST)
        found[rows.start - start : rows.stop - start] = levels.numpy()

    tile_bytes = source.array.dtype.itemsize * math.prod(source.manifest.shape[1:])
    # One tile alone would be taken for a sample of what is read in turn.
    step = max(2 if source.reads_in_turn else 1, REDUCED_BYTES // tile_bytes)
    spans = [range(first, min(first + step, stop)) for first in range(start, stop, step)]
    # What is read in turn is read by one.
    for _ in ordered_map(reduce, spans, 1 if source.reads_in_turn else workers):
        pass
    return found
