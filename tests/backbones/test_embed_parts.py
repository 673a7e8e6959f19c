"""A store that many jobs fill is the one that a single job fills."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tile_stores import BF16, SETTINGS, card, copy_tiles, write_tiles
from transferscope.backbones.embed import embed
from transferscope.backbones.embed_parts import blocks_of, fill_part, finish_store
from transferscope.backbones.filling import StoreFilling
from transferscope.config.compute import ComputeSettings
from transferscope.errors import UserError
from transferscope.stores.block_store import BlockStore
from transferscope.stores.embedding_store import EmbeddingStore
from transferscope.stores.tile_store import TileStore

BLOCK_ROWS, PARTS = 8, 3


def files_of(folder: Path) -> dict[Path, bytes]:
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def job_of(tiles: Path, manifest: Path, settings: ComputeSettings = SETTINGS) -> StoreFilling:
    path = Path("tiny.yaml")
    return StoreFilling.of(tiles, card(), "map", manifest, settings, path, BLOCK_ROWS)


def notes_of(manifest: Path) -> list[Path]:
    return [manifest.parent / f"parts/{part}.json" for part in range(PARTS)]


def fill(tiles: Path, manifest: Path, part: int, settings: ComputeSettings = SETTINGS) -> None:
    fill_part(job_of(tiles, manifest, settings), part, PARTS, notes_of(manifest)[part])


def fill_in_parts(
    tiles: Path,
    manifest: Path,
    settings: ComputeSettings = SETTINGS,
    order: tuple[int, ...] = (2, 0, 1),
) -> None:
    for part in order:
        fill(tiles, manifest, part, settings)
    finish_store(manifest, notes_of(manifest))


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    return write_tiles(tmp_path)


@pytest.mark.parametrize("settings", [SETTINGS, BF16])
def test_parts_in_any_order_make_the_store_of_one_job(
    tiles: Path, tmp_path: Path, settings: ComputeSettings
) -> None:
    together, alone = tmp_path / "parts/e.json", tmp_path / "alone/e.json"
    fill_in_parts(tiles, together, settings)
    embed(tiles, card(), "map", alone, settings, card_path=Path("tiny.yaml"), block_rows=BLOCK_ROWS)
    assert together.read_bytes() == alone.read_bytes()
    assert files_of(together.with_suffix(".zarr")) == files_of(alone.with_suffix(".zarr"))


@pytest.mark.parametrize("n_blocks", [0, 1, 2, 3, 7, 30])
@pytest.mark.parametrize("n_parts", [1, 2, 3, 8])
def test_each_block_is_in_just_one_part(n_blocks: int, n_parts: int) -> None:
    parts = [blocks_of(part, n_parts, n_blocks) for part in range(n_parts)]
    assert [block for part in parts for block in part] == list(range(n_blocks))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_parts_that_start_together_make_one_store(tiles: Path, tmp_path: Path) -> None:
    manifest, alone = tmp_path / "parts/e.json", tmp_path / "alone/e.json"
    # Networks of random weights are drawn one after the other: the generator is the process's.
    jobs = [job_of(tiles, manifest) for _ in range(PARTS)]
    with ThreadPoolExecutor(PARTS) as pool:
        notes = notes_of(manifest)
        list(pool.map(lambda part: fill_part(jobs[part], part, PARTS, notes[part]), range(PARTS)))
    finish_store(manifest, notes_of(manifest))
    embed(tiles, card(), "map", alone, SETTINGS, card_path=Path("tiny.yaml"), block_rows=BLOCK_ROWS)
    assert files_of(manifest.with_suffix(".zarr")) == files_of(alone.with_suffix(".zarr"))


def test_more_jobs_than_blocks_do_no_harm(tiles: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "e.json"
    notes = [tmp_path / f"parts/{part}.json" for part in range(50)]
    for part, note in enumerate(notes):
        fill_part(job_of(tiles, manifest), part, len(notes), note)
    finish_store(manifest, notes)
    assert EmbeddingStore(manifest).tile_ids == TileStore(tiles).tile_ids


def test_finishing_builds_no_network(
    tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = tmp_path / "e.json"
    fill_in_parts(tiles, manifest)
    monkeypatch.setattr(StoreFilling, "of", lambda *_: pytest.fail("a network is built"))
    finish_store(manifest, notes_of(manifest))


def test_a_finished_part_writes_nothing_again(
    tiles: Path, tmp_path: Path, written: list[int]
) -> None:
    manifest = tmp_path / "e.json"
    fill_in_parts(tiles, manifest)
    written.clear()
    fill(tiles, manifest, 1)
    assert written == []


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[5] ^= 1
    path.write_bytes(content)


def test_damage_is_found_before_the_manifest_is_written(tiles: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "e.json"
    fill_in_parts(tiles, manifest)
    whole = files_of(tmp_path / "e.zarr")
    manifest.unlink()
    flip_a_byte(tmp_path / "e.zarr/embeddings/c/3/0")
    (tmp_path / "e.zarr/embeddings/c/0/0").unlink()
    with pytest.raises(UserError, match="2 blocks are missing or damaged, the first is block 0"):
        finish_store(manifest, notes_of(manifest))
    left = [note.name for note in notes_of(manifest) if note.exists()]
    assert left == ["1.json"]
    assert not manifest.exists()
    for part in (0, 2):
        fill(tiles, manifest, part)
    finish_store(manifest, notes_of(manifest))
    assert files_of(tmp_path / "e.zarr") == whole


def test_parts_of_another_store_are_made_again(tiles: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "e.json"
    for part in (0, 1):
        fill(tiles, manifest, part)
    fill(tiles, manifest, 2, BF16)
    with pytest.raises(UserError, match="2 of 3 parts were made from other tiles, weights"):
        finish_store(manifest, notes_of(manifest))
    assert [note.exists() for note in notes_of(manifest)] == [False, False, True]
    assert not manifest.exists()


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list to which each block that is written adds its number of rows."""
    rows: list[int] = []
    write = BlockStore.write_block

    def noted(store: BlockStore, block: int, values: Any, *source: bytes) -> None:
        rows.append(len(values))
        write(store, block, values, *source)

    monkeypatch.setattr(BlockStore, "write_block", noted)
    return rows


def embeddings(tiles: Path, manifest: Path) -> np.ndarray:
    embed(tiles, card(), "map", manifest, SETTINGS, block_rows=BLOCK_ROWS)
    return EmbeddingStore(manifest).array[:]


def cut_off(tiles: Path, rows: int, folder: Path) -> Path:
    """Write a store of the first tiles of another; return its manifest."""
    return copy_tiles(TileStore(tiles).read(0, rows), folder)


@pytest.mark.parametrize(
    ("before", "after", "made"),
    [
        (48, 72, [8, 8, 8]),  # whole blocks are added
        (44, 72, [8, 8, 8, 8]),  # and the last one, which was not full
        (72, 44, [4]),
        (72, 72, []),
    ],
)
def test_of_a_longer_or_shorter_dataset_only_what_is_new_is_embedded(
    tmp_path: Path, written: list[int], before: int, after: int, made: list[int]
) -> None:
    whole = write_tiles(tmp_path / "whole", 72)
    earlier, later = (
        cut_off(whole, rows, tmp_path / name) for name, rows in (("a", before), ("b", after))
    )
    embeddings(earlier, tmp_path / "e.json")
    written.clear()
    found = embeddings(later, tmp_path / "e.json")
    assert written == made
    np.testing.assert_array_equal(found, embeddings(later, tmp_path / "anew.json"))
    assert EmbeddingStore(tmp_path / "e.json").tile_ids == TileStore(later).tile_ids


def test_a_tile_that_is_replaced_is_embedded_again(tmp_path: Path, written: list[int]) -> None:
    images = TileStore(write_tiles(tmp_path / "whole", 64)).read(0, 64)
    embeddings(copy_tiles(images, tmp_path / "a"), tmp_path / "e.json")
    images[20] += 1
    later = copy_tiles(images, tmp_path / "b")
    written.clear()
    found = embeddings(later, tmp_path / "e.json")
    assert written == [8]
    np.testing.assert_array_equal(found, embeddings(later, tmp_path / "anew.json"))


def test_a_renewal_that_was_interrupted_is_made_up_for(
    tmp_path: Path, written: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = write_tiles(tmp_path / "whole", 72)
    embeddings(cut_off(whole, 44, tmp_path / "a"), tmp_path / "e.json")
    for step in ("BlockStore._resize", "write_ids"):
        with monkeypatch.context() as patch:
            patch.setattr(f"transferscope.stores.block_store.{step}", _interrupted)
            with pytest.raises(KeyboardInterrupt):
                embeddings(whole, tmp_path / "e.json")
    written.clear()
    found = embeddings(whole, tmp_path / "e.json")
    assert written == [8, 8, 8, 8]
    np.testing.assert_array_equal(found, embeddings(whole, tmp_path / "anew.json"))


def _interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"fingerprint": 1}'])
def test_a_broken_note_makes_its_part_again(tiles: Path, tmp_path: Path, content: str) -> None:
    manifest = tmp_path / "parts/e.json"
    fill_in_parts(tiles, manifest)
    notes = notes_of(manifest)
    notes[1].write_text(content)
    with pytest.raises(UserError, match="1 of 3 parts"):
        finish_store(manifest, notes)
    assert [note.exists() for note in notes] == [True, False, True]
    fill(tiles, manifest, 1)
    finish_store(manifest, notes)
    assert EmbeddingStore(manifest).blocks == 5


def test_broken_metadata_and_an_older_version_make_the_parts_again(
    tiles: Path, tmp_path: Path
) -> None:
    manifest = tmp_path / "parts/e.json"
    for version, said in ((None, "metadata|made from"), (1, "an older version has filled it")):
        fill_in_parts(tiles, manifest)
        store = manifest.with_suffix(".zarr")
        if version is None:
            (store / "embeddings/zarr.json").write_text("")
        else:
            BlockStore(store, "embeddings").group.attrs["version"] = version
        with pytest.raises(UserError, match=said):
            finish_store(manifest, notes_of(manifest))
        assert not any(note.exists() for note in notes_of(manifest))
