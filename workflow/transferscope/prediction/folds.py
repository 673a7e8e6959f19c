"""The heads of a study's folds, trained again: they have to say what they said in the study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch

from transferscope.config.probes import HeadSettings
from transferscope.probes.decisions import decide
from transferscope.probes.evaluation import Division, ProbeData
from transferscope.probes.head_batch import HeadBatch, HeadProblem
from transferscope.probes.heads import fit_on
from transferscope.runtime.arrays import Bools, Floats32, Integers


@dataclass(frozen=True)
class OutOfFold:
    """What the heads of all folds and seeds say of their test tiles, one after the other.

    Parameters
    ----------
    rows
        Rows of the embedding matrix, int64 [n].
    scores, predicted
        [n, C].
    divisions
        Number of the division of each row, int64 [n].
    best_epochs
        Epoch that each head's weights are of; empty for heads without epochs.
    """

    rows: Integers
    scores: Floats32
    predicted: Bools
    divisions: Integers
    best_epochs: list[int]


def trained_again(
    kind: str, data: ProbeData, settings: HeadSettings, scheme: str, fraction: float
) -> tuple[OutOfFold, list[Division]]:
    """Train the heads of a study again, and return what they say of their test tiles.

    Parameters
    ----------
    kind
        Kind of the heads.
    data, settings
        As the study evaluated the store.
    scheme, fraction
        Of the divisions that count.
    """
    # Logistic regressions do not depend on one another; networks that train together might.
    if kind == "logreg":
        data = replace(data, divisions=_chosen(data.divisions, scheme, fraction))
    heads = fit_on(kind, data, settings)
    problem = HeadProblem(
        torch.from_numpy(data.embeddings),
        torch.from_numpy(data.tiles.matrix.astype(np.float32)),
        data.is_multi_label,
    )
    chosen = _chosen(data.divisions, scheme, fraction)
    found = [
        (division, *_said(head, division, problem, data, settings), head)
        for division, head in zip(data.divisions, heads, strict=True)
        if division in chosen
    ]
    sizes = [len(division.test) for division in chosen]
    epochs = [int(head.best_epochs[0]) for *_, head in found if head.best_epochs is not None]
    said = OutOfFold(
        rows=np.concatenate([division.test for division in chosen]),
        scores=np.concatenate([scores for _, _, scores, _ in found]),
        predicted=np.concatenate([predicted for _, predicted, _, _ in found]),
        divisions=np.repeat(np.arange(len(chosen)), sizes),
        best_epochs=epochs,
    )
    return said, chosen


def _chosen(divisions: Sequence[Division], scheme: str, fraction: float) -> list[Division]:
    return [d for d in divisions if d.scheme == scheme and d.fraction == fraction]


def _said(
    head: HeadBatch,
    division: Division,
    problem: HeadProblem,
    data: ProbeData,
    settings: HeadSettings,
) -> tuple[Bools, Floats32]:
    rows = (torch.from_numpy(part) for part in (division.validation, division.test))
    validation, test = (head.scores(0, part, problem) for part in rows)
    predicted, scores, _ = decide(data, division, validation, test, settings)
    return predicted, scores


def largest_difference(
    said: OutOfFold, divisions: Sequence[Division], stored: pd.DataFrame, kind: str
) -> float:
    """Return by how much scores differ from those of the study, at most; 0: equal in every bit.

    Parameters
    ----------
    said, divisions
        Of `trained_again`.
    stored
        The study's table of predictions.
    kind
        Kind of the heads.

    Returns
    -------
    float
        Infinite where a decision differs, or predictions are missing.
    """
    of_kind = stored[stored["head"] == kind]
    classes = range(said.scores.shape[1])
    largest = 0.0
    for number, division in enumerate(divisions):
        same = of_kind["scheme"] == division.scheme
        for name in ("seed", "fold", "fraction"):
            same &= of_kind[name] == getattr(division, name)
        table = of_kind[same].set_index("row").reindex(division.test)
        own = said.divisions == number
        predicted = table[[f"predicted_{c}" for c in classes]]
        scores = table[[f"score_{c}" for c in classes]].to_numpy(np.float32)
        if predicted.isna().to_numpy().any():
            return float("inf")
        if not np.array_equal(predicted.to_numpy(bool), said.predicted[own]):
            return float("inf")
        largest = max(largest, float(np.abs(scores - said.scores[own]).max(initial=0)))
    return largest
