"""Tiles that are kept once more, smaller: the same to a network, a few times less to read."""

import shutil
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import TypeAdapter
from torch.nn import functional

from tile_stores import CHANNELS, SETTINGS, card
from transferscope.backbones.embed import embed
from transferscope.backbones.reduced_tiles import BLACK, HIGHEST, WHITE, reduce_tiles
from transferscope.cards import BackboneCard
from transferscope.cards.lookup import SHIPPED
from transferscope.config.model import read_yaml
from transferscope.errors import UserError
from transferscope.stores.block_store import BlockStore
from transferscope.stores.embedding_store import EmbeddingStore
from transferscope.stores.manifest import TILES_FORMAT, store_of
from transferscope.stores.tile_store import TileStore

LOW, HIGH = 100.0, 3000.0
N_TILES, SIDE = 24, 32


def write_store(manifest: Path, tiles: np.ndarray, **attributes: Any) -> Path:
    """Write a store of tiles [N, C, H, W]; return its manifest."""
    n_channels = tiles.shape[1]
    said = {
        "dataset": "cells",
        "channels": CHANNELS[:n_channels],
        "pixel_size_um": 0.5,
        "intensity_range": [[LOW, HIGH]] * n_channels,
        **attributes,
    }
    store = BlockStore.open_or_create(
        store_of(manifest), format=TILES_FORMAT, array="images", fingerprint="tiles",
        shape=tiles.shape, dtype=tiles.dtype, block_rows=10,
        ids=[f"tile{i}" for i in range(len(tiles))], attributes=said,
    )  # fmt: skip
    for block, start, stop in store.blocks():
        store.write_block(block, tiles[start:stop])
    store.finish(manifest)
    return manifest


def drawn(n_tiles: int = N_TILES, size: tuple[int, int] = (96, 96), seed: int = 0) -> np.ndarray:
    """Return uint16 tiles [N, 3, H, W] of discs on a dark ground, some hot pixels among them."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    tiles = np.full((n_tiles, 3, *size), 150.0)
    for tile in tiles.reshape(-1, *size):
        for _ in range(int(rng.integers(2, 9))):
            place = rng.uniform(0, size[0]), rng.uniform(0, size[1])
            tile += rng.uniform(200, 2500) * (
                np.hypot(y - place[0], x - place[1]) < rng.uniform(3, 20)
            )
        tile[rng.integers(size[0]), rng.integers(size[1])] = 60_000
    return rng.poisson(tiles).clip(0, 65_535).astype(np.uint16)


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    return write_store(tmp_path / "tiles" / "cells.json", drawn())


def reduced(tiles: Path, side: int = SIDE, workers: int = 1) -> TileStore:
    manifest = tiles.parents[1] / f"reduced{side}" / tiles.name
    reduce_tiles(tiles, side, manifest, workers)
    return TileStore(manifest)


def shown(store: TileStore) -> np.ndarray:
    """Return reduced tiles on a scale from black to white."""
    low, high = np.moveaxis(store.intensity_range, -1, 0)[:, None, :, None, None]
    return np.asarray((store.read(0, len(store)) - low) / (high - low))


def expected(tiles: np.ndarray, side: int, limits: tuple[float, float] = (LOW, HIGH)) -> np.ndarray:
    """Return what torch makes of tiles: the plain way, in double precision."""
    low, high = limits
    pixels = (torch.from_numpy(tiles.astype(np.float64)).clamp(low, high) - low) / (high - low)
    return functional.interpolate(pixels, (side, side), mode="bicubic", antialias=True).numpy()


@pytest.mark.parametrize("size", [(96, 96), (64, 90), (300, 300)])
def test_each_tile_is_what_torch_makes_of_it_rounded(size: tuple[int, int], tmp_path: Path) -> None:
    tiles = drawn(5, size)
    store = reduced(write_store(tmp_path / "tiles" / "cells.json", tiles))
    assert np.abs(shown(store) - expected(tiles, SIDE)).max() < 0.6 / (WHITE - BLACK)


@settings(deadline=None, max_examples=40)
@given(
    arrays(np.uint8, (2, 1, 32, 40), elements=st.sampled_from([0, 3, 39, 41, 249, 255])),
    st.sampled_from([(0.0, 255.0), (40.0, 41.0), (250.0, 255.0), (0.0, 3.0), (7.0, 7.0)]),
)
def test_what_the_filter_makes_of_any_tile_has_a_level(
    tmp_path_factory: pytest.TempPathFactory, tiles: np.ndarray, limits: tuple[float, float]
) -> None:
    folder = tmp_path_factory.mktemp("levels")
    manifest = write_store(folder / "tiles" / "cells.json", tiles, intensity_range=[list(limits)])
    found = shown(reduced(manifest, 16))
    low, high = limits
    plain = expected(tiles, 16, limits) if high > low else np.zeros_like(found)
    assert np.abs(found - plain).max() < 0.6 / (WHITE - BLACK)


@pytest.mark.parametrize("length", [32, 33, 40, 47, 64, 100, 600, 2048])
def test_no_tile_can_overshoot_the_levels(length: int) -> None:
    # Of all tiles from 0 to 1, the one that is white where a weight is positive overshoots most.
    pixels = torch.eye(length, dtype=torch.float64)[None, None]
    size = (16, length)
    weights = functional.interpolate(pixels, size, mode="bicubic", antialias=True)[0, 0]
    above = weights.clamp(min=0).sum(1).max().item()
    most = above**2 + (above - 1) ** 2
    assert most < (HIGHEST - BLACK) / (WHITE - BLACK)
    assert 1 - most > (0 - BLACK) / (WHITE - BLACK)


def test_it_says_what_it_is_of_and_so_do_embeddings_of_it(tiles: Path, tmp_path: Path) -> None:
    store, whole = reduced(tiles), TileStore(tiles)
    assert store.tile_ids == whole.tile_ids
    assert store.channels == whole.channels
    assert store.pixel_size_um == 0.5 * 96 / SIDE
    assert store.reduced_to == SIDE
    assert whole.reduced_to is None
    manifest = tmp_path / "embeddings" / "map.json"
    embed(Path(store.manifest_path), card(), "map", manifest, SETTINGS)
    said = EmbeddingStore(manifest).attributes
    assert said["reduced_to"] == SIDE
    assert said["dataset"] == "cells"
    # Whoever compares stores of one dataset compares the tiles as they were cut.
    of_whole = {key: said.pop(key) for key in whole.origin}
    assert of_whole == whole.origin
    assert of_whole["tile_size"] == [96, 96]


def test_a_network_sees_nearly_what_it_sees_of_whole_tiles(tiles: Path, tmp_path: Path) -> None:
    values = {}
    for name, manifest in {"whole": tiles, "reduced": Path(reduced(tiles).manifest_path)}.items():
        target = tmp_path / name / "map.json"
        embed(manifest, card(), "map", target, SETTINGS)
        values[name] = EmbeddingStore(target).read("cls", "map")
    assert centred(values["whole"], values["reduced"]).min() > 0.9999


def centred(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the cosine of each row of two matrices, less the mean of the first."""
    first, second = (values - values.mean(axis=0) for values in (first, second))
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return np.asarray((first * second).sum(axis=1) / lengths)


def test_threads_and_a_kill_change_no_byte(tiles: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("transferscope.backbones.reduced_tiles.REDUCED_BYTES", 3 * 96 * 96 * 3 * 2)
    monkeypatch.setattr("transferscope.tiles.store.BLOCK_BYTES", 7 * 3 * SIDE**2 * 2)
    once = reduced(tiles)
    assert once.blocks == 4
    path = tmp_path / "again" / "cells.json"

    written = BlockStore.write_block

    def cut(store: BlockStore, block: int, *args: Any) -> None:
        if block == 2:
            raise KeyboardInterrupt
        written(store, block, *args)

    monkeypatch.setattr(BlockStore, "write_block", cut)
    with pytest.raises(KeyboardInterrupt):
        reduce_tiles(tiles, SIDE, path, 3)
    assert not path.exists()
    blocks: list[int] = []

    def counted(store: BlockStore, block: int, *args: Any) -> None:
        blocks.append(block)
        written(store, block, *args)

    monkeypatch.setattr(BlockStore, "write_block", counted)
    reduce_tiles(tiles, SIDE, path, 2)
    assert blocks == [2, 3]
    assert path.read_bytes() == Path(once.manifest_path).read_bytes()
    assert TileStore(path).sums() == once.sums()


def test_other_tiles_another_range_or_side_make_it_anew(tiles: Path, tmp_path: Path) -> None:
    path = tmp_path / "reduced" / "cells.json"
    reduce_tiles(tiles, SIDE, path)
    before = {TileStore(path).content_sha256}
    others = ((drawn(seed=1), {}), (drawn(), {"intensity_range": [[0.0, 500.0]] * 3}))
    for values, said in others:
        shutil.rmtree(tiles.parent)
        write_store(tiles, values, **said)
        reduce_tiles(tiles, SIDE, path)
        assert TileStore(path).content_sha256 not in before
        before.add(TileStore(path).content_sha256)
        assert TileStore(path).origin["tiles_sha256"] == TileStore(tiles).content_sha256
    reduce_tiles(tiles, 40, path)
    assert TileStore(path).reduced_to == 40


def test_tiles_that_are_hardly_larger_or_reduced_already_are_refused(tiles: Path) -> None:
    with pytest.raises(UserError, match="not twice as large as 49 px"):
        reduce_tiles(tiles, 49, tiles.with_name("reduced.json"))
    assert not tiles.with_name("reduced.json").exists()
    once = reduced(tiles)
    with pytest.raises(UserError, match="reduced already"):
        reduce_tiles(Path(once.manifest_path), 16, tiles.with_name("twice.json"))


def test_a_damaged_tile_is_named_and_nothing_is_finished(tiles: Path) -> None:
    chunk = next(path for path in (store_of(tiles) / "images" / "c").rglob("*") if path.is_file())
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)
    with pytest.raises(UserError, match="differ"):
        reduced(tiles)
    assert not (tiles.parents[1] / f"reduced{SIDE}" / tiles.name).exists()


SELF = {"kind": "self"}


@pytest.mark.parametrize(
    ("changes", "reads"),
    [
        ({}, True),
        ({"input_size": 16}, True),
        ({"normalization": SELF}, True),
        ({"input_size": 48}, False),
        ({"input_size": 17}, False),
        ({"scale": "physical", "pixel_size_um": 0.5}, False),
        ({"normalization": {"intensity": "tile"}}, False),
        ({"normalization": {"intensity": "joint"}}, False),
        ({"normalization": {"bits": 8}}, False),
    ],
)
def test_a_card_that_needs_more_than_reduced_tiles_show_is_refused(
    changes: dict[str, Any], reads: bool, tiles: Path, tmp_path: Path
) -> None:
    backbone = card(**changes)
    assert backbone.reads_reduced(SIDE) == reads
    manifest, smaller = tmp_path / "map.json", Path(reduced(tiles).manifest_path)
    if reads:
        embed(smaller, backbone, "map", manifest, SETTINGS)
        return
    with pytest.raises(UserError, match="tiles reduced to 32 px do not show tiny"):
        embed(smaller, backbone, "map", manifest, SETTINGS)


def test_real_images_look_the_same_to_a_pretrained_network(
    shared_data: Path, tmp_path: Path
) -> None:
    reader = TypeAdapter[BackboneCard](BackboneCard)
    lite = reader.validate_python(
        read_yaml(SHIPPED / "resources/backbones/efficientnet-lite0.yaml")
    )
    images = sorted((shared_data / "bbbc039" / "images").glob("*.png"))[:12]
    fields = np.stack([imagecodecs.png_decode(path.read_bytes()) for path in images])
    tiles = fields[:, None, :512, :512]
    assert tiles.dtype == np.uint16
    limits = np.percentile(tiles, (0.1, 99.9)).tolist()
    manifest = write_store(tmp_path / "tiles" / "cells.json", tiles, intensity_range=[limits])
    values = {}
    for name, read in {"whole": manifest, "reduced": reduced(manifest, 224).manifest_path}.items():
        target = tmp_path / name / "replicate.json"
        embed(Path(read), lite, "replicate", target, SETTINGS)
        values[name] = EmbeddingStore(target).read("pool", "replicate")
    assert centred(values["whole"], values["reduced"]).min() > 0.9999
