"""A small tile store and a small network, to embed one with the other."""

from pathlib import Path
from typing import Any

import numpy as np

from transferscope.cards import TimmCard
from transferscope.config.compute import ComputeSettings
from transferscope.stores.block_store import BlockStore
from transferscope.stores.manifest import TILES_FORMAT

CHANNELS = ["nucleus", "protein", "er"]
SETTINGS = ComputeSettings(device="cpu", precision="fp32", batch_size=8, threads=2)
BF16 = SETTINGS.model_copy(update={"precision": "bf16"})
N_TILES = 40


def card(**changes: Any) -> TimmCard:
    values: dict[str, Any] = {
        "source": "timm",
        "name": "tiny",
        "architecture": "vit_tiny_patch16_224",
        "arguments": {"depth": 2, "embed_dim": 48, "num_heads": 3},
        "pretrained": False,
        "input_size": 32,
        "slots": [
            {"name": "red", "accepts": ["microtubules"]},
            {"name": "green", "accepts": ["protein"]},
            {"name": "blue", "accepts": ["nucleus"]},
        ],
        "normalization": {"mean": [0.3, 0.4, 0.5], "std": [0.2, 0.25, 0.3]},
        "outputs": [{"name": "cls"}, {"name": "mean", "pooling": "mean"}],
    }
    return TimmCard(**{**values, **changes})


def write_tiles(
    folder: Path, n_tiles: int = N_TILES, seed: int = 0, channels: int = 3, **attributes: Any
) -> Path:
    """Write a store of uint16 tiles that differ a lot; return its manifest."""
    rng = np.random.default_rng(seed)
    shape = (n_tiles, channels, 32, 32)
    tiles = rng.integers(0, 1000, shape) * rng.uniform(0.1, 3, (*shape[:2], 1, 1))
    return copy_tiles(tiles.astype(np.uint16), folder, **attributes)


def copy_tiles(tiles: np.ndarray, folder: Path, **attributes: Any) -> Path:
    """Write a store of these tiles [N, C, H, W]; return its manifest."""
    shape, channels = tiles.shape, tiles.shape[1]
    store = BlockStore.open_or_create(
        folder / "cells.zarr", format=TILES_FORMAT, array="images", fingerprint="tiles",
        shape=shape, dtype="uint16", block_rows=16,
        ids=[f"tile{i}" for i in range(len(tiles))],
        attributes={
            "channels": CHANNELS[:channels], "intensity_range": [[0, 3000]] * channels, **attributes
        },
    )  # fmt: skip
    for block, start, stop in store.blocks():
        store.write_block(block, tiles[start:stop])
    store.finish(folder / "cells.json")
    return folder / "cells.json"
