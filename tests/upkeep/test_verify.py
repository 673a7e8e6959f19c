"""Damage of every kind is found, named with its block, and repaired without touching the rest."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tile_stores import copy_tiles, write_tiles
from transferscope.backbones.reduced_tiles import reduce_tiles
from transferscope.errors import UserError
from transferscope.stores.embedding_store import EmbeddingStore
from transferscope.stores.reader import DamagedBlockError
from transferscope.stores.tile_store import TileStore
from transferscope.upkeep.trial import trial_embedding
from transferscope.upkeep.verify import repair, verify


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder laid out as a study, with a tile store and an embedding store."""
    folder = tmp_path_factory.mktemp("trial")
    trial_embedding(folder / "made", 8, 16)
    places = {"tiles": "tiles/trial", "embeddings": "embeddings/trial/trial/replicate"}
    for name, place in places.items():
        (folder / "study" / place).parent.mkdir(parents=True)
        for suffix in (".json", ".zarr"):
            made = folder / "made" / f"{name}{suffix}"
            made.rename(folder / "study" / f"{place}{suffix}")
    return folder / "study"


@pytest.fixture
def study(trial: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trial, tmp_path / "study"))


def chunks(store: Path) -> list[Path]:
    main = "images" if (store / "images").exists() else "embeddings"
    return sorted(path for path in (store / main / "c").rglob("*") if path.is_file())


def test_a_sound_study_has_no_faults(study: Path) -> None:
    found = verify(study)
    assert (found.stores, found.blocks, found.faults) == (2, 2, [])


@pytest.mark.parametrize("store", ["tiles/trial", "embeddings/trial/trial/replicate"])
@pytest.mark.parametrize("how", ["deleted", "truncated", "flipped"])
def test_a_damaged_chunk_is_named_by_its_block(study: Path, store: str, how: str) -> None:
    path = chunks(study / f"{store}.zarr")[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content if how == "flipped" else content[:-7])
    if how == "deleted":
        path.unlink()
    [fault] = verify(study).faults
    assert fault.file == study / f"{store}.json"
    assert fault.block == 0
    assert str(study / f"{store}.zarr") in fault.repair("snakemake")
    repair([fault])
    assert not fault.file.exists()
    assert (study / f"{store}.zarr").exists()
    assert verify(study).stores == 1


def test_a_store_without_its_list_of_blocks_is_removed_as_a_whole(study: Path) -> None:
    shutil.rmtree(study / "tiles/trial.zarr/digest")
    [fault] = verify(study).faults
    assert fault.block is None
    repair([fault])
    assert not (study / "tiles/trial.zarr").exists()


def test_a_table_that_is_cut_short_is_named(study: Path) -> None:
    table = study / "splits/trial.parquet"
    table.parent.mkdir()
    table.write_bytes(b"PAR1 and no more")
    [fault] = verify(study).faults
    assert fault.file == table
    assert "not a readable table" in fault.what
    repair([fault])
    assert not table.exists()


def test_reading_tiles_finds_the_damage_on_the_way(study: Path) -> None:
    whole = TileStore(study / "tiles/trial.json").read(0, 8)
    [path] = chunks(study / "tiles/trial.zarr")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    store = TileStore(study / "tiles/trial.json")
    np.testing.assert_array_equal(store.read(0, 3), whole[:3])
    with pytest.raises(DamagedBlockError, match=r"trial\.zarr, block 0 .*: tile") as caught:
        store.read(0, 8)
    named = int(caught.value.damage.what[-1])
    with pytest.raises(DamagedBlockError, match=f"tile tile{named}"):
        store.read(named, named + 1)


def test_damaged_sums_of_tiles_are_damage_of_their_block(tmp_path: Path) -> None:
    store = TileStore(copy_tiles(np.ones((40, 3, 8, 8), np.uint16), tmp_path))
    path = store.path / "tile_sum/c/2/0"
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)
    assert store.source_of(0, 32)
    for read in (store.source_of, store.read):
        with pytest.raises(DamagedBlockError, match="block 2"):
            read(30, 34)


def test_a_chunk_of_another_block_is_noticed_when_it_is_read(tmp_path: Path) -> None:
    tiles = np.random.default_rng(0).integers(0, 3000, (40, 3, 8, 8), dtype=np.uint16)
    store = TileStore(copy_tiles(tiles, tmp_path))
    one, other = chunks(store.path)[:2]
    one.write_bytes(other.read_bytes())
    with pytest.raises(DamagedBlockError, match=r"block 0 .*differ from their checksum"):
        store.read(0, 1)
    np.testing.assert_array_equal(store.read(16, 40), tiles[16:])


def test_a_probe_refuses_a_damaged_store(study: Path) -> None:
    store = EmbeddingStore(study / "embeddings/trial/trial/replicate.json")
    store.check()
    chunks(store.path)[0].unlink()
    with pytest.raises(UserError, match="differ from their checksum"):
        EmbeddingStore(study / "embeddings/trial/trial/replicate.json").check()


def test_reduced_tiles_are_held_against_their_tiles_and_their_place(tmp_path: Path) -> None:
    tiles = write_tiles(tmp_path / "tiles")
    right, wrong = (tmp_path / "reduced_tiles" / side for side in ("16", "8"))
    reduce_tiles(tiles, 16, right / "cells.json")
    assert verify(tmp_path).faults == []
    right.rename(wrong)
    (fault,) = verify(tmp_path).faults
    assert fault.what == "is another store: its tiles are not of 8 px"
    wrong.rename(right)
    shutil.rmtree(tiles.parent)
    write_tiles(tiles.parent, seed=1)
    (fault,) = verify(tmp_path).faults
    assert "its tiles_sha256 is" in fault.what
