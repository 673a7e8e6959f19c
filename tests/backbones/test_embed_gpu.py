"""Embedding on a GPU; skipped where there is none: `pytest -m gpu` runs these alone."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tile_stores import SETTINGS, card, write_tiles
from transferscope.backbones import network_embedder
from transferscope.backbones.embed import embed
from transferscope.backbones.precision import LEAST_AGREEMENT, centred_cosine
from transferscope.backbones.reduced_tiles import reduce_tiles
from transferscope.backbones.resizing import interpolated, with_whole_matrices
from transferscope.config.compute import ComputeSettings
from transferscope.stores.embedding_store import EmbeddingStore

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU"),
]
STRATEGIES = ("replicate", "map", "adapt")
CUDA = SETTINGS.model_copy(update={"device": "cuda", "precision": "auto"})


def store_of(folder: Path, strategy: str, settings: ComputeSettings) -> EmbeddingStore:
    """Run the job of one strategy, and return its store."""
    tiles = folder / "cells.json" if (folder / "cells.json").exists() else write_tiles(folder)
    where = folder / settings.device
    also = {one: where / f"{one}.json" for one in STRATEGIES if one != strategy}
    manifest = where / f"{strategy}.json"
    embed(tiles, card(), strategy, manifest, settings, block_rows=16, also=also)
    return EmbeddingStore(manifest)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_store_of_a_gpu_is_that_of_the_processor_within_the_guard(
    tmp_path: Path, strategy: str
) -> None:
    found = store_of(tmp_path, strategy, CUDA).read()
    wanted = store_of(tmp_path, strategy, SETTINGS).read()
    agreement = centred_cosine(torch.from_numpy(wanted), torch.from_numpy(found))
    assert agreement >= LEAST_AGREEMENT


def test_all_strategies_are_one_pass_on_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_of(tmp_path, "replicate", CUDA)
    monkeypatch.setattr(network_embedder, "NetworkEmbedder", None)
    for strategy in STRATEGIES[1:]:
        assert len(store_of(tmp_path, strategy, CUDA)) == 40


def test_a_batch_that_does_not_fit_is_halved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = store_of(tmp_path / "whole", "map", CUDA).read()
    batch = network_embedder.NetworkEmbedder._batch

    def small(self: Any, raw: torch.Tensor, **siblings: Any) -> torch.Tensor:
        if len(raw) > 3:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return batch(self, raw, **siblings)

    monkeypatch.setattr(network_embedder.NetworkEmbedder, "_batch", small)
    halved = store_of(tmp_path / "halved", "map", CUDA).read()
    assert centred_cosine(torch.from_numpy(whole), torch.from_numpy(halved)) >= LEAST_AGREEMENT


@pytest.mark.parametrize("changes", [{"architecture": "resnet18", "arguments": {}}, {}])
def test_reduced_tiles_and_convolutions_are_those_of_the_processor(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    smaller = tmp_path / "reduced" / "cells.json"
    reduce_tiles(write_tiles(tmp_path), 16, smaller)
    outputs = [{"name": "mean", "pooling": "pool" if changes else "mean"}]
    backbone = card(**changes, input_size=16, outputs=outputs)
    values = []
    for settings in (SETTINGS, CUDA):
        manifest = tmp_path / settings.device / "map.json"
        embed(smaller, backbone, "map", manifest, settings)
        values.append(torch.from_numpy(EmbeddingStore(manifest).read()))
    assert centred_cosine(*values) >= LEAST_AGREEMENT


def test_tiles_are_resized_as_on_the_processor() -> None:
    pixels = torch.rand(4, 2, 600, 256)
    wanted = interpolated(pixels, (224, 224))
    found = with_whole_matrices(pixels.to("cuda"), 224).cpu()
    torch.testing.assert_close(found, wanted, rtol=0, atol=5e-6)
