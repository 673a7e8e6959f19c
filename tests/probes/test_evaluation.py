from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from transferscope.cards import DatasetCard
from transferscope.compare.number_format import read_number_formats
from transferscope.config.jobs import Leakage
from transferscope.config.probes import KnnSettings, SplitSettings
from transferscope.errors import UserError
from transferscope.probes.evaluation import (
    ProbeData,
    evaluated_part,
    read_divisions,
    write_tables,
)
from transferscope.probes.knn import run_knn
from transferscope.probes.splits import make_splits, write_splits
from transferscope.runtime.devices import torch_device
from transferscope.stores.block_store import BlockStore
from transferscope.stores.manifest import EMBEDDINGS_FORMAT, store_of
from transferscope.stores.parquet import read_parquet, write_parquet

CLASSES = ["er", "golgi"]
CARD = DatasetCard(name="d", sheet="s.tsv", channels=["nucleus", "protein"], labels=CLASSES)
COLUMNS = [
    {"output": "cls", "channel": "nucleus", "start": 0, "stop": 3},
    {"output": "mean", "channel": "nucleus", "start": 3, "stop": 6},
    {"output": "cls", "channel": "protein", "start": 6, "stop": 9},
    {"output": "mean", "channel": "protein", "start": 9, "stop": 12},
]


def tile_table() -> pd.DataFrame:
    ids = [f"t{i}" for i in range(24)]
    groups = [f"g{i // 2}" for i in range(24)]
    labels = [CLASSES[i // 2 % 2] for i in range(24)]
    return pd.DataFrame({"tile_id": ids, "group": groups, "labels": labels, "fov": ids})


def write_store(folder: Path, embeddings: np.ndarray, ids: list[str], **attributes: object) -> Path:
    manifest = folder / "replicate.json"
    store = BlockStore.open_or_create(
        store_of(manifest),
        format=EMBEDDINGS_FORMAT,
        array="embeddings",
        fingerprint="f",
        shape=embeddings.shape,
        dtype="float32",
        block_rows=len(embeddings),
        ids=ids,
        attributes={"columns": COLUMNS, **attributes},
    )
    store.write_block(0, embeddings)
    store.finish(manifest)
    return manifest


def read(
    folder: Path,
    embeddings: np.ndarray,
    representation: str,
    channels: str,
    **attributes: object,
) -> ProbeData:
    table = tile_table()
    write_parquet(table, folder / "tiles.parquet", {})
    chosen = SplitSettings(folds={"group": 2, "image": 2}, seeds=[0])
    write_splits(make_splits(table, CARD, chosen), folder / "splits.parquet")
    return ProbeData.read(
        write_store(folder, embeddings, table["tile_id"].tolist(), **attributes),
        representation,
        channels,
        folder / "tiles.parquet",
        folder / "splits.parquet",
        CARD,
        [1.0],
        ["macro_f1"],
    )


def random_embeddings() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(24, 12)).astype(np.float32)


@pytest.mark.parametrize(
    ("representation", "channels", "columns"),
    [
        ("vit", "replicate", [[0, 1, 2, 6, 7, 8]]),
        ("vit@mean", "replicate", [[3, 4, 5, 9, 10, 11]]),
        ("vit@mean", "mean", [[3, 4, 5], [9, 10, 11]]),
    ],
)
def test_the_named_representation_is_read(
    tmp_path: Path, representation: str, channels: str, columns: list[list[int]]
) -> None:
    embeddings = random_embeddings()
    data = read(tmp_path, embeddings, representation, channels)
    expected = np.mean([embeddings[:, part] for part in columns], axis=0)
    np.testing.assert_allclose(data.embeddings, expected, rtol=1e-6)
    assert data.identity == {
        "dataset": "d",
        "backbone": representation,
        "channels": channels,
        "task": "multi-label",
    }


def test_what_the_store_says_of_its_number_format_goes_with_the_scores(tmp_path: Path) -> None:
    found = {"n_tiles": 24, "same_nearest": 22, "overlap": 0.9}
    rows = [
        {"output": output, "channels": channels, **found, "same_nearest": same}
        for output, channels, same in (("cls", "mean", 24), ("mean", "mean", 22))
    ]
    formats = {"precision": "bf16", "dtype": "float32"}
    data = read(tmp_path, random_embeddings(), "vit@mean", "mean", neighbours_kept=rows, **formats)
    assert data.number_format == formats | found
    paths = tmp_path / "mean.parquet", tmp_path / "mean.predictions.parquet"
    write_tables(data, *paths, lambda sink: run_knn(data, KnnSettings(k=[1]), sink=sink))
    (row,) = read_number_formats([paths[0]]).to_dict("records")
    assert row == {**formats, **found, "dataset": "d", "backbone": "vit@mean", "channels": "mean"}


def test_stores_that_do_not_say_it_have_nothing_to_tell(tmp_path: Path) -> None:
    data = read(tmp_path, random_embeddings(), "vit@mean", "mean")
    assert data.number_format is None
    paths = tmp_path / "mean.parquet", tmp_path / "mean.predictions.parquet"
    write_tables(data, *paths, lambda sink: run_knn(data, KnnSettings(k=[1]), sink=sink))
    assert "number_format" not in read_parquet(paths[0]).attrs
    assert read_number_formats([paths[0]]).empty


def test_embeddings_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    embeddings = random_embeddings()
    embeddings[5, 0] = np.inf
    with pytest.raises(UserError, match="1 embeddings are not finite, first of tile t5"):
        read(tmp_path, embeddings, "vit", "replicate")


def test_a_store_of_other_tiles_is_refused(tmp_path: Path) -> None:
    data = read(tmp_path, random_embeddings(), "vit", "replicate")
    write_parquet(tile_table().iloc[::-1], tmp_path / "tiles.parquet", {})
    with pytest.raises(UserError, match="holds other tiles than"):
        ProbeData.read(
            tmp_path / "replicate.json",
            "vit",
            "replicate",
            tmp_path / "tiles.parquet",
            tmp_path / "splits.parquet",
            CARD,
            [1.0],
            data.metrics,
        )


def test_divisions_hold_what_the_fraction_allows() -> None:
    table = tile_table()
    splits = make_splits(table, CARD, SplitSettings(folds={"group": 2, "image": 2}, seeds=[0]))
    shuffled = splits.sample(frac=1, random_state=0)
    shuffled.attrs = splits.attrs
    for division in read_divisions(shuffled, [1.0, 0.5]):
        part = splits.query("scheme == @division.scheme and fold == @division.fold")
        inside = part[part["share"] < division.fraction]
        for role in ("train", "validation", "test"):
            expected = inside.loc[inside["role"] == role, "row"].tolist()
            assert getattr(division, role).tolist() == expected
        assert (division.train_shares < division.fraction).all()


def test_asking_for_a_missing_gpu_is_a_users_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert torch_device("auto").type == "cpu"
    with pytest.raises(UserError, match="no usable GPU"):
        torch_device("cuda")


def test_a_backbone_that_was_kept_from_a_fold_is_evaluated_there_alone():
    rows = [(s, d, f) for s in ("group", "image") for d in (0, 1) for f in (0, 1, 2)]
    splits = pd.DataFrame(rows, columns=["scheme", "seed", "fold"])
    assert evaluated_part(splits, Leakage(seen_in_training="images")) is splits
    only = Leakage(only={"scheme": "group", "seed": 1, "fold": 2})
    assert evaluated_part(splits, only).to_numpy().tolist() == [["group", 1, 2]]
