"""Predictions from scores, with thresholds from validation rows."""

from __future__ import annotations

import numpy as np

from transferscope.config.probes import HeadSettings, KnnSettings
from transferscope.probes.evaluation import Division, ProbeData
from transferscope.probes.metrics import DEFAULT_THRESHOLD, best_thresholds
from transferscope.runtime.arrays import Bools, Values


def decide(
    data: ProbeData,
    division: Division,
    validation: Values,
    test: Values,
    settings: HeadSettings | KnnSettings,
    otherwise: float = DEFAULT_THRESHOLD,
) -> tuple[Bools, Values]:
    """Turn scores into predictions.

    In a multi-label task, each class has the threshold with the best F1 on the validation rows.
    Classes with too few positives or negatives there share the threshold with the best F1 over all
    classes. In a single-label task, the class with the highest score is predicted. A class without
    training positives is never predicted.

    Parameters
    ----------
    data, division
        Data and division of the head.
    validation, test
        Values of the division's rows, [n, C]; any scale.
    settings
        Settings of the heads or of k-NN.
    otherwise
        Threshold of all classes if they have too few positives or negatives even together.

    Returns
    -------
    tuple
        Predictions and scores of the test rows, [n_test, C].
    """
    seen = data.tiles.matrix[division.train].any(axis=0)
    test = np.where(seen, test, test.dtype.type(0))
    if not data.is_multi_label:
        return np.asarray(test.argmax(axis=1)[:, None] == np.arange(test.shape[1])), test
    truth, minimum = data.tiles.matrix[division.validation], settings.threshold_positives
    pooled = best_thresholds(
        truth[:, seen].reshape(-1, 1), validation[:, seen].reshape(-1, 1), minimum, otherwise
    )
    thresholds = best_thresholds(truth, validation, minimum, float(pooled[0]))
    return (test >= thresholds) & seen, test
