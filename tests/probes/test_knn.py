import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from transferscope.cards import DatasetCard
from transferscope.config import KnnSettings, SplitSettings
from transferscope.parquet import read_parquet
from transferscope.probes import knn
from transferscope.probes.evaluation import ProbeData
from transferscope.probes.knn import CosineSpace, majority, nearest, run_knn, score_knn
from transferscope.probes.splits import make_splits
from transferscope.score_table import SCORE_COLUMNS

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
def test_predictions_equal_scikit_learn_on_the_same_folds(task: str) -> None:
    data = probe_data(task)
    table = run_knn(data, KnnSettings(k=[10, 1, 5, 4])).predictions()
    features = data.embeddings.astype(np.float64)
    for division in data.divisions:
        for k in (1, 4, 5, 10):
            reference = KNeighborsClassifier(k, metric="cosine", algorithm="brute")
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


def brute_force(embeddings: np.ndarray, query: int, candidates: np.ndarray, k: int) -> list[int]:
    """Return the nearest rows by cosine, ties by row number."""
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    similarity = np.round(unit[candidates] @ unit[query], 9)
    return sorted(candidates[np.lexsort((candidates, -similarity))][:k].tolist())


@pytest.mark.parametrize("copies", [1, 3, 40])
def test_ties_go_to_the_lower_row_however_many_there_are(copies: int) -> None:
    rng = np.random.default_rng(1)
    distinct = rng.integers(-2, 3, (120 // copies + 1, 6)) + 0.5
    embeddings = distinct[rng.integers(0, len(distinct), 120)].astype(np.float32)
    candidates = rng.permutation(100)
    queries = np.arange(100, 120)
    space = CosineSpace.of(torch.from_numpy(embeddings))
    few, many = nearest(space, queries, candidates, [30, 100], [[3], [1, 7, 20]])
    for position, query in enumerate(queries):
        expected = brute_force(embeddings.astype(np.float64), query, candidates[:30], 3)
        assert sorted(few[position].tolist()) == expected
        for k in (1, 7, 20):
            expected = brute_force(embeddings.astype(np.float64), query, candidates, k)
            assert sorted(many[position, :k].tolist()) == expected


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    data = probe_data()
    whole = run_knn(data, KnnSettings(k=[1, 5])).predictions()
    monkeypatch.setattr(knn, "BLOCK_BYTES", 1)
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
    score_knn(data, KnnSettings(k=[1, 5]), *paths)
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
