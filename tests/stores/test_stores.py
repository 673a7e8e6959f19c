import json
import shutil

import numpy as np
import pytest
import zarr

from transferscope.errors import UserError
from transferscope.runtime.atomic_files import write_atomically
from transferscope.stores.block_store import BlockStore
from transferscope.stores.embedding_store import EmbeddingStore
from transferscope.stores.manifest import EMBEDDINGS_FORMAT, TILES_FORMAT
from transferscope.stores.tile_store import TileStore

ROWS, BLOCK = 10, 4
IDS = [f"tile-{i}" for i in range(ROWS)]
VALUES = np.random.default_rng(0).normal(size=(ROWS, 6)).astype(np.float16)
COLUMNS = [
    {"output": "cls", "channel": "nucleus", "start": 0, "stop": 2},
    {"output": "mean", "channel": "nucleus", "start": 2, "stop": 3},
    {"output": "cls", "channel": "protein", "start": 3, "stop": 5},
    {"output": "mean", "channel": "protein", "start": 5, "stop": 6},
]


def open_store(folder, fingerprint="f1"):
    return BlockStore.open_or_create(
        folder / "e.zarr",
        format=EMBEDDINGS_FORMAT,
        array="embeddings",
        fingerprint=fingerprint,
        shape=VALUES.shape,
        dtype="float16",
        block_rows=BLOCK,
        ids=IDS,
        attributes={"columns": COLUMNS},
    )


def fill(store):
    for block, start, stop in store.missing():
        store.write_block(block, VALUES[start:stop])


@pytest.fixture
def manifest(tmp_path):
    store = open_store(tmp_path)
    fill(store)
    store.finish(tmp_path / "e.json")
    return tmp_path / "e.json"


def files_of(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_finished_store_is_read_back_exactly(manifest):
    store = EmbeddingStore(manifest)
    assert store.tile_ids == IDS
    np.testing.assert_array_equal(store.array[:], VALUES)


def test_plain_zarr_opens_it(manifest):
    group = zarr.open(manifest.with_suffix(".zarr"), mode="r")
    np.testing.assert_array_equal(group["embeddings"][:], VALUES)
    assert list(group["tile_id"][:]) == IDS
    assert group.attrs["format"] == EMBEDDINGS_FORMAT


def test_outputs_are_views_of_the_columns(manifest):
    store = EmbeddingStore(manifest)
    np.testing.assert_array_equal(store.read("cls"), VALUES[:, [0, 1, 3, 4]].astype(np.float32))
    np.testing.assert_array_equal(store.read(), store.read("cls"))
    expected = (VALUES[:, 2].astype(np.float32) + VALUES[:, 5]) / 2
    np.testing.assert_allclose(store.read("mean", "mean")[:, 0], expected)
    with pytest.raises(UserError, match='Did you mean "mean"'):
        store.read("meen")


def test_single_channels_and_their_average_are_views_too(manifest):
    store = EmbeddingStore(manifest)
    channels = [c.channel for c in store.columns if c.output == "cls"]
    parts = [store.read("cls", f"only-{channel}") for channel in channels]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), store.read("cls", "replicate"))
    np.testing.assert_allclose(np.mean(parts, axis=0), store.read("cls", "mean"))
    with pytest.raises(UserError, match="no pass of the channel") as caught:
        store.read("cls", f"only-{channels[0]}s")
    assert f'Did you mean "{channels[0]}"?' in str(caught.value)


def test_a_resumed_store_is_the_uninterrupted_one(tmp_path, manifest):
    resumed = tmp_path / "resumed"
    open_store(resumed).write_block(1, VALUES[4:8])
    again = open_store(resumed)
    assert [block for block, _, _ in again.missing()] == [0, 2]
    fill(again)
    again.finish(resumed / "e.json")
    assert files_of(resumed / "e.zarr") == files_of(manifest.with_suffix(".zarr"))
    assert (resumed / "e.json").read_bytes() == manifest.read_bytes()


def test_other_settings_start_it_over_and_say_so(tmp_path, manifest, caplog):
    store = open_store(tmp_path, "f2")
    assert len(store.missing()) == 3
    assert "starting it over" in caplog.text


def test_a_store_whose_creation_was_cut_short_is_made_anew(tmp_path):
    open_store(tmp_path)
    metadata = tmp_path / "e.zarr" / "zarr.json"
    value = json.loads(metadata.read_text())
    del value["attributes"]["fingerprint"]
    metadata.write_text(json.dumps(value))
    fill(open_store(tmp_path))


def test_an_unfinished_store_gets_no_manifest(tmp_path):
    with pytest.raises(RuntimeError, match="3 blocks"):
        open_store(tmp_path).finish(tmp_path / "e.json")
    assert not (tmp_path / "e.json").exists()


def test_a_block_of_the_wrong_length_is_refused(tmp_path):
    with pytest.raises(ValueError, match="block 2 has 2 rows, got 4"):
        open_store(tmp_path).write_block(2, VALUES[:4])


def link_a_chunk(store, outside):
    chunk = next(path for path in (store / "embeddings/c").rglob("*") if path.is_file())
    chunk.replace(outside / "chunk")
    chunk.symlink_to(outside / "chunk")


def link_the_store(store, outside):
    store.rename(outside / "store")
    store.symlink_to(outside / "store", target_is_directory=True)


@pytest.mark.parametrize("plant", [link_a_chunk, link_the_store])
def test_a_store_with_links_is_made_anew_and_what_they_point_to_is_left(tmp_path, plant, caplog):
    outside = tmp_path / "outside"
    outside.mkdir()
    fill(open_store(tmp_path))
    plant(tmp_path / "e.zarr", outside)
    before = files_of(outside)
    store = open_store(tmp_path)
    assert "symbolic links" in caplog.text
    assert len(store.missing()) == 3
    fill(store)
    store.finish(tmp_path / "e.json")
    np.testing.assert_array_equal(EmbeddingStore(tmp_path / "e.json").array[:], VALUES)
    assert files_of(outside) == before
    assert not any(path.is_symlink() for path in (tmp_path / "e.zarr").rglob("*"))


def damage_delete_store(manifest):
    shutil.rmtree(manifest.with_suffix(".zarr"))


def damage_other_content(manifest):
    value = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**value, "content_sha256": "0" * 64}))


def damage_manifest(manifest):
    manifest.write_text("{")


def damage_delete_manifest(manifest):
    manifest.unlink()


def damage_other_ids(manifest):
    array = zarr.open(manifest.with_suffix(".zarr"), mode="r+")["tile_id"]
    array[0] = "other"


@pytest.mark.parametrize(
    "damage",
    [
        damage_delete_store,
        damage_other_content,
        damage_manifest,
        damage_delete_manifest,
        damage_other_ids,
    ],
)
def test_damage_is_found_and_the_fix_named(manifest, damage):
    damage(manifest)
    with pytest.raises(UserError, match=r"rm -rf .*e\.json .*e\.zarr"):
        EmbeddingStore(manifest)


def test_a_store_of_another_format_or_a_newer_version_is_refused(manifest):
    with pytest.raises(UserError, match=f"not {TILES_FORMAT}"):
        TileStore(manifest)
    value = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**value, "version": 99}))
    with pytest.raises(UserError, match="newer"):
        EmbeddingStore(manifest)


def test_a_failed_atomic_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "a.txt"
    write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\ud800")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
