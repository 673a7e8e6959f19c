import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from transferscope.cards import DatasetCard
from transferscope.config.probes import KnnSettings, SplitSettings
from transferscope.errors import UserError
from transferscope.probes import nearest
from transferscope.probes.evaluation import Division, ProbeData, write_tables
from transferscope.probes.knn import majority, run_knn
from transferscope.probes.labels import LabelledTiles
from transferscope.probes.score_table import SCORE_COLUMNS
from transferscope.probes.splits import make_splits
from transferscope.stores.parquet import read_parquet

CLASSES = ["er", "golgi", "nucleus", "vesicles"]
METRICS = ["macro_f1", "micro_f1", "class_f1", "macro_average_precision", "accuracy"]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def probe_data(
    task: str = "multi-label", fractions: tuple[float, ...] = (0.3, 1.0), seed: int = 0
) -> ProbeData:
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(40), 4)
    matrix = np.eye(4, dtype=bool)[groups % 4]
    if task == "multi-label":
        matrix |= (rng.random((40, 4)) < 0.2)[groups]
    centres = rng.normal(size=(4, 16))
    embeddings = matrix @ centres + rng.normal(size=(len(groups), 16))
    table = pd.DataFrame(
        {
            "tile_id": [f"t{i}" for i in range(len(groups))],
            "group": [f"g{g}" for g in groups],
            "labels": [";".join(np.array(CLASSES)[row]) for row in matrix],
            "fov": [f"t{i}" for i in range(len(groups))],
        }
    )
    card = DatasetCard(name="d", sheet="s.tsv", channels=["nucleus"], task=task, labels=CLASSES)
    splits = make_splits(table, card, SplitSettings(folds={"group": 3, "image": 3}))
    identity = {"dataset": "d", "backbone": "b", "channels": "map"}
    return ProbeData.of(
        embeddings.astype(np.float32), table, splits, list(fractions), METRICS, identity
    )


def predictions_of(table: pd.DataFrame, k: int, division) -> np.ndarray:
    chosen = table[
        (table["k"] == k)
        & (table["scheme"] == division.scheme)
        & (table["seed"] == division.seed)
        & (table["fold"] == division.fold)
        & (table["fraction"] == division.fraction)
    ]
    assert chosen["row"].tolist() == division.test.tolist()
    return chosen[[f"predicted_{j}" for j in range(len(CLASSES))]].to_numpy()


@pytest.mark.parametrize("task", ["multi-label", "single-label"])
@pytest.mark.parametrize(
    ("metric", "votes", "head"),
    [
        ("cosine", "majority", "knn"),
        ("euclidean", "majority", "knn-euclidean"),
        ("cosine", "distance", "knn-distance"),
        ("euclidean", "distance", "knn-euclidean-distance"),
    ],
)
def test_predictions_equal_scikit_learn_on_the_same_folds(
    task: str, metric: str, votes: str, head: str
) -> None:
    data = probe_data(task)
    every = {"metrics": ["cosine", "euclidean"], "votes": ["majority", "distance"]}
    table = run_knn(data, KnnSettings(k=[10, 1, 5, 4], **every)).predictions()
    table = table[table["head"] == head]
    weights = {"majority": "uniform", "distance": "distance"}[votes]
    features = data.embeddings.astype(np.float64)
    for division in data.divisions:
        for k in (1, 4, 5, 10):
            reference = KNeighborsClassifier(k, metric=metric, weights=weights, algorithm="brute")
            if task == "multi-label":
                reference.fit(features[division.train], data.tiles.matrix[division.train])
                expected = reference.predict(features[division.test]).astype(bool)
            else:
                classes = data.tiles.class_index()
                reference.fit(features[division.train], classes[division.train])
                predicted = reference.predict(features[division.test])
                expected = predicted[:, None] == np.arange(len(CLASSES))
            np.testing.assert_array_equal(predictions_of(table, k, division), expected)


def test_scores_are_the_shares_of_the_neighbours() -> None:
    data = probe_data()
    table = run_knn(data, KnnSettings(k=[5])).predictions()
    division = data.divisions[0]
    features = data.embeddings.astype(np.float64)
    reference = KNeighborsClassifier(5, metric="cosine", algorithm="brute")
    reference.fit(features[division.train], data.tiles.matrix[division.train])
    rows = reference.kneighbors(features[division.test], return_distance=False)
    expected = data.tiles.matrix[division.train][rows].mean(axis=1)
    first = table.iloc[: len(division.test)]
    np.testing.assert_allclose(first[[f"score_{j}" for j in range(4)]], expected, rtol=1e-6)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    data = probe_data()
    whole = run_knn(data, KnnSettings(k=[1, 5])).predictions()
    monkeypatch.setattr(nearest, "BLOCK_BYTES", 1)
    pd.testing.assert_frame_equal(run_knn(data, KnnSettings(k=[1, 5])).predictions(), whole)


def test_a_tie_means_absent_or_the_first_class() -> None:
    votes = np.array([[2, 2, 0], [1, 3, 0]])
    assert majority(votes, 4, True).tolist() == [[False] * 3, [False, True, False]]
    assert majority(votes, 4, False).tolist() == [[True, False, False], [False, True, False]]


def test_a_k_beyond_the_training_tiles_is_left_out_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = probe_data(fractions=(0.05, 1.0))
    with caplog.at_level(logging.INFO):
        scores = run_knn(data, KnnSettings(k=[1, 60])).scores()
    assert set(scores.loc[scores["fraction"] == 0.05, "k"]) == {1}
    assert set(scores.loc[scores["fraction"] == 1.0, "k"]) == {1, 60}
    assert "so no k of 60" in caplog.text


def test_the_largest_k_does_not_change_the_smaller_ones() -> None:
    data = probe_data()
    few = run_knn(data, KnnSettings(k=[3])).scores()
    many = run_knn(data, KnnSettings(k=[3, 20])).scores()
    same = many[many["k"] == 3].reset_index(drop=True)
    pd.testing.assert_frame_equal(few, same)


def test_test_rows_change_nothing_but_their_own_prediction() -> None:
    data = probe_data()
    division = data.divisions[0]
    changed = data.embeddings.copy()
    changed[division.test[1:]] = 7
    other = ProbeData(changed, data.tiles, [division], METRICS, data.identity)
    same = ProbeData(data.embeddings, data.tiles, [division], METRICS, data.identity)
    first = run_knn(same, KnnSettings(k=[5])).predictions().iloc[[0]]
    second = run_knn(other, KnnSettings(k=[5])).predictions().iloc[[0]]
    pd.testing.assert_frame_equal(first, second)


def test_tables_follow_the_contract(tmp_path: Path) -> None:
    data = probe_data()
    paths = tmp_path / "scores.parquet", tmp_path / "predictions.parquet"
    write_tables(data, *paths, lambda sink: run_knn(data, KnnSettings(k=[1, 5]), sink))
    scores, predictions = map(read_parquet, paths)
    assert list(scores.columns) == SCORE_COLUMNS
    # (4 metrics + 4 classes) x 2 k x 2 schemes x 3 folds x 2 fractions
    assert len(scores) == 8 * 2 * 2 * 3 * 2
    assert str(scores["k"].dtype) == "Int64"
    assert set(scores["task"]) == {"multi-label"}
    assert predictions.attrs == {"classes": CLASSES, "task": "multi-label"}
    # every tile is tested once a scheme, k and fraction
    assert len(predictions) == 160 * 2 * 2 * 2
    assert (predictions["tile_id"] == "t" + predictions["row"].astype(str)).all()


def test_no_k_means_no_rows() -> None:
    results = run_knn(probe_data(), KnnSettings(k=[]))
    assert results.scores().empty
    assert results.predictions().empty


def straddling(exclude: str, k: list[int], **settings: object) -> tuple[pd.DataFrame, ProbeData]:
    """Classify tiles whose fields lie on both sides: each field looks like no other field."""
    rng = np.random.default_rng(2)
    fovs = np.repeat(np.arange(30), 4)
    table = pd.DataFrame(
        {
            "tile_id": [f"t{i}" for i in range(120)],
            "group": [f"g{fov // 3}" for fov in fovs],
            "fov": [f"f{fov}" for fov in fovs],
            "batch": [f"b{fov % 2}" for fov in fovs],
            # A field's label says nothing about any other field.
            "labels": rng.choice(CLASSES, 30)[fovs],
        }
    )
    embeddings = rng.normal(size=(30, 16))[fovs] + 0.1 * rng.normal(size=(120, 16))
    data = ProbeData.of(
        embeddings.astype(np.float32),
        table,
        pd.DataFrame(
            {
                "scheme": "image",
                "seed": 0,
                "fold": 0,
                "row": np.arange(120),
                "role": np.where(np.arange(120) % 4 == 0, "test", "train"),
                "share": 0.0,
            }
        ).pipe(_with_attributes),
        [1.0],
        METRICS,
        {"dataset": "d", "backbone": "b", "channels": "map"},
    )
    return run_knn(data, KnnSettings(k=k, exclude=exclude, **settings)).scores(), data


def _with_attributes(splits: pd.DataFrame) -> pd.DataFrame:
    splits.attrs = {"classes": CLASSES, "task": "single-label"}
    return splits


def accuracy(scores: pd.DataFrame, k: int) -> float:
    chosen = scores[(scores["metric"] == "accuracy") & (scores["k"] == k)]
    return float(chosen["value"].iloc[0])


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_tiles_of_the_same_field_would_flatter_and_are_no_neighbours(metric: str) -> None:
    leaking, _ = straddling("none", [1, 3], metrics=[metric])
    honest, _ = straddling("fov", [1, 3], metrics=[metric])
    assert accuracy(leaking, 1) == accuracy(leaking, 3) == 1.0
    # Chance is 0.25 for four classes.
    assert accuracy(honest, 1) < 0.6
    assert accuracy(honest, 3) < 0.6


@pytest.mark.parametrize("exclude", ["fov", "group", "batch"])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_the_k_nearest_of_those_that_are_left_vote(exclude: str, metric: str) -> None:
    scores, data = straddling(exclude, [1, 7, 30], metrics=[metric])
    names = {"fov": data.tiles.fovs, "group": data.tiles.groups, "batch": data.tiles.batches}
    division, features = data.divisions[0], data.embeddings.astype(np.float64)
    truth = data.tiles.class_index()
    for k in (1, 7, 30):
        right = 0
        for query in division.test:
            other = names[exclude][division.train] != names[exclude][query]
            train = division.train[other]
            reference = KNeighborsClassifier(k, metric=metric, algorithm="brute")
            reference.fit(features[train], truth[train])
            right += int(reference.predict(features[[query]])[0] == truth[query])
        assert accuracy(scores, k) == right / len(division.test)


def test_a_k_beyond_the_tiles_that_are_left_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        scores, _ = straddling("batch", [1, 45, 46, 90])
    assert set(scores["k"]) == {1, 45}
    assert "only 45 training tiles to choose from, so no k of 46, 90" in caplog.text


def test_batches_that_are_not_known_cannot_be_excluded() -> None:
    with pytest.raises(UserError, match="160 tiles have no batch"):
        run_knn(probe_data(), KnnSettings(k=[1], exclude="batch"))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_equal_tiles_outvote_all_others(metric: str) -> None:
    embeddings = np.array([[1, 0], [1, 0], [0.9, 0.1], [0.9, 0.1], [1, 0]], dtype=np.float32)
    labels = ["er", "er", "golgi", "golgi", ""]
    table = pd.DataFrame({"group": list("abcde"), "labels": labels})
    tiles = LabelledTiles.from_table(table, CLASSES[:2], "single-label")
    train = np.array([1, 2, 3])
    division = Division(
        "group", 0, 0, 1.0, train, np.empty(0, int), np.array([0]), np.zeros(len(train))
    )
    identity = {"dataset": "d", "backbone": "b", "channels": "map", "task": "single-label"}
    data = ProbeData(embeddings, tiles, [division], ["accuracy"], identity)
    found = run_knn(data, KnnSettings(k=[3], metrics=[metric], votes=["distance", "majority"]))
    table = found.predictions().set_index("head")
    name = "knn" if metric == "cosine" else "knn-euclidean"
    assert table.loc[f"{name}-distance", ["score_0", "score_1"]].tolist() == [1, 0]
    assert table.loc[name, ["predicted_0", "predicted_1"]].tolist() == [False, True]
