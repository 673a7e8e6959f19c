"""Small studies for the tests: real classifiers on synthetic embeddings, written as probes do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, average_precision_score, f1_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier

from transferscope.compare.study import compare
from transferscope.compare.transfer import TransferPaths
from transferscope.config.jobs import Comparison
from transferscope.config.schemes import groups_per_class

CLASSES = ["er", "golgi", "mitochondria", "nucleus"]


@dataclass(frozen=True)
class Tiles:
    """A dataset: labels and groups of its tiles, and what a perfect embedding would show."""

    name: str
    task: str
    classes: list[str]
    true: np.ndarray
    group: np.ndarray
    signal: np.ndarray


@dataclass(frozen=True)
class Study:
    """Where the tables of a study were written."""

    folder: Path
    scores: list[Path]
    predictions: list[Path]


def make_tiles(
    name: str = "cells",
    task: str = "multi-label",
    classes: Sequence[str] = CLASSES,
    n_groups: int = 40,
    tiles_per_group: int = 3,
) -> Tiles:
    rng = np.random.default_rng([len(name), n_groups, len(classes)])
    main = np.arange(n_groups) % len(classes)
    labels = np.eye(len(classes), dtype=bool)[main]
    if task == "multi-label":
        labels |= rng.random(labels.shape) < 0.15
    group = np.repeat([f"g{i:04}" for i in range(n_groups)], tiles_per_group)
    own = rng.normal(size=(n_groups, 6)) * 0.8
    basis = rng.normal(size=(len(classes), 6))
    signal = np.repeat(labels @ basis + own, tiles_per_group, axis=0)
    return Tiles(
        name, task, list(classes), np.repeat(labels, tiles_per_group, axis=0), group, signal
    )


def embed(tiles: Tiles, noise: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return tiles.signal + noise * rng.normal(size=tiles.signal.shape)


def folds_of(tiles: Tiles, scheme: str, seed: int, n_folds: int) -> np.ndarray:
    rng = np.random.default_rng(seed + 100)
    names, codes = np.unique(tiles.group, return_inverse=True)
    if scheme != "image":
        return (rng.permutation(len(names)) % n_folds)[codes]
    return rng.permutation(len(codes)) % n_folds


def predict(
    tiles: Tiles, kind: str, k: int, train: np.ndarray, test: np.ndarray, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return predicted [tiles, classes] and scores [tiles, classes] of the test rows."""
    y = tiles.true[train]
    if kind == "floor":
        prior = np.tile(y.mean(axis=0), (len(test), 1))
        return _decide(prior, tiles.task, 0.5 * y.mean(axis=0).max()), prior
    if kind == "knn":
        model = KNeighborsClassifier(n_neighbors=min(k, len(train)))
        model.fit(x[train], y.astype(int))
        score = np.column_stack(
            [
                p[:, list(c).index(1)] if 1 in c else np.zeros(len(test))
                for p, c in zip(model.predict_proba(x[test]), model.classes_, strict=True)
            ]
        )
        return _decide(score, tiles.task, 0.5), score
    usable = y.any(axis=0) & ~y.all(axis=0)
    score = np.zeros((len(test), y.shape[1]))
    score[:, y.all(axis=0)] = 1
    if usable.any():
        one = LogisticRegression(C=0.3, solver="newton-cholesky")
        model = OneVsRestClassifier(one).fit(x[train], y[:, usable])
        found = model.predict_proba(x[test])
        score[:, usable] = found if usable.sum() > 1 else found[:, -1:]
    return _decide(score, tiles.task, 0.5), score


def _decide(score: np.ndarray, task: str, threshold: float) -> np.ndarray:
    if task == "single-label":
        return np.eye(score.shape[1], dtype=bool)[score.argmax(axis=1)]
    return score >= threshold


def metric_rows(
    true: np.ndarray, predicted: np.ndarray, score: np.ndarray, classes: list[str]
) -> list[tuple[str, str, float]]:
    seen = (true | predicted).any(axis=0)
    positive = true.any(axis=0)
    precision = [average_precision_score(true[:, j], score[:, j]) for j in np.flatnonzero(positive)]
    f1 = f1_score(true, predicted, average=None, zero_division=0.0)
    f1 = np.where(seen, f1, np.nan)
    return [
        ("macro_f1", "", float(np.nanmean(f1))),
        ("micro_f1", "", float(f1_score(true, predicted, average="micro"))),
        ("macro_average_precision", "", float(np.mean(precision))),
        ("accuracy", "", float(accuracy_score(true, predicted))),
        *(("class_f1", c, float(f)) for c, f in zip(classes, f1, strict=True)),
    ]


def write_store(
    folder: Path,
    tiles: Tiles,
    backbone: str,
    channels: str,
    noise: float,
    heads: Sequence[tuple[str, int]] = (("floor", 0), ("logreg", 0), ("knn", 3)),
    schemes: Sequence[str] = ("group", "image"),
    fractions: Sequence[float] = (0.25, 0.5, 1.0),
    seeds: Sequence[int] = (0,),
    n_folds: int = 3,
) -> tuple[Path, Path]:
    """Run the heads on one store and write its score and prediction tables."""
    x = embed(tiles, noise, sum(map(ord, backbone + channels)))
    scores, predictions = [], []
    for scheme in schemes:
        for seed in seeds:
            fold_of = folds_of(tiles, scheme, seed, n_folds)
            for fold in range(n_folds):
                test = np.flatnonzero(fold_of == fold)
                for fraction in fractions:
                    rows = np.flatnonzero(fold_of != fold)
                    train = _share(tiles, rows, fraction, seed)
                    if k_per_class := groups_per_class(scheme):
                        train = _share(tiles, rows, 0.1 * k_per_class, seed)
                    for kind, k in heads:
                        predicted, score = predict(tiles, kind, k, train, test, x)
                        unit = {
                            "head": kind,
                            "k": k or pd.NA,
                            "scheme": scheme,
                            "fold": fold,
                            "seed": seed,
                            "fraction": fraction,
                        }
                        score = score.astype(np.float32)
                        counts = (len(train), len(np.unique(tiles.group[train])), 0, len(test))
                        for row in metric_rows(tiles.true[test], predicted, score, tiles.classes):
                            scores.append(
                                (
                                    tiles.name,
                                    backbone,
                                    channels,
                                    tiles.task,
                                    *unit.values(),
                                    *row,
                                    *counts,
                                )
                            )
                        predictions.append(_prediction_table(tiles, unit, test, predicted, score))
    folder = folder / "scores" / "heads" / tiles.name / backbone
    folder.mkdir(parents=True, exist_ok=True)
    return _write(folder, channels, tiles, scores, pd.concat(predictions))


def _share(tiles: Tiles, train: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    groups = np.random.default_rng(seed).permutation(np.unique(tiles.group[train]))
    kept = groups[: int(np.ceil(fraction * len(groups)))]
    return train[np.isin(tiles.group[train], kept)]


def _prediction_table(
    tiles: Tiles,
    unit: dict[str, object],
    test: np.ndarray,
    predicted: np.ndarray,
    score: np.ndarray,
) -> pd.DataFrame:
    keys = {c: unit[c] for c in ("head", "k", "scheme", "seed", "fold", "fraction")}
    columns = {"row": test, "tile_id": [f"t{r:05}" for r in test], "group": tiles.group[test]}
    for kind, values in (("true", tiles.true[test]), ("predicted", predicted), ("score", score)):
        columns |= {f"{kind}_{j}": values[:, j] for j in range(values.shape[1])}
    return pd.DataFrame({**keys, **columns}).astype({"k": "Int64"})


def _write(
    folder: Path, channels: str, tiles: Tiles, scores: list, predictions: pd.DataFrame
) -> tuple[Path, Path]:
    names = "dataset backbone channels task head k scheme fold seed fraction metric class value"
    counts = "n_train n_train_groups n_validation n_test"
    table = pd.DataFrame(scores, columns=[*names.split(), *counts.split()]).astype({"k": "Int64"})
    table["seen_in_training"] = "no"
    score_path = folder / f"{channels}.parquet"
    table.to_parquet(score_path, index=False)
    arrow = pa.Table.from_pandas(predictions, preserve_index=False)
    metadata = json.dumps({"classes": tiles.classes, "task": tiles.task}).encode()
    prediction_path = folder / f"{channels}.predictions.parquet"
    pq.write_table(arrow.replace_schema_metadata({b"transferscope": metadata}), prediction_path)
    return score_path, prediction_path


def write_study(
    folder: Path, tiles: Tiles, stores: Sequence[tuple[str, str, float]], **options
) -> Study:
    """Write a study; each store is (backbone, channels, noise of its embedding)."""
    paths = [write_store(folder, tiles, *store, **options) for store in stores]
    return Study(folder, [s for s, _ in paths], [p for _, p in paths])


def write_transfers(folder: Path, name: str, stores: Sequence[tuple[str, str, float]]) -> Path:
    """Write and compare a study of two datasets, each tested by heads of the other.

    Trainings are made up: each is another repeat of the folds of the tested dataset.
    """
    heads = [("floor", 0), ("logreg", 0)]
    options = {"heads": heads, "fractions": [1.0]}
    sets = {each: make_tiles(each, "single-label") for each in (name, "other")}
    own = [
        write_study(folder, tiles, stores, schemes=["group"], **options) for tiles in sets.values()
    ]
    trained = ["zero-shot", "few-shot-2", "alone-2", "own"]
    paths = {}
    for source, target in ((name, "other"), ("other", name)):
        place = folder / "from" / source
        found = write_study(place, sets[target], stores, schemes=trained, **options)
        paths[source] = TransferPaths(found.scores, found.predictions, [])
    compare(
        [path for each in own for path in each.scores],
        [path for each in own for path in each.predictions],
        Comparison(bootstrap=100, not_transferred=["`more` is of other classes."]),
        folder / "compare",
        folder / "summary.csv",
        folder / "summary.md",
        transferred=paths,
    )
    return folder
