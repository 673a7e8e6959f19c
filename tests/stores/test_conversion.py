"""Stores of version 1 are read, resumed and converted; what was made from them stays valid."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from typer.testing import CliRunner

from tile_stores import SETTINGS, card, write_tiles
from transferscope.backbones.embed import embed
from transferscope.commands.app import app
from transferscope.errors import UserError
from transferscope.stores.block_store import BlockStore
from transferscope.stores.conversion import convert, convert_folder
from transferscope.stores.embedding_store import EmbeddingStore
from transferscope.stores.manifest import TILES_FORMAT, Manifest
from transferscope.stores.tile_store import TileStore
from transferscope.upkeep.convert import convert_study
from transferscope.upkeep.verify import repair, verify

V1 = Path(__file__).parents[1] / "archive/v1"
TILES, EMBEDDINGS = Path("tiles/cells.json"), Path("embeddings/cells/tiny/replicate.json")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return Path(shutil.copytree(V1, tmp_path / "results/old"))


def as_version_1(manifest: Path, kind: type[TileStore] | type[EmbeddingStore], keep: int) -> None:
    """Rewrite a store, or its first `keep` blocks, as version 1 had it, next to its manifest."""
    store = kind(manifest)
    path = manifest.with_suffix(".zarr")
    values = store.array[:]
    arrays = {"done": np.zeros(store.blocks, np.uint8)}
    arrays["digest"] = np.zeros((store.blocks, 32), np.uint8)
    rows = store.block_rows
    for block in range(keep):
        arrays["done"][block] = 1
        content = values[block * rows : (block + 1) * rows].tobytes()
        digest = hashlib.sha256(content).digest()
        arrays["digest"][block] = np.frombuffer(digest, np.uint8)
    if kind is EmbeddingStore:
        tiles = TileStore(manifest.parent / "cells.json")
        sources = [
            tiles.values_sha256(b * rows, min((b + 1) * rows, len(store)))
            for b in range(store.blocks)
        ]
        arrays["source"] = np.frombuffer(b"".join(sources), np.uint8).reshape(-1, 32)
    attributes = {
        k: v for k, v in store.attributes.items() if k not in ("content_sha256", "block_arrays")
    }
    ids = store.tile_ids
    shutil.rmtree(path)
    group = zarr.open_group(path, mode="w", zarr_format=3)
    main = group.create_array(
        kind.array_name, shape=values.shape, dtype=values.dtype, chunks=store.array.chunks
    )
    main[:] = values
    for name, array in arrays.items():
        created = group.create_array(name, shape=array.shape, dtype="uint8", chunks=array.shape)
        created[:] = array
    created = group.create_array("tile_id", shape=(len(ids),), dtype=str)
    created[:] = np.array(ids, dtype=object)
    group.attrs.update({**attributes, "version": 1})
    if keep < store.blocks:
        manifest.unlink()
        return
    old = json.loads(manifest.read_text())
    del old["files"], old["digests_sha256"]
    content = hashlib.sha256(arrays["digest"].tobytes()).hexdigest()
    manifest.write_text(json.dumps({**old, "version": 1, "content_sha256": content}))


def test_a_converted_study_is_the_same_to_every_reader(study: Path) -> None:
    before = {m: (study / m).stat().st_mtime_ns for m in (TILES, EMBEDDINGS)}
    tiles, embeddings = TileStore(study / TILES), EmbeddingStore(study / EMBEDDINGS)
    pixels, values = tiles.read(0, 12), embeddings.read()
    found = convert_study(study)
    assert (len(found.stores), found.others, found.problems) == (2, 0, [])
    for manifest, kind, old in (
        (TILES, TileStore, tiles),
        (EMBEDDINGS, EmbeddingStore, embeddings),
    ):
        new = kind(study / manifest)
        assert new.manifest.version == new.attributes["version"] == 2
        for name in ("fingerprint", "content_sha256", "shape", "ids_sha256"):
            assert getattr(new.manifest, name) == getattr(old.manifest, name)
        assert new.attributes.items() >= {**old.attributes, "version": 2}.items()
        assert (study / manifest).stat().st_mtime_ns == before[manifest]
    np.testing.assert_array_equal(TileStore(study / TILES).read(0, 12), pixels)
    np.testing.assert_array_equal(EmbeddingStore(study / EMBEDDINGS).read(), values)
    sound = verify(study)
    assert (sound.stores, sound.blocks, sound.faults) == (2, 2, [])
    assert convert_study(study).stores == []
    assert not [p for p in study.rglob(".*") if p.is_dir()]


def test_the_command_converts_the_stores_of_a_study(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(study.parents[1])
    Path("study.yaml").write_text("study: old\ndatasets: [cells]\nbackbones: [tiny]\n")
    done = CliRunner().invoke(app, ["convert", "study.yaml"], catch_exceptions=False)
    assert "2 stores converted, 0 left as they are" in done.output
    assert TileStore(study / TILES).manifest.version == 2


def test_a_damaged_store_is_left_as_it_is_and_named(study: Path) -> None:
    chunk = next(p for p in (study / "tiles/cells.zarr/images/c").rglob("*") if p.is_file())
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)
    with pytest.raises(UserError, match=r"cells\.zarr: block 0 .*\n.*rm -rf"):
        convert(study / TILES, TileStore)
    assert Manifest.read(study / TILES, TILES_FORMAT).version == 1
    assert chunk.exists()
    assert not list(study.glob("tiles/.*"))


def test_a_store_that_its_manifest_does_not_vouch_for_is_not_converted(study: Path) -> None:
    group = zarr.open_group(study / "tiles/cells.zarr", mode="r+")
    ids = group["tile_id"][:]
    ids[[0, 1]] = ids[[1, 0]]
    group["tile_id"][:] = ids
    problems = convert_study(study).problems
    assert "does not agree with its manifest" in problems[0].what
    assert Manifest.read(study / TILES, TILES_FORMAT).version == 1
    assert zarr.open_group(study / "tiles/cells.zarr", mode="r").attrs["version"] == 1


def test_a_damaged_block_of_an_old_store_is_made_again(study: Path) -> None:
    embeddings = study / EMBEDDINGS
    chunk = next(
        p for p in (embeddings.with_suffix(".zarr") / "embeddings/c").rglob("*") if p.is_file()
    )
    chunk.write_bytes(bytes(len(chunk.read_bytes())))
    found = verify(study).faults
    assert [fault.block for fault in found] == [0]
    assert not repair(found)
    assert not embeddings.exists()
    convert_folder(embeddings.with_suffix(".zarr"), "embeddings", TileStore(study / TILES))
    store = BlockStore(embeddings.with_suffix(".zarr"), "embeddings")
    assert [block for block, _, _ in store.missing()] == [0]


def test_tiles_that_are_no_longer_there_do_not_stop_a_conversion(tmp_path: Path) -> None:
    tiles, manifest = write_tiles(tmp_path), tmp_path / "e.json"
    embed(tiles, card(), "map", manifest, SETTINGS, block_rows=8)
    as_version_1(manifest, EmbeddingStore, keep=3)
    fewer = write_tiles(tmp_path / "fewer", 12)
    convert_folder(manifest.with_suffix(".zarr"), "embeddings", TileStore(fewer))
    assert BlockStore(manifest.with_suffix(".zarr"), "embeddings").missing()


@pytest.mark.parametrize("cut_at", ["old", "new", "manifest"])
def test_a_conversion_that_is_cut_short_is_made_up_for(
    study: Path, monkeypatch: pytest.MonkeyPatch, cut_at: str
) -> None:
    pixels = TileStore(study / TILES).read(0, 12)
    rename, finish = Path.rename, BlockStore.finish

    def interrupted(self: Path, target: Path) -> Path:
        if cut_at in (self.suffix[1:], Path(target).suffix[1:]):
            raise KeyboardInterrupt
        return rename(self, target)

    def unfinished(self: BlockStore, manifest: Path) -> Manifest:
        if cut_at == "manifest":
            raise KeyboardInterrupt
        return finish(self, manifest)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", interrupted)
        patch.setattr(BlockStore, "finish", unfinished)
        with pytest.raises(KeyboardInterrupt):
            convert(study / TILES, TileStore)
    assert convert(study / TILES, TileStore)
    np.testing.assert_array_equal(TileStore(study / TILES).read(0, 12), pixels)
    assert not list(study.glob("tiles/.*"))


@pytest.mark.parametrize("converted", [False, True])
def test_embeddings_of_old_tiles_stay_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, converted: bool
) -> None:
    """Neither old tiles, nor converting them or the embeddings, makes anything again."""
    tiles, manifest = write_tiles(tmp_path), tmp_path / "e.json"
    as_version_1(tiles, TileStore, keep=3)
    embed(tiles, card(), "map", manifest, SETTINGS, block_rows=8)
    values = EmbeddingStore(manifest).read()
    as_version_1(manifest, EmbeddingStore, keep=5)
    if converted:
        assert convert(tiles, TileStore)
    batch = "transferscope.backbones.network_embedder.NetworkEmbedder._batch"
    monkeypatch.setattr(batch, lambda *_: pytest.fail("a tile is embedded again"))
    embed(tiles, card(), "map", manifest, SETTINGS, block_rows=8)
    store = EmbeddingStore(manifest)
    assert store.manifest.version == 2
    np.testing.assert_array_equal(store.read(), values)


def test_an_unfinished_old_store_is_converted_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiles, manifest = write_tiles(tmp_path), tmp_path / "e.json"
    embed(tiles, card(), "map", manifest, SETTINGS, block_rows=8)
    values = EmbeddingStore(manifest).read()
    as_version_1(manifest, EmbeddingStore, keep=3)
    written: list[int] = []
    write = BlockStore.write_block

    def noted(store: BlockStore, block: int, *rest: object) -> None:
        if not store.path.name.startswith("."):
            written.append(block)
        write(store, block, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(BlockStore, "write_block", noted)
    embed(tiles, card(), "map", manifest, SETTINGS, block_rows=8)
    assert written == [3, 4]
    np.testing.assert_array_equal(EmbeddingStore(manifest).read(), values)


def test_embeddings_of_other_tiles_are_not_converted(study: Path, tmp_path: Path) -> None:
    other = write_tiles(tmp_path, 12, channels=2)
    for suffix in (".json", ".zarr"):
        shutil.rmtree(study / f"tiles/cells{suffix}", ignore_errors=True)
        (study / f"tiles/cells{suffix}").unlink(missing_ok=True)
        other.with_suffix(suffix).rename(study / f"tiles/cells{suffix}")
    found = convert_study(study)
    assert [p.what for p in found.problems] == ["block 0 was made from other tiles"]
    assert EmbeddingStore(study / EMBEDDINGS).manifest.version == 1


def test_a_folder_of_the_current_version_is_left_alone(tmp_path: Path) -> None:
    tiles = write_tiles(tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    convert_folder(tiles.with_suffix(".zarr"), "images")
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_a_store_that_is_away_during_its_conversion_is_told_and_not_remade(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = (study / TILES).with_suffix(".zarr")
    store.rename(store.with_name(".cells.zarr.old"))
    found = verify(study).faults
    assert [(fault.file, fault.what) for fault in found if fault.fix] == [
        (study / TILES, "its conversion to the current format was cut short")
    ]
    assert "transferscope convert" in found[0].repair("snakemake")
    assert repair(found) == found
    assert store.with_name(".cells.zarr.old").exists()
    assert convert(study / TILES, TileStore)
    assert TileStore(study / TILES).manifest.version == 2


def test_a_block_that_is_made_again_ends_the_identity_of_version_1(study: Path) -> None:
    convert_study(study)
    old = EmbeddingStore(study / EMBEDDINGS)
    path = (study / EMBEDDINGS).with_suffix(".zarr")
    values = old.block(0)
    store = BlockStore(path, "embeddings")
    store.write_block(0, values + 1, bytes(32))
    new = store.finish(study / EMBEDDINGS)
    assert new.content_sha256 != old.content_sha256
    assert "version_1_content_sha256" not in store.group.attrs
