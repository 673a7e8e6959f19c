"""Whatever has become of an unfinished store: the job goes on, and ends with a sound store."""

import random
from pathlib import Path

import numpy as np
import pytest

from transferscope.errors import UserError
from transferscope.stores.block_store import BlockStore
from transferscope.stores.embedding_store import EmbeddingStore
from transferscope.stores.manifest import EMBEDDINGS_FORMAT, TILES_FORMAT
from transferscope.stores.reader import StoreReader
from transferscope.stores.tile_store import TileStore

ROWS, BLOCK = 20, 8
VALUES = {
    TILES_FORMAT: np.random.default_rng(0).integers(0, 999, (ROWS, 2, 8, 8)).astype(np.uint16),
    EMBEDDINGS_FORMAT: np.random.default_rng(1).normal(size=(ROWS, 6)).astype(np.float32),
}
KINDS: dict[str, type[StoreReader]] = {TILES_FORMAT: TileStore, EMBEDDINGS_FORMAT: EmbeddingStore}
COLUMNS = [{"output": "cls", "channel": None, "start": 0, "stop": 6}]


class Rows:
    """Rows that depend on nothing."""

    content_sha256 = "rows"

    def source_of(self, start: int, stop: int) -> bytes:
        return bytes(32)

    values_sha256 = source_of


def opened(path: Path, format: str) -> BlockStore:
    tiles = {"channels": ["a", "b"], "intensity_range": [[0, 1], [0, 1]], "dataset": "cells"}
    return BlockStore.open_or_create(
        path,
        format=format,
        array=KINDS[format].array_name,
        fingerprint="f",
        shape=VALUES[format].shape,
        dtype=VALUES[format].dtype,
        block_rows=BLOCK,
        ids=[f"tile{row}" for row in range(ROWS)],
        attributes=tiles if format == TILES_FORMAT else {"columns": COLUMNS},
        recipe=None if format == TILES_FORMAT else "recipe",
        source=None if format == TILES_FORMAT else Rows(),
    )


def fill(store: BlockStore, format: str, most: int = 99) -> None:
    for block, start, stop in store.missing()[:most]:
        source = None if format == TILES_FORMAT else bytes(32)
        store.write_block(block, VALUES[format][start:stop], source)


def assert_sound(manifest: Path, format: str) -> None:
    reader = KINDS[format](manifest)
    reader.check()
    np.testing.assert_array_equal(reader.values(0, ROWS), VALUES[format])
    assert reader.tile_ids == [f"tile{row}" for row in range(ROWS)]
    assert reader.strange_files() == []


def damage(chance: random.Random, path: Path) -> None:
    content = path.read_bytes()
    kind = chance.choice(["empty", "cut", "bit", "zeros", "garbage", "gone"])
    if kind == "gone":
        path.unlink()
        return
    flipped = bytearray(content or b"0")
    flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
    changed = {
        "empty": b"",
        "cut": content[: len(content) // 2],
        "bit": bytes(flipped),
        "zeros": bytes(len(content)),
        "garbage": chance.randbytes(len(content)),
    }[kind]
    path.write_bytes(changed)


@pytest.mark.parametrize("format", KINDS)
@pytest.mark.parametrize("seed", range(30))
def test_a_job_goes_on_after_any_damage(tmp_path: Path, format: str, seed: int) -> None:
    """Empty and broken files, as after a power cut; one, or all of a kind."""
    chance = random.Random(seed)
    path, manifest = tmp_path / "s.zarr", tmp_path / "s.json"
    fill(opened(path, format), format, most=2)
    files = sorted(p for p in path.rglob("*") if p.is_file())
    metadata = [p for p in files if p.name == "zarr.json" or "tile_id" in p.parts]
    for one in chance.sample(metadata if seed % 2 else files, chance.choice([1, 1, 3])):
        damage(chance, one)
    try:
        store = opened(path, format)
    except UserError as error:
        # A flipped bit may make it a store of a newer version.
        assert "Update transferscope" in str(error)  # noqa: PT017
        return
    fill(store, format)
    store.finish(manifest)
    assert_sound(manifest, format)


@pytest.mark.parametrize("format", KINDS)
def test_a_block_with_the_right_size_and_end_is_read_again(tmp_path: Path, format: str) -> None:
    path = tmp_path / "s.zarr"
    fill(opened(path, format), format, most=2)
    folder = path / KINDS[format].array_name / "c/1"
    [chunk] = [place for place in folder.rglob("*") if place.is_file()]
    content = bytearray(chunk.read_bytes())
    content[len(content) // 3] ^= 1
    chunk.write_bytes(content)
    assert [block for block, _, _ in opened(path, format).missing()] == [1, 2]


@pytest.mark.parametrize("format", KINDS)
def test_a_job_of_a_part_leaves_the_blocks_of_others_alone(tmp_path: Path, format: str) -> None:
    path = tmp_path / "s.zarr"
    store = opened(path, format)
    fill(store, format)
    chunk = next(p for p in (path / KINDS[format].array_name / "c/2").rglob("*") if p.is_file())
    chunk.write_bytes(b"")
    assert store._unlike(range(2)) == []
    assert store._unlike() == [2]


@pytest.mark.parametrize("format", KINDS)
def test_the_manifest_goes_before_anything_is_written(tmp_path: Path, format: str) -> None:
    path, manifest = tmp_path / "s.zarr", tmp_path / "s.json"
    store = opened(path, format)
    fill(store, format)
    store.finish(manifest)
    store = opened(path, format)
    assert not manifest.exists()
    assert store.missing() == []
    store.finish(manifest)
    assert_sound(manifest, format)


@pytest.mark.parametrize("format", KINDS)
def test_a_store_of_a_newer_version_is_not_touched(tmp_path: Path, format: str) -> None:
    path, manifest = tmp_path / "s.zarr", tmp_path / "s.json"
    store = opened(path, format)
    fill(store, format)
    store.finish(manifest)
    store.group.attrs["version"] = 3
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    for use in (lambda: opened(path, format), lambda: KINDS[format](manifest)):
        with pytest.raises(UserError, match="version 3 is newer") as raised:
            use()
        assert "rm -rf" not in str(raised.value)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
