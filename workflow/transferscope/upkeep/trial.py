"""A test of the whole embedding step: a few random tiles in a small random network."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from transferscope.backbones.embed import embed
from transferscope.cards import DatasetCard, TimmCard
from transferscope.config.compute import ComputeSettings
from transferscope.stores.embedding_store import EmbeddingStore
from transferscope.tiles.store import open_tile_store

CHANNELS = ["nucleus", "protein"]
NETWORK = {
    "name": "trial",
    "source": "timm",
    "architecture": "vit_tiny_patch16_224",
    "arguments": {"depth": 2, "embed_dim": 48, "num_heads": 3},
    "pretrained": False,
    "slots": [{"name": "red"}, {"name": "green"}, {"name": "blue"}],
    "input_size": 64,
}


@dataclass(frozen=True)
class Trial:
    """Result of a trial: seconds of the step, and the number formats that were used and tried."""

    seconds: float
    precision: str
    tried: str


def trial_embedding(folder: Path, count: int, side: int) -> Trial:
    """Write random tiles, embed them, and read the embeddings back.

    Parameters
    ----------
    folder
        An empty folder.
    count, side
        Number of tiles, and their side in px.
    """
    tiles, manifest = folder / "tiles.json", folder / "embeddings.json"
    _write_tiles(tiles, count, side)
    start = time.perf_counter()
    embed(tiles, TimmCard.model_validate(NETWORK), "replicate", manifest, ComputeSettings())
    seconds = time.perf_counter() - start
    store = EmbeddingStore(manifest)
    store.check()
    formats = (str(store.attributes[key]) for key in ("precision", "tried_precision"))
    return Trial(seconds, *formats)


def _write_tiles(manifest: Path, count: int, side: int) -> None:
    card = DatasetCard(name="trial", sheet=Path("none"), channels=CHANNELS, labels=["a", "b"])
    shape = len(CHANNELS), side, side
    store = open_tile_store(
        manifest,
        card,
        ids=[f"tile{number}" for number in range(count)],
        tile_shape=shape,
        dtype=np.dtype(np.uint16),
        pixel_size_um=None,
        made_from="trial",
    )
    rng = np.random.default_rng(0)
    for block, first, stop in store.missing():
        store.write_block(block, rng.integers(1, 4000, (stop - first, *shape), dtype=np.uint16))
    store.finish(manifest)
