import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr

from transferscope.errors import UserError
from transferscope.runtime.atomic_files import write_atomically
from transferscope.stores import chunk_files
from transferscope.stores.block_store import BlockStore
from transferscope.stores.embedding_store import EmbeddingStore
from transferscope.stores.manifest import EMBEDDINGS_FORMAT, TILES_FORMAT
from transferscope.stores.reader import DamagedBlockError
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


@pytest.mark.parametrize("cut_after", [1, 2, 3])
def test_a_store_whose_trimming_was_cut_short_is_trimmed_again(tmp_path, monkeypatch, cut_after):
    store, resized = open_store(tmp_path), []
    fill(store)
    resize = zarr.Array.resize

    def cut(array, shape):
        if len(resized) == cut_after - 1:
            raise KeyboardInterrupt
        resized.append(array.name)
        resize(array, shape)

    monkeypatch.setattr(zarr.Array, "resize", cut)
    with pytest.raises(KeyboardInterrupt):
        store.trim(IDS[:-BLOCK])
    monkeypatch.undo()
    again = open_store(tmp_path)
    assert again.rows == len(IDS)
    again.missing()
    again.trim(IDS[:-BLOCK])
    again.finish(tmp_path / "e.json")
    assert EmbeddingStore(tmp_path / "e.json").tile_ids == IDS[:-BLOCK]


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


def test_every_file_has_the_sum_that_was_taken_when_it_was_written(manifest):
    store = EmbeddingStore(manifest)
    files = files_of(manifest.with_suffix(".zarr"))
    assert store.sums() == {str(p): hashlib.sha256(c).hexdigest() for p, c in files.items()}


def damage_dtype(store):
    metadata = store / "embeddings/zarr.json"
    metadata.write_text(metadata.read_text().replace('"float16"', '"int16"'))


def damage_attribute(store):
    metadata = store / "zarr.json"
    metadata.write_text(metadata.read_text().replace('"nucleus"', '"protein"'))


def damage_sums(store):
    (store / "digest/c/1/0/0").write_bytes((store / "digest/c/0/0/0").read_bytes())


@pytest.mark.parametrize("damage", [damage_dtype, damage_attribute, damage_sums])
def test_metadata_and_sums_are_covered_by_the_manifest(manifest, damage):
    damage(manifest.with_suffix(".zarr"))
    with pytest.raises(UserError, match=r"does not agree with its manifest e\.json|damaged"):
        EmbeddingStore(manifest)


def test_what_is_read_is_verified_chunk_by_chunk(tmp_path):
    rows = np.random.default_rng(1).normal(size=(ROWS, 6)).astype(np.float32)
    columns = [{"output": o, "channel": None, "start": 3 * i, "stop": 3 * i + 3}
               for i, o in enumerate(("cls", "mean"))]  # fmt: skip
    store = BlockStore.open_or_create(
        tmp_path / "e.zarr", format=EMBEDDINGS_FORMAT, array="embeddings", fingerprint="f",
        shape=rows.shape, dtype="float32", block_rows=BLOCK, ids=IDS,
        attributes={"columns": columns}, width=3,
    )  # fmt: skip
    for block, start, stop in store.blocks():
        store.write_block(block, rows[start:stop])
    store.finish(tmp_path / "e.json")
    chunk = tmp_path / "e.zarr/embeddings/c/2/1"
    content = bytearray(chunk.read_bytes())
    content[3] ^= 1
    chunk.write_bytes(content)
    read = EmbeddingStore(tmp_path / "e.json")
    np.testing.assert_array_equal(read.read("cls"), rows[:, :3])
    for output in ("mean", None):
        with pytest.raises(DamagedBlockError, match=r"block 2 \(rows 8 to 9\): its values differ"):
            read.read(output) if output else read.block(2)
    assert [damage.block for damage in read.damaged()] == [2]


def test_a_file_that_a_power_cut_has_emptied_is_made_again(tmp_path, caplog):
    store = open_store(tmp_path)
    store.write_block(0, VALUES[:4])
    store.write_block(1, VALUES[4:8])
    (tmp_path / "e.zarr/embeddings/c/1/0").write_bytes(b"")
    again = open_store(tmp_path)
    assert "block 1 is damaged and is made again" in caplog.text
    assert [block for block, _, _ in again.missing()] == [1, 2]
    fill(again)
    again.finish(tmp_path / "e.json")
    np.testing.assert_array_equal(EmbeddingStore(tmp_path / "e.json").array[:], VALUES)


@pytest.mark.parametrize("name", ["zarr.json", "embeddings/zarr.json", "done/zarr.json"])
def test_metadata_that_a_power_cut_has_emptied_starts_the_store_over(tmp_path, name):
    open_store(tmp_path).write_block(0, VALUES[:4])
    (tmp_path / "e.zarr" / name).write_bytes(b"")
    again = open_store(tmp_path)
    assert len(again.missing()) == 3
    fill(again)
    again.finish(tmp_path / "e.json")


def test_a_newer_store_is_refused_and_not_removed(tmp_path):
    open_store(tmp_path).group.attrs.update({"version": 99})
    with pytest.raises(UserError, match=r"version 99 is newer .*\n.*Update transferscope"):
        open_store(tmp_path)
    assert (tmp_path / "e.zarr/zarr.json").exists()


def test_data_sums_flags_and_manifest_are_synced_in_this_order(tmp_path, monkeypatch):
    store = open_store(tmp_path)
    synced: list[str] = []
    rename = Path.replace

    def noted(self, target):
        synced.append(str(Path(target).relative_to(tmp_path)))
        return rename(self, target)

    def sync(handle):
        synced.append("sync")

    monkeypatch.setattr(Path, "replace", noted)
    monkeypatch.setattr("os.fsync", sync)
    fill(store)
    store.finish(tmp_path / "e.json")
    order = [name for name in synced if name != "sync"]
    parts = ("embeddings/c/{}/0", "digest/c/{}/0/0", "done/c/{}")
    expected = [f"e.zarr/{part}".format(block) for block in range(3) for part in parts]
    assert order == [*expected, "e.zarr/zarr.json", "e.json"]
    places = [place for place, name in enumerate(synced) if name != "sync"]
    # Each file is synced before it gets its name, and its name before anything else is written.
    assert all(synced[place - 1] == synced[place + 1] == "sync" for place in places)


def test_names_of_channels_and_outputs_lie_along_their_dimensions(manifest):
    group = zarr.open(manifest.with_suffix(".zarr"), mode="r")
    assert group["embeddings"].metadata.dimension_names == ("tile", "column")
    assert list(group["output"][:]) == ["cls", "cls", "mean", "cls", "cls", "mean"]
    assert list(group["channel"][:]) == ["nucleus"] * 3 + ["protein"] * 3
    assert group["channel"].metadata.dimension_names == ("column",)


def test_no_more_threads_decode_than_there_are_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, threads in ((1, 1), (3, 3), (256, 16)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, n=cores: set(range(n)))
        assert chunk_files._threads() == threads
