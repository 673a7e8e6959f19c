"""Confusion matrices, with intervals over groups."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd

from transferscope.compare.tables import Head, classes_of
from transferscope.compare.tally import Unit, read_units
from transferscope.compare.uncertainty import Inflation, interval, variances
from transferscope.probes.metrics import ratio
from transferscope.runtime.arrays import Floats, Floats32, Integers

CONFUSION_COLUMNS = [
    "true_class",
    "predicted_class",
    "n_true",
    "count",
    "share",
    "ci_low",
    "ci_high",
    "share_true",
]


def confusion(
    paths: Sequence[Path],
    groups: Sequence[str],
    weights: Floats32,
    head: Head,
    scheme: str,
    fraction: float,
    confidence: float,
) -> pd.DataFrame:
    """Return the confusion matrix of one head, over all folds and repeats.

    For a single-label task this is the usual confusion matrix, normalised by row. For a multi-label
    task, row i and column j hold the share of the tiles of class i for which class j is predicted:
    the diagonal is the recall, a row may sum to more than one, and if two classes occur together a
    large value is not an error. `share_true`, the share of these tiles that have class j, shows
    whether they do.

    Parameters
    ----------
    paths
        Prediction tables of the store, one per random order of the channels.
    groups, weights
        All groups of the dataset, and [1 + draws, groups] from `draw_weights`.
    head, scheme, fraction
        Which predictions.
    confidence
        Coverage of the intervals.

    Returns
    -------
    pandas.DataFrame
        One row per pair of classes: `true_class`, `predicted_class`, `n_true` (tiles, over all
        repeats), `count`, `share`, `ci_low`, `ci_high`, `share_true`.
    """
    classes = classes_of(paths[0])
    n = len(classes)
    together = np.zeros((len(groups), 2, n, n))
    positives = np.zeros((len(groups), n))
    for path in paths:
        for unit in chain.from_iterable(read_units(path, groups)):
            if (unit.head, unit.scheme, unit.fraction) == (head, scheme, fraction):
                _count(unit, together, positives)
    draws = weights.astype(np.float64)
    true = draws @ positives
    predicted = (draws @ together[:, 0].reshape(len(groups), -1)).reshape(-1, n, n)
    share = ratio(predicted, true[:, :, None])
    # How much depends on the training groups is not known for each cell.
    inflation = Inflation.without_halves(len(groups))
    low, high = interval(share[0], variances(share), inflation, confidence, 0, 1)
    also_true = ratio(together[:, 1].sum(axis=0), true[0][:, None])
    return pd.DataFrame(
        {
            "true_class": np.repeat(classes, n),
            "predicted_class": np.tile(classes, n),
            "n_true": np.repeat(true[0].astype(np.int64), n),
            "count": predicted[0].ravel().astype(np.int64),
            "share": share[0].ravel(),
            "ci_low": low.ravel(),
            "ci_high": high.ravel(),
            "share_true": also_true.ravel(),
        }
    )


def _count(unit: Unit, together: Floats, positives: Floats) -> None:
    """Add, per group, how often each true class meets each predicted and each true class."""
    order = np.argsort(unit.group, kind="stable")
    present, starts = np.unique(unit.group[order], return_index=True)
    blocks: list[Integers] = np.split(order, starts[1:])
    for group, rows in zip(present, blocks, strict=True):
        true = unit.true[rows].astype(np.float64)
        together[group, 0] += true.T @ unit.predicted[rows]
        together[group, 1] += true.T @ true
        positives[group] += true.sum(axis=0)
