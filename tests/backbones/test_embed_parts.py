"""A store that many jobs fill is the one that a single job fills."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tile_stores import BF16, SETTINGS, card, copy_tiles, write_tiles
from transferscope.backbones.embed import StoreFilling, embed
from transferscope.backbones.embed_parts import EmbedTask, fill_part, finish_store, start_store
from transferscope.config.compute import ComputeSettings
from transferscope.errors import UserError
from transferscope.parts import number_of_parts, read_parts, write_parts
from transferscope.stores.block_store import BlockStore
from transferscope.stores.embedding_store import EmbeddingStore
from transferscope.stores.tile_store import TileStore

BLOCK_ROWS, BLOCKS_A_JOB, PARTS = 8, 2, 3


def files_of(folder: Path) -> dict[Path, bytes]:
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def task_of(tiles: Path, manifest: Path, settings: ComputeSettings = SETTINGS) -> EmbedTask:
    settings = settings.model_copy(update={"block_rows": BLOCK_ROWS})
    return EmbedTask(tiles, card(), Path("tiny.yaml"), "map", manifest, settings)


def fill(task: EmbedTask, part: int) -> None:
    folder = task.manifest.parent / "parts"
    fill_part(task, folder / "started.json", part, BLOCKS_A_JOB, folder / f"{part}.json")


def finish(task: EmbedTask) -> None:
    folder = task.manifest.parent / "parts"
    finish_store(task.manifest, folder / "started.json", folder, BLOCKS_A_JOB)


def fill_in_parts(task: EmbedTask, order: tuple[int, ...] = (2, 0, 1)) -> None:
    start_store(task, task.manifest.parent / "parts" / "started.json")
    for part in order:
        fill(task, part)
    finish(task)


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    return write_tiles(tmp_path)


@pytest.mark.parametrize("settings", [SETTINGS, BF16])
def test_parts_in_any_order_make_the_store_of_one_job(
    tiles: Path, tmp_path: Path, settings: ComputeSettings
) -> None:
    together, alone = tmp_path / "parts/e.json", tmp_path / "alone/e.json"
    fill_in_parts(task_of(tiles, together, settings))
    embed(tiles, card(), "map", alone, settings, card_path=Path("tiny.yaml"), block_rows=BLOCK_ROWS)
    assert together.read_bytes() == alone.read_bytes()
    assert files_of(together.with_suffix(".zarr")) == files_of(alone.with_suffix(".zarr"))


def test_the_number_of_parts_follows_from_the_tiles(tiles: Path, tmp_path: Path) -> None:
    write_parts(tiles, BLOCK_ROWS, BLOCKS_A_JOB, tmp_path / "parts.json")
    assert read_parts(tmp_path / "parts.json") == PARTS
    assert [number_of_parts(n, 10, 3) for n in (1, 30, 31, 60)] == [1, 1, 2, 2]


def test_a_finished_part_builds_no_network(
    tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = task_of(tiles, tmp_path / "e.json")
    fill_in_parts(task)
    monkeypatch.setattr(StoreFilling, "of", lambda *_: pytest.fail("a network is built"))
    fill(task, 1)
    finish(task)


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[5] ^= 1
    path.write_bytes(content)


def test_damage_is_found_before_the_manifest_is_written(tiles: Path, tmp_path: Path) -> None:
    task = task_of(tiles, tmp_path / "e.json")
    fill_in_parts(task)
    whole = files_of(tmp_path / "e.zarr")
    task.manifest.unlink()
    flip_a_byte(tmp_path / "e.zarr/embeddings/c/3/0")
    (tmp_path / "e.zarr/embeddings/c/0/0").unlink()
    with pytest.raises(UserError, match="2 blocks are missing or damaged, the first is block 0"):
        finish(task)
    left = {path.name for path in (tmp_path / "parts").glob("[0-9].json")}
    assert left == {"2.json"}
    assert not task.manifest.exists()
    for part in (0, 1):
        fill(task, part)
    finish(task)
    assert files_of(tmp_path / "e.zarr") == whole


def test_a_part_of_another_store_is_refused(tiles: Path, tmp_path: Path) -> None:
    task = task_of(tiles, tmp_path / "e.json")
    start_store(task, tmp_path / "parts/started.json")
    start_store(task_of(tiles, task.manifest, BF16), tmp_path / "later.json")
    with pytest.raises(UserError, match="is not the store that was started"):
        fill(task, 0)


def test_a_part_whose_weights_have_changed_is_refused(
    tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = task_of(tiles, tmp_path / "e.json")
    start_store(task, tmp_path / "parts/started.json")
    identity = {"weights": "others"}
    monkeypatch.setattr(
        "transferscope.backbones.network_embedder.NetworkEmbedder.identity", lambda _: identity
    )
    with pytest.raises(UserError, match="have changed since"):
        fill(task, 0)


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
