"""The stores of all channel strategies of a backbone are filled in one pass over the tiles."""

import itertools
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tile_stores import BF16, SETTINGS, card, write_tiles
from transferscope.backbones.embed import OnePass, embed
from transferscope.backbones.embed_parts import fill_part, finish_store
from transferscope.backbones.filled import request_of
from transferscope.backbones.filling import StoreFilling
from transferscope.backbones.network_embedder import NetworkEmbedder
from transferscope.backbones.readout import Backbone
from transferscope.cards import FileCard
from transferscope.config.compute import ComputeSettings
from transferscope.errors import UserError
from transferscope.stores.block_store import BlockStore
from transferscope.stores.tile_store import TileStore

STRATEGIES = ("replicate", "map", "map-random-0", "adapt", "map-random-1")
CARD_PATH = Path("tiny.yaml")
BLOCK_ROWS = 16


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    return write_tiles(tmp_path)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Blocks that are written during a test."""
    blocks: list[int] = []
    write = BlockStore.write_block

    def counted(self: BlockStore, block: int, *args: Any) -> None:
        blocks.append(block)
        write(self, block, *args)

    monkeypatch.setattr(BlockStore, "write_block", counted)
    return blocks


def manifest_of(folder: Path, strategy: str) -> Path:
    return folder / f"{strategy}.json"


def job(
    tiles: Path,
    folder: Path,
    strategy: str,
    settings: ComputeSettings = SETTINGS,
    strategies: tuple[str, ...] = STRATEGIES,
    **changes: Any,
) -> None:
    """Run the job of one strategy, as a study would do it."""
    also = {one: manifest_of(folder, one) for one in strategies if one != strategy}
    embed(
        tiles, card(**changes), strategy, manifest_of(folder, strategy), settings,
        card_path=CARD_PATH, block_rows=BLOCK_ROWS, also=also,
    )  # fmt: skip


def files_of(folder: Path) -> dict[Path, bytes]:
    """Return what is in the stores and manifests of a folder, without the locks."""
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def separately(
    tiles: Path, folder: Path, settings: ComputeSettings = SETTINGS
) -> dict[Path, bytes]:
    for strategy in STRATEGIES:
        job(tiles, folder, strategy, settings, strategies=())
    return files_of(folder)


@pytest.mark.parametrize(("first", "settings"), [("replicate", SETTINGS), ("adapt", BF16)])
def test_the_first_job_fills_the_stores_of_all_as_jobs_of_their_own_would(
    tiles: Path,
    tmp_path: Path,
    settings: ComputeSettings,
    first: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job(tiles, tmp_path / "pass", first, settings)
    assert [p.name for p in (tmp_path / "pass").glob("*.json")] == [f"{first}.json"]
    # The others build no network.
    monkeypatch.setattr(StoreFilling, "of", None)
    for strategy in STRATEGIES:
        if strategy != first:
            job(tiles, tmp_path / "pass", strategy, settings)
    monkeypatch.undo()
    assert files_of(tmp_path / "pass") == separately(tiles, tmp_path / "alone", settings)


@pytest.mark.parametrize(
    "damaged", ["embeddings/c/0/0", "zarr.json", "tile_id/c/0", "done/c/1", "digest/c/0/0/0"]
)
def test_a_store_that_was_damaged_since_is_looked_at_by_its_job(
    tiles: Path, tmp_path: Path, damaged: str
) -> None:
    two = STRATEGIES[:2]
    job(tiles, tmp_path / "pass", "replicate", strategies=two)
    file = tmp_path / "pass/map.zarr" / damaged
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    job(tiles, tmp_path / "pass", "map", strategies=two)
    job(tiles, tmp_path / "alone", "map", strategies=())
    found = files_of(tmp_path / "pass")
    assert {p: c for p, c in found.items() if p.parts[0].startswith("map")} == files_of(
        tmp_path / "alone"
    )


@pytest.mark.parametrize(
    "changes", [{"seed": 1}, {"outputs": [{"name": "cls"}]}, {"normalization": {"kind": "self"}}]
)
def test_a_store_that_was_filled_from_another_card_is_made_anew(
    tiles: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    two = STRATEGIES[:2]
    job(tiles, tmp_path / "pass", "replicate", strategies=two)
    job(tiles, tmp_path / "pass", "map", strategies=two, **changes)
    job(tiles, tmp_path / "alone", "map", strategies=(), **changes)
    one, other = (manifest_of(tmp_path / where, "map") for where in ("pass", "alone"))
    assert one.read_bytes() == other.read_bytes()
    # What such a job finished in another way has no note either, which says that it is filled.
    assert not (tmp_path / "pass/.map.zarr.filled").exists()


def test_weights_in_a_file_are_known_by_their_sum(tiles: Path, tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    checkpoint = FileCard(
        source="file", weights=file.name, layout="timm",
        **card().model_dump(exclude={"source", "pretrained", "seed"}, exclude_unset=True),
    )  # fmt: skip
    known = []
    for content in (b"one", b"other", b"one"):
        file.write_bytes(content)
        known.append(request_of(tiles, checkpoint, tmp_path / "card.yaml", SETTINGS, 16))
    assert known[0] == known[2] != known[1]
    file.unlink()
    assert request_of(tiles, checkpoint, tmp_path / "card.yaml", SETTINGS, 16) is None
    assert request_of(tiles, card(pretrained=True), CARD_PATH, SETTINGS, 16) is None
    assert request_of(tiles, card(), CARD_PATH, BF16, 16) != known[0]


def test_each_tile_is_read_and_resized_once(
    tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    once = TileStore.read

    def counted(self: Any, start: int, stop: int, out: Any = None) -> Any:
        if out is not None:  # not the sample
            read.append((start, stop))
        return once(self, start, stop, out)

    monkeypatch.setattr(TileStore, "read", counted)
    for strategy in STRATEGIES:
        job(tiles, tmp_path, strategy)
    assert sum(stop - start for start, stop in read) == len(TileStore(tiles)) == 40


def test_what_two_strategies_feed_alike_passes_the_network_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiles = write_tiles(tmp_path, channels=1)
    one = {"slots": [{"name": "dna", "accepts": ["nucleus"]}], "normalization": {}}
    passed = []
    forward = Backbone.forward

    def counted(self: Any, images: Any, *args: Any) -> Any:
        passed.append(len(images))
        return forward(self, images, *args)

    monkeypatch.setattr(Backbone, "forward", counted)
    job(tiles, tmp_path / "alone", "map", strategies=(), **one)
    alone = sum(passed)
    passed.clear()
    job(tiles, tmp_path / "pass", "map", strategies=("map", "replicate"), **one)
    # Only the sample and the blank image pass once more.
    assert sum(passed) - alone == 8 + 1
    job(tiles, tmp_path / "pass", "replicate", strategies=("map", "replicate"), **one)
    job(tiles, tmp_path / "alone", "replicate", strategies=(), **one)
    assert files_of(tmp_path / "pass") == files_of(tmp_path / "alone")


def test_another_strategy_leaves_finished_stores_as_they_are(tiles: Path, tmp_path: Path) -> None:
    for strategy in STRATEGIES[:3]:
        job(tiles, tmp_path, strategy, strategies=STRATEGIES[:3])
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    job(tiles, tmp_path, "adapt", strategies=STRATEGIES[:4])
    changed = {p for p, time in times.items() if p.stat().st_mtime_ns != time}
    assert {p for p in changed if not p.name.startswith(".")} == set()


def test_stores_that_are_out_of_date_are_part_of_the_pass(
    tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = STRATEGIES[:2]
    for strategy in two:
        job(tiles, tmp_path / "pass", strategy, strategies=two)
    job(tiles, tmp_path / "pass", "replicate", strategies=two, seed=1)
    assert not manifest_of(tmp_path / "pass", "map").exists()
    monkeypatch.setattr(NetworkEmbedder, "_batch", None)
    job(tiles, tmp_path / "pass", "map", strategies=two, seed=1)
    monkeypatch.undo()
    job(tiles, tmp_path / "alone", "map", strategies=(), seed=1)
    one, other = (manifest_of(tmp_path / where, "map") for where in ("pass", "alone"))
    assert one.read_bytes() == other.read_bytes()


def test_a_sibling_whose_manifest_is_damaged_is_left_to_its_own_job(
    tiles: Path, tmp_path: Path
) -> None:
    manifest_of(tmp_path, "map").write_text("{}")
    job(tiles, tmp_path, "replicate", strategies=("replicate", "map"))
    assert manifest_of(tmp_path, "map").read_text() == "{}"


def test_what_fails_in_a_sibling_fails_in_its_own_job_alone(
    tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = StoreFilling.checked

    def broken(self: Any, values: Any, *args: Any) -> Any:
        if self.embedder.assignment.strategy == "map":
            values = np.full_like(values, np.nan)
        return checked(self, values, *args)

    monkeypatch.setattr(StoreFilling, "checked", broken)
    for strategy in ("replicate", "adapt"):
        job(tiles, tmp_path, strategy)
    with pytest.raises(UserError, match="not finite: tile0"):
        job(tiles, tmp_path, "map")
    monkeypatch.undo()
    job(tiles, tmp_path, "map")


def test_a_strategy_that_the_backbone_cannot_serve_is_left_to_its_own_job(
    tiles: Path, tmp_path: Path
) -> None:
    job(tiles, tmp_path, "replicate", strategies=("replicate", "agnostic", "map"))
    assert not (tmp_path / "agnostic.zarr").exists()
    assert (tmp_path / "map.zarr").exists()


KILLED = """
import os, sys
from pathlib import Path
from tile_stores import BF16
from transferscope.stores.block_store import BlockStore
sys.path.insert(0, "backbones")
from test_embed_siblings import job

written, write = [], BlockStore.write_block
def counted(self, *args):
    write(self, *args)
    written.append(1)
    if len(written) == int(sys.argv[3]):
        os.kill(os.getpid(), 9)
BlockStore.write_block = counted
job(Path(sys.argv[1]), Path(sys.argv[2]), "map", BF16)
"""


def test_a_killed_job_loses_a_block_at_most(
    tiles: Path, tmp_path: Path, written: list[int]
) -> None:
    folder, after = tmp_path / "pass", 8
    words = [sys.executable, "-c", KILLED, str(tiles), str(folder), str(after)]
    done = subprocess.run(words, cwd=Path(__file__).parents[1], check=False, capture_output=True)
    assert done.returncode == -9, done.stderr.decode()
    written.clear()
    for strategy in STRATEGIES:
        job(tiles, folder, strategy, BF16)
    assert len(written) == 3 * len(STRATEGIES) - after
    assert files_of(folder) == separately(tiles, tmp_path / "alone", BF16)


AT_ONCE = """
import sys
from pathlib import Path
sys.path.insert(0, "backbones")
from test_embed_siblings import job
job(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
"""


def test_jobs_that_run_at_once_share_the_work(tiles: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pass"
    words = [sys.executable, "-c", AT_ONCE, str(tiles), str(folder)]
    where = Path(__file__).parents[1]
    jobs = [subprocess.Popen([*words, one], cwd=where) for one in STRATEGIES[:2]]
    assert [one.wait() for one in jobs] == [0] * len(jobs)
    for strategy in STRATEGIES[2:]:
        job(tiles, folder, strategy)
    assert files_of(folder) == separately(tiles, tmp_path / "alone")


def test_threads_that_fill_at_once_write_each_block_once(
    tiles: Path, tmp_path: Path, written: list[int]
) -> None:
    strategies = STRATEGIES[:3]
    passes = []
    for own in strategies:  # networks of random weights are drawn one after the other
        also = {one: manifest_of(tmp_path / "pass", one) for one in strategies if one != own}
        manifest = manifest_of(tmp_path / "pass", own)
        filling = StoreFilling.of(tiles, card(), own, manifest, SETTINGS, CARD_PATH, 2)
        passes.append(OnePass(filling, also))
        passes[-1].start()
    with ThreadPoolExecutor(len(passes)) as pool:
        list(pool.map(lambda one: one.fill(), passes))
    for one, own in zip(passes, strategies, strict=True):
        one.finish(manifest_of(tmp_path / "pass", own))
        one.__exit__(None, None, None)
    assert len(written) == 20 * len(strategies)


def test_parts_of_several_stores_are_one_pass_too(
    tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, strategies, parts = tmp_path / "pass", STRATEGIES[:3], 2

    def notes(strategy: str) -> list[Path]:
        return [folder / f"parts-{strategy}-{part}" for part in range(parts)]

    for strategy, part in itertools.product(strategies, range(parts)):
        also = {one: manifest_of(folder, one) for one in strategies if one != strategy}
        manifest = manifest_of(folder, strategy)
        filling = StoreFilling.of(
            tiles, card(), strategy, manifest, SETTINGS, CARD_PATH, BLOCK_ROWS
        )
        fill_part(filling, part, parts, notes(strategy)[part], also)
        if (strategy, part) == (strategies[0], parts - 1):
            monkeypatch.setattr(NetworkEmbedder, "_batch", None)
    monkeypatch.undo()
    for strategy in strategies:
        finish_store(manifest_of(folder, strategy), notes(strategy))
        job(tiles, tmp_path / "alone", strategy, strategies=())
    found = {p: content for p, content in files_of(folder).items() if "parts" not in p.name}
    assert found == files_of(tmp_path / "alone")
