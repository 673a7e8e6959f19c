"""Numbers of cells, brightness and focus of each tile, by the card that knows nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from transferscope.backbones.handcrafted import HandcraftedEmbedder
from transferscope.cards import HandcraftedCard
from transferscope.runtime.progress import progress_bar
from transferscope.stores.parquet import write_parquet
from transferscope.stores.tile_store import TileStore

# Those of a channel that are told apart: its other measures say nearly the same.
OF_CHANNEL = ("mean", "focus")
COUNT = "count_nuclei"


def measure_tiles(tiles: Path, card: HandcraftedCard, threads: int, path: Path) -> None:
    """Write the measures of all tiles: the number of nuclei, mean and focus of each channel.

    Parameters
    ----------
    tiles
        Manifest of the tile store.
    card
        The card `count-and-quality`.
    threads
        Processes that measure.
    path
        Parquet table to write: `tile_id`, and one column per measure.
    """
    store = TileStore(tiles)
    embedder = HandcraftedEmbedder(card, store.channels, store.intensity_range, threads)
    kept = [COUNT, *(f"quality_{c}_{name}" for c in store.channels for name in OF_CHANNEL)]
    columns = [embedder.names.index(name) for name in kept]
    n_tiles, step = len(store.tile_ids), store.block_rows
    parts = [np.empty((0, len(kept)), dtype=np.float32)]
    embedder.start({})
    try:
        with progress_bar("Measures of the tiles", n_tiles, "tiles") as bar:
            for start in range(0, n_tiles, step):
                values = embedder.collected(
                    [embedder(store.read(start, min(start + step, n_tiles)))]
                )
                parts.append(values[:, columns])
                bar.update(len(values))
    finally:
        embedder.close()
    found = pd.DataFrame(np.concatenate(parts), columns=kept)
    found.insert(0, "tile_id", store.tile_ids)
    write_parquet(found, path, {"dataset": str(store.attributes.get("dataset", ""))})
