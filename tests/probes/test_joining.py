"""Joined stores: no part drowns another one, a copy adds nothing, and validation tiles choose."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler, normalize

from transferscope.cards import DatasetCard
from transferscope.config.probes import HeadSettings, KnnSettings, SplitSettings
from transferscope.errors import UserError
from transferscope.probes.evaluation import ProbeData
from transferscope.probes.heads import run_heads
from transferscope.probes.joining import join, joined
from transferscope.probes.knn import run_knn
from transferscope.probes.registry import HEADS, KNN
from transferscope.probes.splits import make_splits
from transferscope.probes.written import ScoreFiles

LABELS = ["G1", "S", "M"]
SPLITS = SplitSettings(folds={"group": 3, "image": 3}, seeds=[0, 1], fractions=[0.5, 1.0], halves=1)
PROBES = {
    HEADS: HeadSettings(kinds=["logreg", "mlp"], epochs=3, hidden=[8]),
    KNN: KnnSettings(k=[3], metrics=["cosine", "euclidean"], exclude="none"),
}
METRICS = ["macro_f1", "class_f1", "brier"]
NAMED = ["head", "k", "seed", "fold", "metric", "class"]
GROUPS, TILES = 36, 3


@pytest.fixture(scope="module")
def parts():
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(GROUPS), TILES)
    names = [f"t{n}" for n in range(len(group))]
    table = pd.DataFrame({"tile_id": names, "group": [f"g{g:02}" for g in group], "fov": names})
    table["labels"] = [LABELS[g % 3] for g in group]
    card = DatasetCard(name="cells", sheet="s", channels=["x"], labels=LABELS, task="single-label")
    splits = make_splits(table, card, SPLITS)

    def store(name, width, scale):
        values = rng.normal(size=(len(group), width)) + 1.5 * np.eye(3, width)[group % 3]
        identity = {"dataset": "cells", "backbone": name, "channels": "map"}
        return ProbeData.of(scale * values, table, splits, [1.0], METRICS, identity)

    return [store("dino", 6, 100.0), store("resnet", 24, 0.01)]


@pytest.fixture(scope="module")
def tables(parts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("joining")
    paths = ScoreFiles(*(folder / f"{name}.parquet" for name in ("s", "p", "h")))
    join(parts, "dino,resnet", SPLITS, PROBES, "macro_f1", paths)
    return {name: pd.read_parquet(getattr(paths, name)) for name in vars(paths)}


def test_each_part_alone_has_the_scores_of_the_study(parts, tables):
    for number, data in enumerate(parts, 1):
        scores = tables["scores"].query(f"scheme == 'part-{number}'")
        found = scores.set_index(NAMED).sort_index()
        runs = (run_heads(data, PROBES[HEADS]), run_knn(data, PROBES[KNN]))
        plain = pd.concat([run.scores() for run in runs])
        plain = plain.query("scheme == 'group' and head != 'floor'")
        expected = plain.set_index(NAMED).sort_index()
        assert len(found) == len(expected) > 0
        for column in ("value", "validation"):
            np.testing.assert_allclose(found[column], expected[column], atol=1e-6)


def test_in_each_fold_the_part_with_the_higher_validation_score_is_chosen(tables):
    keys = ["head", "k", "seed", "fold", "tile_id"]
    scores = tables["scores"].query("metric == 'macro_f1'").astype({"k": "float"}).fillna({"k": 0})
    known = scores.pivot_table(
        values="validation", index=["head", "k", "seed", "fold"], columns="scheme"
    )
    predicted = tables["predictions"].astype({"k": "float"}).fillna({"k": 0})
    predicted = predicted.set_index(keys).sort_index()
    picked = set()
    for fold, own in known.iterrows():
        best = "part-1" if own["part-1"] >= own["part-2"] else "part-2"
        picked.add(best)
        of_fold = predicted.loc[fold]
        chosen, expected = (
            of_fold[of_fold["scheme"] == scheme].drop(columns="scheme")
            for scheme in ("chosen", best)
        )
        pd.testing.assert_frame_equal(chosen, expected)
    assert picked == {"part-1", "part-2"}
    assert set(tables["halves"]["scheme"]) == {"joined", "chosen", "part-1", "part-2"}


def test_a_joined_head_is_that_of_parts_of_equal_weight(parts, tables):
    predicted = tables["predictions"].query("scheme == 'joined' and head == 'logreg'")
    found = predicted.set_index(["seed", "fold", "tile_id"])
    truth = parts[0].tiles.class_index()
    for division in (d for d in parts[0].divisions if d.scheme == "group"):
        sides = []
        for data in parts:
            scaler = StandardScaler().fit(data.embeddings[division.train])
            width = data.embeddings.shape[1]
            sides.append(scaler.transform(data.embeddings) * np.sqrt(15 / 2 / width))
        both = np.concatenate(sides, axis=1)
        model = LogisticRegression(C=1.0, max_iter=5000, tol=1e-8)
        model.fit(both[division.train], truth[division.train])
        own = found.loc[division.seed, division.fold]
        said = own.loc[parts[0].tiles.tile_ids[division.test], [f"score_{n}" for n in range(3)]]
        np.testing.assert_allclose(said, model.predict_proba(both[division.test]), atol=2e-3)


@pytest.mark.parametrize(("metric", "head"), [("cosine", "knn"), ("euclidean", "knn-euclidean")])
def test_joined_neighbours_count_both_parts_equally(parts, tables, metric, head):
    predicted = tables["predictions"].query(f"scheme == 'joined' and head == '{head}'")
    found = predicted.set_index(["seed", "fold", "tile_id"])
    truth = parts[0].tiles.class_index()
    for division in (d for d in parts[0].divisions if d.scheme == "group"):
        sides = []
        for data in parts:
            values = data.embeddings.astype(np.float64)
            spread = np.sqrt(values[division.train].var(axis=0).sum())
            sides.append(normalize(values) if metric == "cosine" else values / spread)
        both = np.concatenate(sides, axis=1)
        model = KNeighborsClassifier(3, metric="euclidean", algorithm="brute")
        model.fit(both[division.train], truth[division.train])
        own = found.loc[division.seed, division.fold]
        said = own.loc[parts[0].tiles.tile_ids[division.test], [f"score_{n}" for n in range(3)]]
        np.testing.assert_allclose(said, model.predict_proba(both[division.test]), atol=1e-6)


def test_a_store_joined_with_its_own_copy_is_the_same_to_logistic_regression_and_neighbours(parts):
    alone, both = parts[0], joined([parts[0], parts[0]], "dino,dino")
    settings = HeadSettings(kinds=["logreg"])
    for one, two in (
        (run_heads(alone, settings), run_heads(both, settings)),
        (run_knn(alone, PROBES[KNN]), run_knn(both, PROBES[KNN])),
    ):
        for column in range(3):
            scores = [each.predictions()[f"score_{column}"] for each in (one, two)]
            np.testing.assert_allclose(*scores, atol=2e-3)
        assert one.scores()["value"].round(3).equals(two.scores()["value"].round(3))


def test_stores_of_other_tiles_are_refused(parts):
    table = pd.DataFrame({"tile_id": ["a"], "group": ["g"], "fov": ["a"], "labels": ["S"]})
    splits = pd.DataFrame({"scheme": [], "seed": [], "fold": [], "row": []})
    splits.attrs.update(classes=LABELS, task="single-label")
    identity = {"dataset": "cells", "backbone": "other", "channels": "map"}
    other = ProbeData.of(np.zeros((1, 2)), table, splits, [1.0], METRICS, identity)
    with pytest.raises(UserError, match="other is of other tiles"):
        joined([parts[0], other], "dino,other")
