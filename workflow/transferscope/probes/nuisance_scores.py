"""Scores of what is predicted besides biology, from sums over groups, under any weights of them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from transferscope.probes.metrics import mean_of_defined
from transferscope.runtime.arrays import Floats, Integers, Values

# Kinds of targets, and the metric of each.
COLUMN, NUMBER = "column", "number"
METRICS = {COLUMN: "balanced_accuracy", NUMBER: "r2"}


def group_sums(found: pd.DataFrame, kind: str, n_values: int, groups: Integers) -> Floats:
    """Return what a score needs of each group, of one repeat.

    Parameters
    ----------
    found
        Predictions of test tiles: `truth`, `predicted` and `baseline`.
    kind
        `COLUMN` or `NUMBER`.
    n_values
        Values of a column.
    groups
        Index of each tile's group, [n].

    Returns
    -------
    float64 [G, F]
        Tiles of each value that are recognised, then tiles of each value; or squared errors of
        prediction and of the mean of the training rows.
    """
    truth, predicted = (found[name].to_numpy(np.float64) for name in ("truth", "predicted"))
    n_groups = int(groups.max()) + 1 if len(groups) else 0
    if kind == NUMBER:
        errors = np.square(np.stack([truth - predicted, truth - found["baseline"].to_numpy()]))
        return np.stack([np.bincount(groups, each, n_groups) for each in errors], axis=1)
    code = truth.astype(np.int64)
    cells = groups * n_values + code
    hits = (truth == predicted).astype(np.float64)
    sums = [np.bincount(cells, weights, n_groups * n_values) for weights in (hits, None)]
    return np.concatenate([each.reshape(n_groups, n_values) for each in sums], axis=1)


def score_of_sums(sums: Values, kind: str) -> Floats:
    """Return balanced accuracy, or R2, of sums over groups with any weights, [..., F] -> [...]."""
    sums = sums.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        if kind == NUMBER:
            return np.asarray(1 - sums[..., 0] / sums[..., 1])
        n_values = sums.shape[-1] // 2
        recalls = sums[..., :n_values] / sums[..., n_values:]
    return mean_of_defined(recalls, axis=-1)


def score(found: pd.DataFrame, kind: str, n_values: int) -> float:
    """Return the score of predictions, the mean over repeats; NaN without any."""
    values = [
        float(score_of_sums(group_sums(own, kind, n_values, np.zeros(len(own), int)).sum(0), kind))
        for _, own in found.groupby("seed")
    ]
    return float(np.mean(values)) if values else float("nan")


def floor_of(kind: str, n_values: int) -> float:
    """Return the score of an answer that does not look at the embedding."""
    return 0.0 if kind == NUMBER else 1 / n_values
