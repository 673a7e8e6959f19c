"""Tile stores of random tiles."""

from pathlib import Path

import numpy as np

from transferscope.stores.block_store import BlockStore
from transferscope.stores.manifest import TILES_FORMAT, store_of


def write_tile_store(
    manifest: Path,
    n_tiles: int = 12,
    size: int = 16,
    channels: tuple[str, ...] = ("nucleus", "protein"),
    images: np.ndarray | None = None,
) -> Path:
    """Write a store of uint16 tiles t00, t01, ...; return its manifest."""
    if images is None:
        shape = (n_tiles, len(channels), size, size)
        images = np.random.default_rng(0).integers(0, 4000, shape).astype(np.uint16)
    store = BlockStore.open_or_create(
        store_of(manifest),
        format=TILES_FORMAT,
        array="images",
        fingerprint="0" * 64,
        shape=images.shape,
        dtype=images.dtype,
        block_rows=len(images),
        ids=[f"t{i:02d}" for i in range(len(images))],
        attributes={
            "channels": list(channels),
            "pixel_size_um": 0.5,
            "intensity_range": [[0.0, 4000.0] for _ in channels],
        },
    )
    store.write_block(0, images)
    store.finish(manifest)
    return manifest
