"""From a checkpoint file to an embedding store, for networks that are fed in ways of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import reference_networks as reference
from checkpoint_files import (
    Values,
    card_for,
    channelvit_file,
    phenom_file,
    phenom_positions,
    phenom_state,
    save,
    vit_state,
)
from transferscope.backbones.embed import embed
from transferscope.cards import FileCard
from transferscope.config.compute import ComputeSettings
from transferscope.stores.block_store import BlockStore
from transferscope.stores.embedding_store import EmbeddingStore
from transferscope.stores.manifest import TILES_FORMAT
from transferscope.stores.tile_store import TileStore

CHANNELS = ["nucleus", "protein", "er"]
N_TILES = 20
SETTINGS = ComputeSettings(device="cpu", precision="fp32", batch_size=8, threads=2)
PLAIN = {"kind": "none"}


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    """Write a tile store of uint16 tiles [n, 3, 32, 32] that differ a lot; return its manifest."""
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 1000, (N_TILES, 3, 32, 32)) * rng.uniform(0.1, 3, (N_TILES, 3, 1, 1))
    store = BlockStore.open_or_create(
        tmp_path / "cells.zarr", format=TILES_FORMAT, array="images", fingerprint="tiles",
        shape=raw.shape, dtype="uint16", block_rows=N_TILES,
        ids=[f"tile{i}" for i in range(N_TILES)],
        attributes={"channels": CHANNELS, "intensity_range": [[0, 3000]] * 3},
    )  # fmt: skip
    store.write_block(0, raw.astype(np.uint16))
    store.finish(tmp_path / "cells.json")
    return tmp_path / "cells.json"


def normed(tiles: Path) -> Tensor:
    """Return the tiles as the network sees them: their range of 0 to 3,000 becomes 0 to 1."""
    raw = TileStore(tiles).read(0, N_TILES).astype(np.float32) / 3000
    return torch.from_numpy(raw.clip(0, 1))


def embedded(tiles: Path, card: FileCard, strategy: str, **changes: Any) -> EmbeddingStore:
    manifest = tiles.parent / f"{strategy}.json"
    settings = SETTINGS.model_copy(update=changes)
    embed(tiles, card, strategy, manifest, settings, block_rows=16)
    return EmbeddingStore(manifest)


def channelvit_card(folder: Path, state: dict[str, Tensor]) -> FileCard:
    slots = [{"name": "protein"}, {"name": "brightfield"}, {"name": "nucleus"}]
    path = save(state, folder / "channelvit.pth")
    return card_for(path, slots=slots, normalization=PLAIN)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_slot_that_map_leaves_empty_has_no_tokens(tiles: Path, precision: Any) -> None:
    state = channelvit_file(vit_state(patch_dimensions=3, patch=8, side=4), 3, table=True)
    store = embedded(tiles, channelvit_card(tiles.parent, state), "map", precision=precision)
    x = normed(tiles)
    fed = x[:, [CHANNELS.index("protein"), CHANNELS.index("nucleus")]]
    tokens = reference.channel_vit(state, fed, [0, 2], heads=1)
    tolerance = 2e-3 if precision == "fp32" else 0.1
    expected = tokens[:, 1:].mean(dim=1).numpy()
    np.testing.assert_allclose(store.read("mean"), expected, rtol=tolerance, atol=tolerance)
    assert store.attributes["slots"] == [
        {"protein": "protein", "brightfield": None, "nucleus": "nucleus"}
    ]
    # An empty slot that were zero instead would be seen, and would change every embedding.
    zeros = torch.stack([fed[:, 0], torch.zeros_like(fed[:, 0]), fed[:, 1]], dim=1)
    zeroed = reference.channel_vit(state, zeros, [0, 1, 2], heads=1)[:, 1:].mean(dim=1)
    assert np.abs(zeroed.numpy() - expected).max() > 0.2


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_channel_agnostic_network_sees_every_channel_at_once(tiles: Path, precision: Any) -> None:
    state = phenom_state(patch=8, side=4)
    path = save(phenom_file(state), tiles.parent / "model.safetensors")
    card = card_for(path, normalization=PLAIN)
    store = embedded(tiles, card, "agnostic", precision=precision)
    fitted = {**state, "pos_embed": phenom_positions(4, 64, len(CHANNELS))}
    tokens = reference.channel_agnostic_mae(fitted, normed(tiles), heads=2)
    expected = tokens[:, 1:].mean(dim=1).numpy()
    scale = float(np.abs(expected).max()) * (2e-3 if precision == "fp32" else 0.05)
    np.testing.assert_allclose(store.read("mean"), expected, rtol=0, atol=scale)


def test_the_store_knows_the_weights_and_a_changed_file_starts_over(tiles: Path) -> None:
    state = channelvit_file(vit_state(patch_dimensions=3, patch=8, side=4), 3, table=True)
    card = channelvit_card(tiles.parent, state)
    first = embedded(tiles, card, "map")
    before, sha256 = first.read("cls"), first.attributes["weights_sha256"]
    again = embedded(tiles, card, "map")
    np.testing.assert_array_equal(again.read("cls"), before)
    state["patch_embed.channel_embed.weight"] = Values(9)(3, 64)
    changed = embedded(tiles, channelvit_card(tiles.parent, state), "map")
    assert changed.attributes["weights_sha256"] != sha256
    assert np.abs(changed.read("cls") - before).max() > 0.1
