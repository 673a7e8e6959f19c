from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from tile_stores import BF16, CHANNELS, N_TILES, SETTINGS, card, write_tiles
from transferscope.backbones import filling, network_embedder, readout
from transferscope.backbones.embed import embed, prefetched
from transferscope.backbones.embedder import Tiles, storage_dtype
from transferscope.backbones.filling import measured_tiles
from transferscope.backbones.neighbours import nearest
from transferscope.backbones.network_embedder import NetworkEmbedder
from transferscope.backbones.networks import build_backbone
from transferscope.backbones.precision import centred_cosine
from transferscope.backbones.preprocessing import Preprocessor
from transferscope.backbones.readout import in_precision
from transferscope.cards import HandcraftedCard, TimmCard
from transferscope.cards import network as network_cards
from transferscope.channels.assignment import assign, strategies_for
from transferscope.config.channel_strategies import store_strategy
from transferscope.errors import Problem, UserError
from transferscope.stores.block_store import BlockStore
from transferscope.stores.embedding_store import EmbeddingStore
from transferscope.stores.manifest import TILES_FORMAT, Manifest
from transferscope.stores.tile_store import TileStore


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    return write_tiles(tmp_path)


def embedded(
    tiles: Path, wanted: Any = None, strategy: str = "replicate", name: str = "e", **changes: Any
) -> EmbeddingStore:
    manifest = tiles.parent / f"{name}.json"
    settings = changes.pop("settings", SETTINGS)
    embed(tiles, wanted or card(), strategy, manifest, settings, block_rows=16, **changes)
    return EmbeddingStore(manifest)


def by_hand(
    tiles: Path, order: list[str | None], wanted: TimmCard | None = None
) -> list[np.ndarray]:
    """Return the outputs for channels fed by hand, without the package's preprocessing."""
    wanted = wanted or card()
    raw = TileStore(tiles).read(0, N_TILES).astype(np.float32) / 3000
    x = np.zeros((N_TILES, 3, 32, 32), dtype=np.float32)
    for slot, channel in enumerate(order):
        if channel is not None:
            mean, std = (getattr(wanted.normalization, k)[slot] for k in ("mean", "std"))
            x[:, slot] = (raw[:, CHANNELS.index(channel)].clip(0, 1) - mean) / std
    with torch.inference_mode():
        return [v.numpy() for v in build_backbone(wanted, Path("x.yaml"))(torch.from_numpy(x))]


def test_map_equals_feeding_the_slots_by_hand_with_exact_zeros(tiles: Path) -> None:
    store = embedded(tiles, strategy="map")
    for output, expected in zip(
        ("cls", "mean"), by_hand(tiles, [None, "protein", "nucleus"]), strict=True
    ):
        np.testing.assert_allclose(store.read(output), expected, rtol=2e-3, atol=2e-3)
    assert store.attributes["slots"] == [{"red": None, "green": "protein", "blue": "nucleus"}]
    assert store.attributes["dropped_channels"] == ["er"]
    assert store.tile_ids[:2] == ["tile0", "tile1"]


def test_replicate_equals_separate_passes_concatenated(tiles: Path) -> None:
    store = embedded(tiles)
    passes = [by_hand(tiles, [channel] * 3) for channel in CHANNELS]
    for i, output in enumerate(("cls", "mean")):
        expected = np.concatenate([p[i] for p in passes], axis=1)
        np.testing.assert_allclose(store.read(output), expected, rtol=2e-3, atol=2e-3)
    average = np.mean([p[0] for p in passes], axis=0)
    found = store.read("cls", "mean")
    np.testing.assert_allclose(found, average, rtol=2e-3, atol=2e-3)
    for channel, one in zip(CHANNELS, passes, strict=True):
        found = store.read("mean", f"only-{channel}")
        np.testing.assert_allclose(found, one[1], rtol=2e-3, atol=2e-3)
    assert [c.channel for c in store.columns] == [c for c in CHANNELS for _ in range(2)]
    assert store.array.chunks == (16, 48)


def test_a_random_order_follows_the_seed_in_its_name(tiles: Path) -> None:
    stores = [
        embedded(tiles, strategy=f"map-random-{seed}", name=f"e{i}")
        for i, seed in enumerate((0, 0, 1, 2, 3))
    ]
    assert stores[0].manifest == stores[1].manifest
    assert len({json.dumps(s.attributes["slots"]) for s in stores}) > 1


def test_an_empty_slot_adds_exactly_nothing(tiles: Path) -> None:
    """The weights of an empty slot may be anything, for they meet exact zeros."""
    wanted = card()
    network = build_backbone(wanted, Path("x.yaml"))
    with torch.inference_mode():
        x = torch.rand(4, 3, 32, 32)
        x[:, 0] = 0
        expected = network(x)
        projection = network.network.patch_embed.proj
        changed = projection.weight.clone()
        changed[:, 0] = torch.rand_like(changed[:, 0])
        projection.weight = torch.nn.Parameter(changed, requires_grad=False)
        np.testing.assert_array_equal(network(x)[0], expected[0])
        # The slot can be taken away altogether.
        projection.weight = torch.nn.Parameter(changed[:, 1:], requires_grad=False)
        torch.testing.assert_close(network(x[:, 1:]), expected, rtol=1e-5, atol=1e-5)
    zeros = Preprocessor(
        CHANNELS, TileStore(tiles).intensity_range, 32, wanted.normalization, 3
    ).fill(torch.rand(4, 3, 32, 32), assign("map", CHANNELS, wanted.slots).passes[0])[:, 0]
    assert not zeros.any()


def test_map_equals_timm_fed_by_hand(tiles: Path) -> None:
    store = embedded(tiles, strategy="map")
    wanted = card()
    model = timm.create_model(wanted.architecture, num_classes=0, img_size=32, **wanted.arguments)
    model.load_state_dict(build_backbone(wanted, Path("x.yaml")).network.state_dict())
    raw = TileStore(tiles).read(0, N_TILES).astype(np.float32) / 3000
    x = torch.zeros(N_TILES, 3, 32, 32)
    for slot, channel in ((1, "protein"), (2, "nucleus")):
        mean, std = wanted.normalization.mean[slot], wanted.normalization.std[slot]
        x[:, slot] = torch.from_numpy((raw[:, CHANNELS.index(channel)].clip(0, 1) - mean) / std)
    with torch.inference_mode():
        expected = model.eval()(x).numpy()
    np.testing.assert_allclose(store.read("cls"), expected, rtol=2e-3, atol=2e-3)


def test_adapt_equals_timm_s_own_adaptation(tiles: Path, tmp_path: Path) -> None:
    """Timm loads a file of three channels into a network of two, and adapts it on its way."""
    wanted = card()
    state = build_backbone(wanted, Path("x.yaml")).network.state_dict()
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "rgb.safetensors")
    model = timm.create_model(
        wanted.architecture,
        pretrained=True,
        pretrained_cfg_overlay={"file": str(tmp_path / "rgb.safetensors"), "num_classes": 0},
        in_chans=2,
        num_classes=0,
        img_size=32,
        **wanted.arguments,
    )
    two = write_tiles(tmp_path / "two", channels=2)
    store = embedded(two, wanted, "adapt")
    raw = torch.from_numpy(TileStore(two).read(0, N_TILES).astype(np.float32) / 3000).clip(0, 1)
    mean, std = (
        torch.tensor(values[:2])[:, None, None]
        for values in (wanted.normalization.mean, wanted.normalization.std)
    )
    with torch.inference_mode():
        expected = model.eval()((raw - mean) / std).numpy()
    np.testing.assert_allclose(store.read("cls"), expected, rtol=2e-3, atol=2e-3)
    assert store.attributes["slots"] == [{"nucleus": "nucleus", "protein": "protein"}]
    assert store.attributes["adapted_from"] == {"nucleus": ["red"], "protein": ["green"]}
    assert store.attributes["normalization"]["mean"] == [0.3, 0.4]


class Anything(torch.nn.Module):
    """A network for any channels: each is a token of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.linspace(0.5, 2, 4))

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        tokens = images.mean(dim=(2, 3))[..., None] * self.weight
        return torch.cat([tokens.sum(dim=1, keepdim=True), tokens], dim=1)


def test_a_network_for_any_channels_sees_all_of_them_at_once(
    tiles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = card(
        slots=[{"name": "any"}], normalization={"kind": "none"}, outputs=[{"name": "cls"}]
    )
    monkeypatch.setattr(network_cards, "CHANNEL_AGNOSTIC", {wanted.architecture})
    monkeypatch.setattr(network_embedder, "check_built", lambda *_: [])
    monkeypatch.setattr(
        network_embedder,
        "build_backbone",
        lambda card, *_: readout.Backbone(Anything(), card.outputs).eval(),
    )
    store = embedded(tiles, wanted, "agnostic")
    raw = (TileStore(tiles).read(0, N_TILES).astype(np.float64) / 3000).clip(0, 1)
    expected = raw.mean(axis=(2, 3)).sum(axis=1)[:, None] * np.linspace(0.5, 2, 4)
    np.testing.assert_allclose(store.read(), expected, rtol=2e-3, atol=2e-3)
    assert store.attributes["slots"] == [{channel: channel for channel in CHANNELS}]
    alone = embedded(tiles, wanted, "replicate", name="alone")
    assert alone.attributes["slots"] == [{channel: channel} for channel in CHANNELS]


def test_replicate_mean_and_single_channels_cost_one_replicate(
    tiles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requested = ["replicate", "mean", *(f"only-{channel}" for channel in CHANNELS)]
    served, refused = strategies_for(card(), requested, CHANNELS)
    assert (served, refused) == (requested, {})
    images = []
    forward = readout.Backbone.forward
    monkeypatch.setattr(
        readout.Backbone,
        "forward",
        lambda self, x, *filled: images.append(len(x)) or forward(self, x, *filled),
    )
    passes = {}
    for strategy in dict.fromkeys(map(store_strategy, served)):
        embedded(tiles, strategy=strategy, name=strategy)
        passes[strategy] = sum(images)
    blank, sample = 1, 8  # the check before the first tile, and the tiles that decide a format
    assert passes == {"replicate": blank + len(CHANNELS) * (sample + N_TILES)}


def test_the_store_says_how_it_was_made(tiles: Path) -> None:
    attributes = embedded(tiles, settings=BF16).attributes
    expected = {
        "backbone": "tiny", "card_fingerprint": card().fingerprint(), "strategy": "replicate",
        "input_size": 32, "precision": "bf16", "requested_precision": "bf16", "protocol": 1,
        "tiles_sha256": Manifest.read(tiles, TILES_FORMAT).content_sha256,
        "layers": {"cls": None, "mean": None},
    }  # fmt: skip
    assert {key: attributes[key] for key in expected} == expected
    assert len(attributes["weights_sha256"]) == 64
    assert 0.99 <= attributes["centred_cosine"] <= 1


def test_the_store_says_what_its_number_format_does_to_neighbours(
    tiles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted again over the same tiles, in a store of fp32 that rounds nothing."""
    store = embedded(tiles, settings=BF16)
    assert store.attributes["dtype"] == "float16"
    monkeypatch.setattr(network_embedder, "storage_dtype", lambda _: "float32")
    exact = embedded(tiles, name="exact")
    n_measured = measured_tiles(N_TILES)
    rows = np.linspace(0, N_TILES - 1, n_measured).round().astype(int)
    for output in ("cls", "mean"):
        for strategy in ("replicate", "mean", "only-er"):
            found = store.number_format(output, strategy)
            one, other = (nearest(each.read(output, strategy)[rows]) for each in (exact, store))
            assert found is not None
            assert found["same_nearest"] == np.sum(one[:, 0] == other[:, 0]) > n_measured / 2
            shared = [np.isin(a, b).mean() for a, b in zip(one, other, strict=True)]
            assert found["overlap"] == pytest.approx(np.mean(shared))
            assert (found["precision"], found["dtype"]) == ("bf16", "float16")
            assert found["n_tiles"] == n_measured
    assert store.number_format(None, "replicate") == store.number_format("cls", "replicate")
    assert store.number_format("cls", "map") is None


def test_in_fp32_no_neighbours_are_measured(tiles: Path) -> None:
    store = embedded(tiles)
    assert store.attributes["neighbours_kept"] == []
    assert store.number_format("cls", "replicate") is None


def test_what_is_measured_costs_one_tile_in_a_hundred(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [measured_tiles(n) for n in (5, 3_200, 20_000, 10**6)] == [5, 32, 200, 256]
    rows = []
    call = network_embedder.NetworkEmbedder.__call__
    monkeypatch.setattr(
        network_embedder.NetworkEmbedder,
        "__call__",
        lambda self, raw: rows.append(len(raw)) or call(self, raw),
    )
    monkeypatch.setattr(filling, "PART_TILES", 12)
    settings = BF16.model_copy(update={"batch_size": 40})
    embedded(write_tiles(tmp_path), strategy="map", settings=settings)
    # The guard in both formats, then the sample in parts in both, then all tiles, by block.
    assert rows == [8, 8, 12, 12, 12, 12, 8, 8, 16, 16, 8]


def test_reduced_precision_agrees_with_fp32_over_the_whole_store(tiles: Path) -> None:
    exact = embedded(tiles, strategy="map", name="exact").read("mean")
    fast = embedded(tiles, strategy="map", name="fast", settings=BF16).read("mean")
    assert centred_cosine(torch.from_numpy(exact), torch.from_numpy(fast)) > 0.99


def test_the_guard_takes_over_where_the_fast_path_is_wrong(
    tiles: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A fast path that swaps features, as a broken convolution does, must not reach the store."""
    healthy = embedded(tiles, strategy="map", name="healthy").read()

    def broken(backbone: Any, dtype: torch.dtype) -> Any:
        reduced = in_precision(backbone, dtype)
        project = reduced.network.patch_embed.proj
        project.weight = torch.nn.Parameter(project.weight.flip(0), requires_grad=False)
        return reduced

    monkeypatch.setattr(network_embedder, "in_precision", broken)
    store = embedded(tiles, strategy="map", name="guarded", settings=BF16)
    assert store.attributes["precision"] == "fp32"
    assert store.attributes["tried_precision"] == "bf16"
    assert store.attributes["centred_cosine"] < 0.99
    assert store.attributes["neighbours_kept"] == []
    assert "fp32 takes over" in caplog.text
    np.testing.assert_array_equal(store.read(), healthy)


def test_batch_size_and_threads_change_nothing_that_matters(tiles: Path) -> None:
    first = embedded(tiles, name="a").read()
    other = SETTINGS.model_copy(update={"batch_size": 3, "threads": 1})
    np.testing.assert_allclose(embedded(tiles, name="b", settings=other).read(), first, atol=2e-3)


def files_of(folder: Path) -> dict[str, bytes]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


KILLED = """
import os, signal, sys
from pathlib import Path
from tile_stores import BF16, card
from transferscope.backbones.embed import embed
from transferscope.stores.block_store import BlockStore
write, blocks = BlockStore.write_block, []
def write_block(self, block, values, source):
    if len(blocks) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    blocks.append(block)
    write(self, block, values, source)
BlockStore.write_block = write_block
tiles = Path(sys.argv[1])
embed(tiles, card(), "replicate", tiles.parent / "killed.json", BF16, block_rows=16)
"""


def test_a_killed_job_resumes_to_the_same_bits(
    tiles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-c", KILLED, str(tiles)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL
    assert not (tiles.parent / "killed.json").exists()

    rows = []
    call = network_embedder.NetworkEmbedder.__call__
    monkeypatch.setattr(
        network_embedder.NetworkEmbedder,
        "__call__",
        lambda self, raw: rows.append(len(raw)) or call(self, raw),
    )
    embedded(tiles, name="killed", settings=BF16)
    assert sum(rows) == 8  # the last block alone; no sample either, because it was decided before
    embedded(tiles, name="whole", settings=BF16)
    assert files_of(tiles.parent / "killed.zarr") == files_of(tiles.parent / "whole.zarr")
    one, other = ((tiles.parent / f"{n}.json").read_bytes() for n in ("killed", "whole"))
    assert one == other


@pytest.mark.parametrize(
    ("changes", "settings"),
    [
        ({"seed": 1}, SETTINGS),
        ({"normalization": {"kind": "self"}}, SETTINGS),
        ({}, SETTINGS.model_copy(update={"precision": "bf16"})),
    ],
)
def test_another_card_or_precision_starts_over(tiles: Path, changes: dict, settings: Any) -> None:
    before = embedded(tiles).manifest
    after = embedded(tiles, card(**changes), settings=settings).manifest
    assert after.fingerprint != before.fingerprint
    assert after.content_sha256 != before.content_sha256


def test_other_tiles_start_over(tmp_path: Path) -> None:
    before = embedded(write_tiles(tmp_path / "a")).manifest
    after = embedded(write_tiles(tmp_path / "b", seed=1)).manifest
    assert after.fingerprint != before.fingerprint


def test_where_batches_and_threads_change_nothing_is_done_again(
    tiles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = embedded(tiles).manifest
    monkeypatch.setattr(network_embedder.NetworkEmbedder, "_batch", None)
    other = SETTINGS.model_copy(update={"batch_size": 4, "threads": 1})
    assert embedded(tiles, settings=other).manifest == before


def test_embeddings_that_are_not_finite_name_their_tiles(
    tiles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = network_embedder.NetworkEmbedder._batch
    seen = []

    def broken(self: Any, raw: torch.Tensor) -> torch.Tensor:
        found = batch(self, raw)
        seen.append(len(raw))
        if len(seen) == 5:
            found = found.clone()
            found[1, 0] = torch.nan
        return found

    one_thread = SETTINGS.model_copy(update={"threads": 1})
    monkeypatch.setattr(network_embedder.NetworkEmbedder, "_batch", broken)
    # One batch is the sample; the fifth call is the fourth batch of eight tiles.
    with pytest.raises(UserError, match="not finite: tile25") as caught:
        embedded(tiles, settings=one_thread)
    assert "tile24" not in str(caught.value)
    assert not (tiles.parent / "e.json").exists()


def test_out_of_gpu_memory_halves_the_batch_and_loses_nothing(
    tiles: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = TileStore(tiles)
    embedder = network_embedder.NetworkEmbedder(
        card(), Path("x.yaml"), source.channels, source.intensity_range,
        assign("map", source.channels, card().slots), SETTINGS,
    )  # fmt: skip
    batch = network_embedder.NetworkEmbedder._batch

    def small_gpu(self: Any, raw: torch.Tensor) -> torch.Tensor:
        if len(raw) > 3:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return batch(self, raw)

    monkeypatch.setattr(network_embedder.NetworkEmbedder, "_batch", small_gpu)
    raw = source.read(0, 13)
    found = torch.cat(embedder._batches_on_gpu(torch.from_numpy(raw)))
    assert embedder.batch_size == 2
    assert "batch of 2" in caplog.text
    monkeypatch.setattr(network_embedder.NetworkEmbedder, "_batch", batch)
    wanted = embedder.collected([embedder(raw)])
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-4)
    embedder.batch_size = 1
    with pytest.raises(UserError, match="does not fit"):
        embedder._halve_batch()
    embedder.close()


def test_the_handcrafted_baseline_fills_a_store_with_named_columns(tiles: Path) -> None:
    baseline = HandcraftedCard(source="handcrafted", name="handcrafted", families=["intensity"])
    store = embedded(tiles, baseline, "features")
    assert store.array.dtype == np.float32
    assert len(store.attributes["feature_names"]) == store.read().shape[1] == 36
    raw = (TileStore(tiles).read(0, N_TILES) / 3000).clip(0, 1)
    column = store.attributes["feature_names"].index("intensity_er_mean")
    np.testing.assert_allclose(store.read()[:, column], raw[:, 2].mean(axis=(1, 2)), rtol=1e-4)


def test_a_physical_scale_sizes_the_input_by_the_tiles(tmp_path: Path) -> None:
    source = write_tiles(tmp_path, pixel_size_um=0.5)
    store = embedded(source, card(scale="physical", pixel_size_um=0.25), "map")
    assert store.attributes["input_size"] == 64
    assert store.attributes["tile_pixel_size_um"] == 0.5
    expected = embedded(source, card(input_size=64), "map", name="by_size")
    assert store.read().shape == expected.read().shape
    np.testing.assert_array_equal(store.read(), expected.read())


def test_a_physical_scale_of_unknown_tiles_is_refused(tiles: Path) -> None:
    with pytest.raises(UserError, match="theirs is not known"):
        embedded(tiles, card(scale="physical", pixel_size_um=0.25), "map")


def test_a_channel_that_fits_nowhere_is_explained(tiles: Path) -> None:
    with pytest.raises(UserError, match="fits a slot"):
        embedded(tiles, card(slots=[{"name": "brightfield"}], normalization={}), "map")


def test_a_gpu_that_is_not_there_is_explained(tiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="finds none"):
        embedded(tiles, settings=SETTINGS.model_copy(update={"device": "cuda"}))


def test_float16_is_used_only_where_it_keeps_the_differences_between_tiles() -> None:
    rng = np.random.default_rng(0)
    spread = rng.normal(size=(16, 32)).astype(np.float32)
    assert storage_dtype(spread) == "float16"
    assert storage_dtype(1000 + spread) == "float32"
    assert storage_dtype(1 + 1e-3 * spread) == "float32"
    assert storage_dtype(spread * 1e-7) == "float32"
    assert storage_dtype(spread * 1e4) == "float32"


def test_a_block_is_written_while_the_next_one_is_computed(
    tiles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computing = threading.Event()
    seen = []
    second = TileStore(tiles).read(8, 16)
    call, write = NetworkEmbedder.__call__, BlockStore.write_block

    def called(self: NetworkEmbedder, raw: Tiles, *siblings: Any) -> Any:
        if np.array_equal(raw, second):
            computing.set()
        return call(self, raw, *siblings)

    def written(self: BlockStore, block: int, *args: Any) -> None:
        if block == 0:
            seen.append(computing.wait(60))
        write(self, block, *args)

    monkeypatch.setattr(NetworkEmbedder, "__call__", called)
    monkeypatch.setattr(BlockStore, "write_block", written)
    embed(tiles, card(), "map", tiles.with_name("e.json"), SETTINGS, block_rows=8)
    assert seen == [True]


def test_a_block_that_cannot_be_written_ends_the_job_and_the_next_goes_on(
    tiles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, manifest = BlockStore.write_block, tiles.with_name("e.json")
    blocks: list[int] = []

    def full(self: BlockStore, block: int, *args: Any) -> None:
        if block == 2:
            raise UserError(Problem("disk", "is full"))
        blocks.append(block)
        write(self, block, *args)

    monkeypatch.setattr(BlockStore, "write_block", full)
    with pytest.raises(UserError, match="is full"):
        embed(tiles, card(), "map", manifest, SETTINGS, block_rows=8)
    assert not manifest.exists()
    assert blocks == [0, 1]
    monkeypatch.setattr(BlockStore, "write_block", write)
    embed(tiles, card(), "map", manifest, SETTINGS, block_rows=8)
    alone = tiles.with_name("alone.json")
    embed(tiles, card(), "map", alone, SETTINGS, block_rows=8)
    assert np.array_equal(EmbeddingStore(manifest).read(), EmbeddingStore(alone).read())


def test_reading_is_one_item_ahead_and_in_order() -> None:
    read: list[int] = []

    def slow(item: int) -> int:
        read.append(item)
        return item * 10

    found = []
    for value in prefetched(slow, range(5)):
        found.append(value)
        assert len(read) <= len(found) + 1
    assert found == [0, 10, 20, 30, 40]
