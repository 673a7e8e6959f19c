"""k nearest neighbours at many k: one search, against scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from results import Part, Row
from sklearn.metrics import f1_score
from sklearn.neighbors import KNeighborsClassifier
from synthetic import CLASSES, one_division, probe_data
from threadpoolctl import threadpool_limits
from timing import Timed, in_turns, ratio

from transferscope.config.probes import KnnSettings
from transferscope.probes.evaluation import ProbeData
from transferscope.probes.knn import run_knn

N_TRAIN, N_TEST, WIDTH = 20_000, 2_000, 384
KS = [1, 3, 5, 10, 20, 50, 100, 200]
ROUNDS = 3
SEPARATION = 4.5
# As the workflow runs probes: one core a job. scikit-learn gets one, too.
THREADS = 1

Predicted = dict[int, npt.NDArray[np.int64]]


def run(folder: Path) -> Part:
    torch.set_num_threads(THREADS)
    with threadpool_limits(THREADS):
        return _run()


def _run() -> Part:
    division = one_division(N_TRAIN, N_TEST)
    data = probe_data(N_TRAIN + N_TEST, WIDTH, "single-label", SEPARATION, [division])
    timed = in_turns(
        {
            "refitted": lambda: _refitted(data),
            "once": lambda: _searched_once(data),
            "ours": lambda: run_knn(data, KnnSettings(k=KS)).predictions(),
        },
        ROUNDS,
    )
    same = _agreement(timed["refitted"].result, _by_k(timed["ours"].result))
    f1 = f1_score(_truth(data), timed["refitted"].result[KS[-1]], average="macro")
    note = f"predictions identical: {same:.2%}; macro F1 at k = {KS[-1]} is {f1:.2f}"
    title = f"k-NN ({N_TRAIN:,} x {WIDTH} training rows, {N_TEST:,} queries, {len(KS)} k; one core)"
    once_note = "votes from prefixes of the neighbours"
    rows = [
        _row("scikit-learn, refitted for each k", timed["refitted"], timed["ours"], ">= 10", note),
        _row("scikit-learn, one search", timed["once"], timed["ours"], "", once_note),
    ]
    return Part(title, rows)


def _row(what: str, plain: Timed, ours: Timed, target: str, note: str) -> Row:
    seconds = f"{plain.median:.2f} s", f"{ours.median:.2f} s"
    return Row(what, *seconds, ratio(plain, ours), target, note)


def _parts(data: ProbeData) -> tuple[Any, Any, Any]:
    division = data.divisions[0]
    labels = data.tiles.class_index()
    return data.embeddings[division.train], labels[division.train], data.embeddings[division.test]


def _truth(data: ProbeData) -> npt.NDArray[np.int64]:
    return data.tiles.class_index()[data.divisions[0].test]


def _refitted(data: ProbeData) -> Predicted:
    train, labels, test = _parts(data)
    found = {}
    for k in KS:
        classifier = KNeighborsClassifier(k, metric="cosine", algorithm="brute")
        found[k] = classifier.fit(train, labels).predict(test)
    return found


def _searched_once(data: ProbeData) -> Predicted:
    train, labels, test = _parts(data)
    classifier = KNeighborsClassifier(max(KS), metric="cosine", algorithm="brute")
    nearest = labels[classifier.fit(train, labels).kneighbors(test, return_distance=False)]
    votes = np.cumsum(nearest[:, :, None] == np.arange(len(CLASSES)), axis=1)
    return {k: votes[:, k - 1].argmax(axis=1) for k in KS}


def _by_k(predictions: Any) -> Predicted:
    columns = [f"predicted_{column}" for column in range(len(CLASSES))]
    return {k: part[columns].to_numpy().argmax(axis=1) for k, part in predictions.groupby("k")}


def _agreement(wanted: Predicted, found: Predicted) -> float:
    return float(np.mean([wanted[k] == found[k] for k in KS]))
