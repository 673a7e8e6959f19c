"""Published tiles are read where they are: a block a request, compared with their checksums."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from factories import CLASSES, DATASET_CARD, write_study, write_yaml
from object_store import ObjectStore
from tile_stores import CHANNELS, copy_tiles
from transferscope.cards import DatasetCard
from transferscope.cards.lookup import SHIPPED
from transferscope.errors import UnreachableError, UserError
from transferscope.runtime.checksum_list import as_list
from transferscope.steps.plan import Plan
from transferscope.steps.preflight import preflight
from transferscope.stores.parquet import read_parquet, write_parquet
from transferscope.stores.reader import DamagedBlockError
from transferscope.stores.tile_store import TileStore
from transferscope.study.defaults import merged_config
from transferscope.study.loading import load_study
from transferscope.study.study import Study
from transferscope.tiles.published import take_published
from transferscope.training.tiles import TrainingTiles
from transferscope.transport import access
from transferscope.upkeep.verify import repair, verify

N_TILES, BLOCK = 40, 16
PIXELS = np.random.default_rng(0).integers(0, 3000, (N_TILES, 3, 32, 32), dtype=np.uint16)
IDS = [f"tile{i}" for i in range(N_TILES)]


def table(**columns: object) -> pd.DataFrame:
    groups = [f"g{i % 12}" for i in range(N_TILES)]
    labels = [CLASSES[i % 12 % 3] for i in range(N_TILES)]
    values = {"tile_id": IDS, "group": groups, "labels": labels, "fov": IDS, "batch": ""}
    return pd.DataFrame({**values, **columns})


@pytest.fixture
def url(store: ObjectStore, tmp_path: Path) -> str:
    """Return the URL of the manifest of a published store."""
    folder = tmp_path / "made/tiles"
    copy_tiles(PIXELS, folder)
    write_parquet(table(), folder / "cells.tiles.parquet", {"dataset": "cells"})
    (folder / "cells.quality.csv").write_text("tile_id\n")
    (folder / "cells.skipped.tsv").write_text("tile_id\n")
    published = store.put(folder.parent, tmp_path.name)
    finish(store, tmp_path.name)
    return f"{published}/tiles/cells.json"


def finish(store: ObjectStore, folder: str) -> None:
    """Write the list of checksums of a publication."""
    names = ("tiles.parquet", "quality.csv", "skipped.tsv")
    contents = {f"tiles/cells.{name}": store.read(f"{folder}/tiles/cells.{name}") for name in names}
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    store.write(f"{folder}/SHA256SUMS", as_list(sums))


def card(url: str, **changes: object) -> DatasetCard:
    values = {key: value for key, value in DATASET_CARD.items() if key != "sheet"}
    values = {**values, "channels": CHANNELS, "published": url}
    return DatasetCard.model_validate({**values, **changes})


def take(dataset: DatasetCard, folder: Path) -> TileStore:
    names = {"tile_table": "t.parquet", "quality": "q.csv", "skipped": "s.tsv"}
    paths = {key: folder / name for key, name in names.items()}
    take_published(dataset, Path("my-card.yaml"), manifest=folder / "cells.json", **paths)
    return TileStore(folder / "cells.json")


@pytest.fixture
def chunks_asked(monkeypatch: pytest.MonkeyPatch, url: str) -> list[str]:
    """Return a list of the requests for pixels, as they come."""
    asked: list[str] = []
    for asynchronous in (False, True):
        system, _ = access.located(url, asynchronous=asynchronous)
        monkeypatch.setattr(system, "_cat_file", _counting(system._cat_file, asked))
        monkeypatch.setattr(system, "cat_file", _counting(system.cat_file, asked))
    return asked


def _counting(read: Callable[..., object], asked: list[str]) -> Callable[..., object]:
    def counting(path: str, *args: object, **kwargs: object) -> object:
        if "/images/c/" in path:
            asked.append(path.partition("/images/c/")[2])
        return read(path, *args, **kwargs)

    return counting


def test_the_tables_are_copied_and_the_store_is_not(url: str, tmp_path: Path) -> None:
    store = take(card(url, name="mine"), tmp_path / "taken")
    assert store.tile_ids == IDS
    np.testing.assert_array_equal(store.read(3, 37), PIXELS[3:37])
    taken = read_parquet(tmp_path / "taken/t.parquet")
    pd.testing.assert_frame_equal(taken, table(), check_dtype=False)
    assert taken.attrs == {"dataset": "mine"}
    found = sorted(path.name for path in (tmp_path / "taken").iterdir())
    assert found == ["cells.json", "q.csv", "s.tsv", "t.parquet"]


def test_rows_in_turn_cost_a_request_a_block(
    url: str, tmp_path: Path, chunks_asked: list[str]
) -> None:
    store = take(card(url), tmp_path / "taken")
    parts = [store.read(start, min(start + 7, N_TILES)) for start in range(0, N_TILES, 7)]
    np.testing.assert_array_equal(np.concatenate(parts), PIXELS)
    assert [name[0] for name in chunks_asked] == ["0", "1", "2"]


def test_a_single_row_is_not_its_block(url: str, tmp_path: Path, chunks_asked: list[str]) -> None:
    store = take(card(url), tmp_path / "taken")
    for row in (16, 5, 39):
        np.testing.assert_array_equal(store.read(row, row + 1), PIXELS[row : row + 1])
    assert len(store._blocks._held) == 0
    assert {name[0] for name in chunks_asked} == {"0", "1", "2"}


@pytest.fixture
def damaged(store: ObjectStore, url: str, tmp_path: Path) -> TileStore:
    """Return taken tiles, the second block of which is another one."""
    taken = take(card(url), tmp_path / "study/tiles")
    other = copy_tiles(PIXELS + 1, tmp_path / "other").with_suffix(".zarr")
    key = f"{tmp_path.name}/tiles/cells.zarr/images/c/1/0/0/0"
    store.write(key, (other / "images/c/1/0/0/0").read_bytes())
    return taken


def test_a_damaged_block_is_noticed_when_it_is_read(damaged: TileStore) -> None:
    with pytest.raises(DamagedBlockError, match="block 1") as raised:
        damaged.read(0, N_TILES)
    assert "transferscope publish" in raised.value.problems[0].fix
    np.testing.assert_array_equal(damaged.read(0, 7), PIXELS[:7])
    with pytest.raises(DamagedBlockError, match="block 1"):
        damaged.read(7, 20)


def test_a_training_reads_far_tiles_by_whole_blocks_and_notices_damage(
    damaged: TileStore, chunks_asked: list[str]
) -> None:
    rows = np.array([39, 3, 33, 5])
    tiles = TrainingTiles(TileStore(damaged.manifest_path), rows, in_memory=True)
    assert [name[0] for name in chunks_asked] == ["0", "2"]
    np.testing.assert_array_equal(tiles.batch(np.arange(4)).numpy(), PIXELS[rows])
    with pytest.raises(DamagedBlockError, match="block 1"):
        TrainingTiles(damaged, np.array([3, 17]), in_memory=True)


def test_far_damage_is_not_repaired_by_removing_what_is_here(
    damaged: TileStore, store: ObjectStore, tmp_path: Path
) -> None:
    manifest = tmp_path / "study/tiles/cells.json"
    [fault] = verify(tmp_path / "study").faults
    assert (fault.file, fault.block, fault.is_far) == (manifest, 1, True)
    assert "transferscope publish" in fault.repair("snakemake")
    assert "rm " not in fault.repair("snakemake")
    assert repair([fault]) == [fault]
    store.delete(f"{tmp_path.name}/tiles/cells.zarr/zarr.json")
    [fault] = verify(tmp_path / "study").faults
    assert repair([fault]) == [fault]
    assert manifest.exists()


def test_a_silent_server_is_no_damage(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = take(card(url), tmp_path / "study/tiles")

    async def silent(*_: object, **__: object) -> None:
        raise TimeoutError("read timeout")

    system, _ = access.located(url, asynchronous=True)
    monkeypatch.setattr(system, "_cat_file", silent)
    for ask in (lambda: verify(tmp_path / "study"), lambda: taken.read(5, 6)):
        with pytest.raises(UnreachableError, match="the server does not answer"):
            ask()


def study_of(folder: Path, url: str, **changes: object) -> Study:
    write_study(folder)
    plain = card(url, **changes).model_dump(mode="json", exclude_defaults=True)
    write_yaml(folder / "cards/datasets/cells.yaml", plain)
    config = merged_config(folder / "study.yaml")
    return load_study(config, [folder, SHIPPED], "study.yaml")


def other_labels(store: ObjectStore, folder: str, local: Path) -> str:
    write_parquet(table(labels="unheard-of"), local, {})
    store.write(f"{folder}/tiles/cells.tiles.parquet", local.read_bytes())
    finish(store, folder)
    return 'cells.tiles.parquet, column labels: unknown label "unheard-of"'


def no_manifest(store: ObjectStore, folder: str, local: Path) -> str:
    store.delete(f"{folder}/tiles/cells.json")
    return r"cells.yaml, key published: s3://\S+/tiles/cells.json: does not exist"


def no_store(store: ObjectStore, folder: str, local: Path) -> str:
    store.delete(f"{folder}/tiles/cells.zarr/zarr.json")
    return r"key published: s3://\S+/tiles/cells.zarr: the store is missing or damaged"


def half_of_it(store: ObjectStore, folder: str, local: Path) -> str:
    store.delete(f"{folder}/SHA256SUMS")
    return r"cells.yaml, key published: s3://\S+: holds no SHA256SUMS"


def another_table(store: ObjectStore, folder: str, local: Path) -> str:
    write_parquet(table(labels=CLASSES[0]), local, {})
    store.write(f"{folder}/tiles/cells.tiles.parquet", local.read_bytes())
    return r"key published: s3://\S+/cells.tiles.parquet: differs from its checksum"


FAULTS = [other_labels, no_manifest, no_store, half_of_it, another_table]


@pytest.mark.parametrize("change", FAULTS)
def test_what_is_wrong_is_found_before_a_run(
    store: ObjectStore,
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[ObjectStore, str, Path], str],
) -> None:
    monkeypatch.chdir(tmp_path)
    study = study_of(tmp_path / "study", url)
    preflight(study)
    said = change(store, tmp_path.name, tmp_path / "table.parquet")
    with pytest.raises(UserError, match=said):
        preflight(study)


def test_half_a_publication_is_not_taken(store: ObjectStore, url: str, tmp_path: Path) -> None:
    store.write(f"{tmp_path.name}/tiles/cells.skipped.tsv", b"other")
    with pytest.raises(UserError, match=r"cells.skipped.tsv: differs from its checksum"):
        take(card(url), tmp_path / "taken")
    assert not (tmp_path / "taken/cells.json").exists()


def test_other_channels_are_found_before_a_run(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="published tiles have the channels"):
        preflight(study_of(tmp_path / "study", url, channels=["nucleus", "protein"]))


def test_what_is_published_anew_is_taken_anew(
    store: ObjectStore, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = Plan(study_of(tmp_path / "study", url))
    wildcards = type("Wildcards", (), {"dataset": "cells"})()
    before = plan.steps["published"].depends(wildcards)
    assert plan.steps["published"].values("dataset") == ["cells"]
    assert "tiles" not in plan.steps
    assert plan.steps["published"].depends(wildcards) == before
    other_labels(store, tmp_path.name, tmp_path / "table.parquet")
    assert plan.steps["published"].depends(wildcards) != before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tiles": {"size": 64}}, "cut already"),
        ({"sheet": "samples.tsv"}, "either"),
        ({"published": "s3://plates/study"}, "manifest"),
        ({"published": "s3://plates/cells.json"}, "tiles/<dataset>.json"),
        ({"published": "file:///data/cells.json"}, "the URL"),
    ],
)
def test_a_card_that_says_too_much(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        card("s3://plates/tiles/cells.json", **changes)
