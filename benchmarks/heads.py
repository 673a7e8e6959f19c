"""Supervised heads: all of them in one program, against one training loop a head."""

from __future__ import annotations

import copy
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from results import Part, Row
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import StandardScaler
from synthetic import CLASSES, folds_and_seeds, probe_data
from threadpoolctl import threadpool_limits
from timing import Timed, in_turns, peak_rate
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from transferscope.config.probes import HeadSettings
from transferscope.probes.evaluation import Division, ProbeData
from transferscope.probes.heads import run_heads
from transferscope.probes.metrics import best_thresholds, metrics_of

ROWS, WIDTH = 16_000, 384
FOLDS = SEEDS = 5
EPOCHS = 8
ROUNDS = 3
# A job that has the machine to itself, and one of many side by side, as the workflow runs probes.
# The plain way gets as many cores.
ALL_CORES, ONE_CORE = os.cpu_count() or 1, 1
# Heads that the plain way trains, to stay in time; ours are all trained.
PLAIN_HEADS = 2
SEPARATION = 3.0
MLP = HeadSettings(kinds=["mlp"], epochs=EPOCHS, patience=EPOCHS)
LOGREG = HeadSettings(kinds=["logreg"])


def run(folder: Path) -> Part:
    divisions = folds_and_seeds(ROWS, FOLDS, SEEDS)
    data = probe_data(ROWS, WIDTH, "multi-label", SEPARATION, divisions)
    rows = [
        row
        for cores in dict.fromkeys((ALL_CORES, ONE_CORE))
        for row in _with_cores(cores, data, divisions)
    ]
    title = (
        f"{len(divisions)} heads ({FOLDS} folds x {SEEDS} seeds; {ROWS:,} rows of {WIDTH}, "
        f"{len(CLASSES)} classes, batch {MLP.batch_size})"
    )
    return Part(title, rows)


def _with_cores(cores: int, data: ProbeData, divisions: list[Division]) -> list[Row]:
    """Measure with a number of cores, the same for both ways."""
    torch.set_num_threads(cores)
    with threadpool_limits(cores):
        return _rows(cores, data, divisions)


def _rows(cores: int, data: ProbeData, divisions: list[Division]) -> list[Row]:
    chosen, n = divisions[:PLAIN_HEADS], len(divisions)
    timed = in_turns(
        {
            "plain": lambda: [_plain_mlp(data, division) for division in chosen],
            "ours": lambda: _f1_of(data, MLP, chosen),
        },
        ROUNDS,
    )
    where = f"{cores} core{'s' if cores > 1 else ''}"
    mlp = f"mlp 384-512-256-17, {EPOCHS} epochs, s an epoch and head, {where}"
    target = ">= 4" if cores == ALL_CORES else ""
    rows = [_row(mlp, timed["plain"], timed["ours"], n, EPOCHS, target)]
    if cores > 1:
        return rows
    rows.append(_limit_row(divisions[0], timed["plain"], timed["ours"], n))
    timed = in_turns(
        {
            "plain": lambda: [_plain_logreg(data, division) for division in chosen],
            "ours": lambda: _f1_of(data, LOGREG, chosen),
        },
        1,
    )
    what = f"logreg, s a head, {where}"
    return [*rows, _row(what, timed["plain"], timed["ours"], n, 1, "")]


def _row(what: str, plain: Timed, ours: Timed, n: int, epochs: int, target: str) -> Row:
    gains = [(a / PLAIN_HEADS) / (b / n) for a, b in zip(plain.seconds, ours.seconds, strict=True)]
    f1 = float(np.mean(plain.result)), float(np.mean(ours.result))
    return Row(
        what,
        f"{plain.median / PLAIN_HEADS / epochs:.3f} s",
        f"{ours.median / n / epochs:.3f} s",
        float(np.median(gains)),
        target,
        f"macro F1 {f1[0]:.3f} and {f1[1]:.3f} on the same {PLAIN_HEADS} heads",
    )


def _limit_row(division: Division, plain: Timed, ours: Timed, n: int) -> Row:
    """Return the share of a large matrix product's rate that training an mlp reaches."""
    widths = [WIDTH, *MLP.hidden, len(CLASSES)]
    layers = [a * b for a, b in pairwise(widths)]
    # Forward, gradient of the weights, and of the inputs except the first layer's.
    a_row = 6 * sum(layers) - 2 * layers[0]
    flops = a_row * len(division.train) + 2 * sum(layers) * len(division.validation)
    gflop = flops * EPOCHS / 1e9
    least = gflop / peak_rate(torch.float32), gflop / peak_rate(torch.bfloat16)
    return Row(
        "mlp: share of a large matrix product's rate, 1 core",
        f"{least[0] / (plain.median / PLAIN_HEADS):.0%} of fp32's",
        f"{least[1] / (ours.median / n):.0%} of bf16's",
        note=f"at full rate fp32 {least[0] / EPOCHS:.3f} s, bf16 {least[1] / EPOCHS:.3f} s",
    )


def _f1_of(data: ProbeData, settings: HeadSettings, chosen: list[Division]) -> list[float]:
    """Train all heads; return the macro F1 of those that the plain way trains, too."""
    scores = run_heads(data, settings).scores()
    scores = scores[scores["head"].isin(settings.kinds)].set_index(["seed", "fold"])["value"]
    return [float(scores[division.seed, division.fold]) for division in chosen]


def _standardised(data: ProbeData, division: Division) -> list[np.ndarray]:
    scaler = StandardScaler().fit(data.embeddings[division.train])
    roles = division.train, division.validation, division.test
    return [scaler.transform(data.embeddings[rows]) for rows in roles]


def _f1(data: ProbeData, division: Division, validation: np.ndarray, test: np.ndarray) -> float:
    truth = data.tiles.matrix
    thresholds = best_thresholds(truth[division.validation], validation, MLP.threshold_positives)
    return float(metrics_of(truth[division.test], test >= thresholds)["macro_f1"])


def _plain_mlp(data: ProbeData, division: Division) -> float:
    """Train one head by the usual loop, and return its macro F1 on the test rows."""
    torch.manual_seed(division.fold)
    train, validation, test = (torch.from_numpy(a) for a in _standardised(data, division))
    targets = torch.from_numpy(data.tiles.matrix.astype(np.float32))
    fitting = _loader(train, targets[division.train], shuffle=True)
    checking = _loader(validation, targets[division.validation], shuffle=False)
    model = _mlp()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=MLP.learning_rate, weight_decay=MLP.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    lowest, best = np.inf, model.state_dict()
    for _ in range(EPOCHS):
        _train_epoch(model, fitting, optimizer)
        schedule.step()
        loss = _loss(model, checking)
        if loss < lowest:
            lowest, best = loss, copy.deepcopy(model.state_dict())
    model.load_state_dict(best)
    model.eval()
    with torch.no_grad():
        scores = [model(rows).sigmoid().numpy() for rows in (validation, test)]
    return _f1(data, division, *scores)


def _loader(inputs: Tensor, targets: Tensor, *, shuffle: bool) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(TensorDataset(inputs, targets), batch_size=MLP.batch_size, shuffle=shuffle)


def _mlp() -> nn.Sequential:
    layers: list[nn.Module] = []
    width = WIDTH
    for hidden in MLP.hidden:
        layers += [nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(MLP.dropout)]
        width = hidden
    return nn.Sequential(*layers, nn.Linear(width, len(CLASSES)))


def _train_epoch(
    model: nn.Module, loader: DataLoader[tuple[Tensor, ...]], optimizer: torch.optim.Optimizer
) -> None:
    model.train()
    for inputs, targets in loader:
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(model(inputs), targets).backward()
        optimizer.step()


@torch.no_grad()
def _loss(model: nn.Module, loader: DataLoader[tuple[Tensor, ...]]) -> float:
    model.eval()
    losses = [
        nn.functional.binary_cross_entropy_with_logits(model(inputs), targets).item()
        for inputs, targets in loader
    ]
    return float(np.mean(losses))


def _plain_logreg(data: ProbeData, division: Division) -> float:
    train, validation, test = _standardised(data, division)
    classifier = OneVsRestClassifier(LogisticRegression(C=LOGREG.logreg_c, max_iter=1000))
    classifier.fit(train, data.tiles.matrix[division.train])
    scores = [classifier.predict_proba(rows).astype(np.float32) for rows in (validation, test)]
    return _f1(data, division, *scores)
