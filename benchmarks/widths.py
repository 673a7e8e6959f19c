"""Logistic regression and k-NN at the widths of backbones, against scikit-learn called plainly."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from results import Part, Row
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler
from synthetic import folds_and_seeds, probe_data
from threadpoolctl import threadpool_limits
from timing import Timed, in_turns

from transferscope.config.probes import HeadSettings
from transferscope.probes.evaluation import ProbeData
from transferscope.probes.heads import run_heads
from transferscope.probes.nearest import nearest

ROWS, FOLDS = 2_000, 3
WIDTHS = [384, 768, 2304, 4096]
K = 50
ROUNDS = 3
SEPARATION = 3.0
# Uncorrelated features, and features as correlated as those of real backbones.
DECAYS = {"": 0.0, ", correlated": 1.0}
CORES = sorted({1, os.cpu_count() or 1})
LOGREG = HeadSettings(kinds=["logreg"])

Scores = list[npt.NDArray[np.float32]]
Rows = list[npt.NDArray[np.int64]]


def run(folder: Path) -> Part:
    part = Part(f"Width of the embeddings ({ROWS:,} rows, {FOLDS} folds, 17 classes)")
    divisions = folds_and_seeds(ROWS, FOLDS, 1)
    for width in WIDTHS:
        datas = {
            name: probe_data(ROWS, width, "multi-label", SEPARATION, divisions, decay)
            for name, decay in DECAYS.items()
        }
        for cores in CORES:
            torch.set_num_threads(cores)
            with threadpool_limits(cores):
                part.rows += [
                    _heads(data, f"{width:,} features{name}", cores) for name, data in datas.items()
                ]
                part.rows.append(_neighbours(datas[""], width, cores))
    part.remark = (
        "The plain way is `OneVsRestClassifier(LogisticRegression())` at its own tolerance and "
        "limit, which stops far from the minimum, and `NearestNeighbors` in float32, which "
        "excludes no tile. "
        "The least time of the rounds."
    )
    return part


def _heads(data: ProbeData, what: str, cores: int) -> Row:
    timed = in_turns(
        {"plain": lambda: _plain_heads(data), "ours": lambda: _our_heads(data)}, ROUNDS
    )
    pairs = zip(timed["plain"].result, timed["ours"].result, strict=True)
    gap = max(float(np.abs(a - b).max()) for a, b in pairs)
    note = f"largest difference of a probability: {gap:.1g}"
    return _row(f"logreg, {what}", cores, timed, note)


def _plain_heads(data: ProbeData) -> Scores:
    found = []
    for division in data.divisions:
        scaler = StandardScaler().fit(data.embeddings[division.train])
        train, test = (
            scaler.transform(data.embeddings[r]) for r in (division.train, division.test)
        )
        model = OneVsRestClassifier(LogisticRegression(C=LOGREG.logreg_c))
        with warnings.catch_warnings():
            # The default limit of 100 iterations ends fits on correlated features.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(train, data.tiles.matrix[division.train])
        found.append(model.predict_proba(test).astype(np.float32))
    return found


def _our_heads(data: ProbeData) -> Scores:
    table = run_heads(data, LOGREG).predictions()
    table = table[table["head"] == "logreg"]
    columns = [f"score_{column}" for column in range(len(data.tiles.classes))]
    return [
        table.loc[table["fold"] == division.fold, columns].to_numpy() for division in data.divisions
    ]


def _neighbours(data: ProbeData, width: int, cores: int) -> Row:
    ways = {"plain": lambda: _plain_neighbours(data), "ours": lambda: _our_neighbours(data)}
    timed = in_turns(ways, ROUNDS)
    pairs = zip(timed["plain"].result, timed["ours"].result, strict=True)
    same = float(np.mean([np.mean(a == b) for a, b in pairs]))
    return _row(f"{K} neighbours, {width:,} features", cores, timed, f"{same:.2%} identical")


def _plain_neighbours(data: ProbeData) -> Rows:
    found = []
    for division in data.divisions:
        search = NearestNeighbors(n_neighbors=K, metric="cosine", algorithm="brute")
        search.fit(data.embeddings[division.train])
        near = search.kneighbors(data.embeddings[division.test], return_distance=False)
        found.append(division.train[near])
    return found


def _our_neighbours(data: ProbeData) -> Rows:
    return [
        nearest(data.embeddings, "cosine", d.test, d.train, [len(d.train)], [K])[0].rows
        for d in data.divisions
    ]


def _row(what: str, cores: int, timed: dict[str, Timed], note: str) -> Row:
    plain, ours = (min(timed[name].seconds) for name in ("plain", "ours"))
    where = f"{cores} core{'s' if cores > 1 else ''}"
    return Row(f"{what}, {where}", f"{plain:.2f} s", f"{ours:.2f} s", plain / ours, "", note)
