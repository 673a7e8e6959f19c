"""Heads on tiles without a channel are those of the untouched tiles: nothing is trained there."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler

from transferscope.cards import DatasetCard
from transferscope.config.probes import HeadSettings, KnnSettings, SplitSettings
from transferscope.errors import UserError
from transferscope.probes.ablation import ablate, with_views
from transferscope.probes.evaluation import ProbeData
from transferscope.probes.heads import run_heads
from transferscope.probes.knn import run_knn
from transferscope.probes.registry import HEADS, KNN
from transferscope.probes.splits import make_splits
from transferscope.probes.written import ScoreFiles

LABELS = ["G1", "S", "M"]
SPLITS = SplitSettings(folds={"group": 3, "image": 3}, seeds=[0, 1], fractions=[0.5, 1.0], halves=1)
PROBES = {
    HEADS: HeadSettings(kinds=["logreg", "mlp"], epochs=3, hidden=[8]),
    KNN: KnnSettings(k=[3], metrics=["euclidean"], exclude="none"),
}
METRICS = ["macro_f1", "class_f1", "brier"]
NAMED = ["head", "seed", "fold", "metric", "class"]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(36), 3)
    names = [f"t{n}" for n in range(len(group))]
    table = pd.DataFrame({"tile_id": names, "group": [f"g{g:02}" for g in group], "fov": names})
    table["labels"] = [LABELS[g % 3] for g in group]
    values = rng.normal(size=(len(group), 6)) + 1.5 * np.eye(3, 6)[group % 3]
    card = DatasetCard(name="cells", sheet="s", channels=["x"], labels=LABELS, task="single-label")
    splits = make_splits(table, card, SPLITS)
    identity = {"dataset": "cells", "backbone": "dino", "channels": "map"}
    return ProbeData.of(values, table, splits, [1.0], METRICS, identity)


@pytest.fixture(scope="module")
def views(data):
    shuffled = data.embeddings.copy()
    shuffled[:, 0] = shuffled[np.random.default_rng(1).permutation(len(shuffled)), 0]
    return {"permuted-x": shuffled, "zeroed-x": np.zeros_like(data.embeddings)}


@pytest.fixture(scope="module")
def tables(data, views, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ablation")
    paths = ScoreFiles(*(folder / f"{name}.parquet" for name in ("s", "p", "h")))
    ablate(data, views, SPLITS, PROBES, paths)
    return {name: pd.read_parquet(getattr(paths, name)) for name in vars(paths)}


def test_untouched_tiles_have_the_scores_of_the_study(data, tables):
    found = tables["scores"].query("scheme == 'untouched'").set_index(NAMED).sort_index()
    runs = (run_heads(data, PROBES[HEADS]), run_knn(data, PROBES[KNN]))
    plain = pd.concat([run.scores() for run in runs]).query("scheme == 'group'")
    expected = plain.set_index(NAMED).sort_index()
    assert len(found) == len(expected) > 0
    for column in ("value", "validation"):
        np.testing.assert_allclose(found[column], expected[column], atol=1e-6)
    for column in ("n_train", "n_validation", "n_test"):
        assert (found[column] == expected[column]).all()


def test_ablated_tiles_are_judged_by_scaler_and_head_of_untouched_ones(data, views, tables):
    scores = tables["scores"].query("head == 'logreg' and metric == 'macro_f1'")
    found = scores.set_index(["scheme", "seed", "fold"])["value"]
    truth = data.tiles.class_index()
    n_checked = 0
    for division in data.divisions:
        if division.scheme != "group":
            continue
        scaler = StandardScaler().fit(data.embeddings[division.train])
        model = LogisticRegression(C=1.0, max_iter=5000, tol=1e-8)
        model.fit(scaler.transform(data.embeddings[division.train]), truth[division.train])
        for name, embeddings in views.items():
            said = model.predict(scaler.transform(embeddings[division.test]))
            expected = f1_score(truth[division.test], said, average="macro")
            assert found[name, division.seed, division.fold] == pytest.approx(expected, abs=1e-9)
            n_checked += 1
    assert n_checked == 2 * 2 * 3


def test_all_versions_are_of_the_same_tiles_and_groups(tables):
    keys = ["head", "seed", "fold", "tile_id"]
    predictions = tables["predictions"]
    parts = {
        scheme: own.sort_values(keys)[[*keys, "group", "true_0"]].to_numpy()
        for scheme, own in predictions.groupby("scheme")
    }
    assert set(parts) == {"untouched", "permuted-x", "zeroed-x"}
    for own in parts.values():
        assert (own == parts["untouched"]).all()
    assert set(tables["halves"]["scheme"]) == set(parts)


def test_no_ablated_row_is_trained_on_or_tunes(data, views):
    whole = with_views(data, views)
    n_tiles = len(data.tiles)
    for division in whole.divisions:
        assert division.train.max() < n_tiles
        assert division.validation.max() < n_tiles
        assert {int(row) // n_tiles for row in division.test} == {0, 1, 2}


def test_stores_of_another_shape_are_refused(data):
    with pytest.raises(UserError, match="embeddings of shape"):
        with_views(data, {"zeroed-x": data.embeddings[:, :2]})
