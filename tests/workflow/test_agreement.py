"""The score tables of a finished study, against scikit-learn run plainly on its files."""

import numpy as np
import pandas as pd
import pytest
import zarr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from factories import CLASSES

pytestmark = pytest.mark.workflow


@pytest.fixture(scope="module")
def files(finished_study):
    """Return embeddings, truth, splits and the folder of the scores."""
    root = finished_study / "results/tiny"
    store = zarr.open(root / "embeddings/cells/handcrafted/features.zarr", mode="r")
    table = pd.read_parquet(root / "tiles/cells.tiles.parquet")
    truth = np.array([[c in labels.split(";") for c in CLASSES] for labels in table["labels"]])
    splits = pd.read_parquet(root / "splits/cells.parquet")
    return store["embeddings"][:].astype(np.float32), truth, splits, root / "scores"


def folds(splits):
    """Yield (scheme, fold, training rows, validation rows, test rows)."""
    for (scheme, fold), part in splits.groupby(["scheme", "fold"]):
        rows = {
            role: part.loc[part["role"] == role, "row"].to_numpy() for role in set(part["role"])
        }
        yield scheme, fold, rows["train"], rows["validation"], rows["test"]


def score(path, **where):
    table = pd.read_parquet(path / "cells/handcrafted/features.parquet")
    for column, value in {**where, "fraction": 1.0, "metric": "macro_f1"}.items():
        table = table[table[column] == value]
    (found,) = table["value"]
    return found


def macro_f1(truth, predicted):
    return f1_score(truth, predicted, average="macro", zero_division=np.nan)


def best_threshold(truth, scores):
    """Return the threshold with the best F1 by trying all; of equals the highest."""
    values = np.unique(scores)[::-1]
    candidates = [*((values[:-1] + values[1:]) / 2), values[-1]]
    return max(candidates, key=lambda t: f1_score(truth, scores >= t))


def thresholds(truth, scores, minimum=5):
    """Return the thresholds that the methods page describes."""
    pooled = best_threshold(truth.ravel(), scores.ravel())
    positives = truth.sum(axis=0)
    enough = (positives >= minimum) & (len(truth) - positives >= minimum)
    own = [best_threshold(t, s) for t, s in zip(truth.T, scores.T, strict=True)]
    return np.where(enough, own, pooled)


@pytest.mark.parametrize("k", [1, 3])
def test_neighbours_agree_exactly(files, k):
    embeddings, truth, splits, scores = files
    for scheme, fold, train, validation, test in folds(splits):
        plain = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute")
        near = plain.fit(embeddings[train]).kneighbors(embeddings, return_distance=False)
        votes = truth[train][near].sum(axis=1)
        predicted = votes[test] >= thresholds(truth[validation], votes[validation])
        found = score(scores / "knn", scheme=scheme, fold=fold, k=k)
        assert found == pytest.approx(macro_f1(truth[test], predicted), abs=1e-12)


def test_logistic_regression_agrees(files):
    embeddings, truth, splits, scores = files
    differences = []
    for scheme, fold, train, validation, test in folds(splits):
        scaler = StandardScaler().fit(embeddings[train])
        plain = OneVsRestClassifier(LogisticRegression(max_iter=2000))
        plain.fit(scaler.transform(embeddings[train]), truth[train].astype(int))
        probability = plain.predict_proba(scaler.transform(embeddings))
        predicted = probability[test] >= thresholds(truth[validation], probability[validation])
        found = score(scores / "heads", scheme=scheme, fold=fold, head="logreg")
        differences.append(found - macro_f1(truth[test], predicted))
    assert abs(np.mean(differences)) < 0.01


def test_no_group_is_on_both_sides(finished_study, files):
    splits = files[2]
    table = pd.read_parquet(finished_study / "results/tiny/tiles/cells.tiles.parquet")
    group = table["group"].to_numpy()
    for scheme, _, train, validation, test in folds(splits):
        if scheme == "group":
            assert not set(group[test]) & set(group[np.concatenate([train, validation])])
            assert not set(group[train]) & set(group[validation])
