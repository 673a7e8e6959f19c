"""Supervised heads on frozen embeddings: all folds, seeds and fractions of a store at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from transferscope.config.probes import HeadSettings
from transferscope.probes import head_training, logistic
from transferscope.probes.decisions import decide
from transferscope.probes.evaluation import Division, ProbeData, ResultTables, Sink
from transferscope.probes.head_batch import HeadBatch, HeadProblem, HeadRows, Scalers
from transferscope.probes.score_table import FLOOR
from transferscope.runtime.arrays import Bools, Floats32
from transferscope.runtime.progress import progress_bar
from transferscope.runtime.seeds import derive_rng

# Largest difference of a score that a GPU computes from that of a processor in float32.
GPU_TOLERANCE = 1e-3


def run_heads(
    data: ProbeData,
    settings: HeadSettings,
    sink: Sink | None = None,
    device: torch.device | None = None,
) -> ResultTables:
    """Train and test every kind of head on every division.

    Scalers and weights use only training rows; early stopping and thresholds use validation rows.
    The `floor`, which uses only the class frequencies of the training rows, is always added.

    Parameters
    ----------
    data
        Embeddings, labels and divisions.
    settings
        Kinds of heads and their training.
    sink
        Receives the predictions in parts; None: they are kept.
    device
        Where they are trained; None: on the processor. On a GPU in float32, from the same draws:
        scores differ by rounding.
    """
    results = ResultTables(data, sink)
    problem, heads, scalers = _posed(data, device)
    for division in data.divisions:
        results.add(FLOOR, None, division, *floor(data, division))
    total = len(heads) * len(settings.kinds) * settings.epochs
    with progress_bar(f"Heads on {data.identity['backbone']}", total, "head epochs") as bar:
        for kind in settings.kinds:
            for chunk in _chunks(kind, problem, heads, settings):
                done = bar.n
                members = [heads[index] for index in chunk]
                batch = fit(kind, problem, members, scalers.select(chunk), settings, bar.update)
                for place, index in enumerate(chunk):
                    division, rows = data.divisions[index], heads[index]
                    validation = batch.scores(place, rows.validation, problem)
                    test = batch.scores(place, rows.test, problem)
                    decided = decide(data, division, validation, test, settings)
                    results.add(kind, None, division, *decided)
                # Epochs saved by early stopping; logistic regression has none.
                bar.update(len(chunk) * settings.epochs - (bar.n - done))
    return results


def _posed(
    data: ProbeData, device: torch.device | None = None
) -> tuple[HeadProblem, list[HeadRows], Scalers]:
    """Return problem, rows and scalers of the heads of all divisions."""
    where = device or torch.device("cpu")
    problem = HeadProblem(
        embeddings=torch.from_numpy(data.embeddings).to(where),
        targets=torch.from_numpy(data.tiles.matrix.astype(np.float32)).to(where),
        is_multi_label=data.is_multi_label,
    )
    heads = [HeadRows.of(division, data.identity["dataset"]) for division in data.divisions]
    return problem, heads, Scalers.fit(problem.embeddings, heads, data.parts)


def fit_on(kind: str, data: ProbeData, settings: HeadSettings) -> list[HeadBatch]:
    """Train heads of one kind on every division, on the processor; return one batch per head.

    Parameters
    ----------
    kind
        "linear", "logreg" or "mlp".
    data, settings
        As in `run_heads`, which trains equal heads.
    """
    problem, heads, scalers = _posed(data)
    found: dict[int, HeadBatch] = {}
    for chunk in _chunks(kind, problem, heads, settings):
        batch = fit(kind, problem, [heads[i] for i in chunk], scalers.select(chunk), settings)
        found |= {index: batch.head(place) for place, index in enumerate(chunk)}
    return [found[index] for index in range(len(heads))]


def fit(
    kind: str,
    problem: HeadProblem,
    heads: Sequence[HeadRows],
    scalers: Scalers,
    settings: HeadSettings,
    on_epoch: Callable[[int], object] = lambda _: None,
) -> HeadBatch:
    """Train heads of one kind together, in the order of `heads`."""
    if kind == "logreg":
        return logistic.fit_logistic(problem, heads, scalers, settings.logreg_c)
    hidden = settings.hidden if kind == "mlp" else []
    return head_training.fit_networks(problem, heads, scalers, hidden, kind, settings, on_epoch)


def _chunks(
    kind: str, problem: HeadProblem, heads: Sequence[HeadRows], settings: HeadSettings
) -> Iterator[list[int]]:
    """Yield the indices of heads to train together."""
    if kind == "logreg":
        return ([index] for index in range(len(heads)))
    hidden = settings.hidden if kind == "mlp" else []
    widths = [problem.embeddings.shape[1], *hidden, problem.n_classes]
    return head_training.chunks(heads, widths, settings)


def floor(data: ProbeData, division: Division) -> tuple[Bools, Floats32]:
    """Predict classes of the test rows from the training labels only, for the best macro F1.

    In a multi-label task this is every class that occurs, 2p / (1 + p) for a prevalence of p. In a
    single-label task classes are drawn in proportion to the training labels, which is expected to
    reach 1 / C; any constant answer has less. The draw depends on the division, not on the store.
    """
    labels = data.tiles.matrix[division.train]
    prior = labels.mean(axis=0, dtype=np.float64).astype(np.float32)
    shape = (len(division.test), len(prior))
    if data.is_multi_label:
        predicted = np.broadcast_to(prior > 0, shape).copy()
    else:
        rng = derive_rng("floor", data.identity["dataset"], division.seed, *division.names)
        drawn = rng.choice(labels.shape[1], size=shape[0], p=labels.sum(axis=0) / labels.sum())
        predicted = drawn[:, None] == np.arange(shape[1])
    return predicted, np.broadcast_to(prior, shape).copy()
