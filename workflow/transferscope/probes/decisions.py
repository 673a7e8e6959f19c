"""Predictions from scores, with thresholds from validation rows."""

from __future__ import annotations

import numpy as np

from transferscope.config.probes import HeadSettings, KnnSettings
from transferscope.probes.evaluation import Division, OnValidation, ProbeData
from transferscope.probes.metrics import DEFAULT_THRESHOLD, best_thresholds
from transferscope.runtime.arrays import Bools, Values


def decide(
    data: ProbeData,
    division: Division,
    validation: Values,
    test: Values,
    settings: HeadSettings | KnnSettings,
    otherwise: float = DEFAULT_THRESHOLD,
) -> tuple[Bools, Values, OnValidation]:
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
        Predictions and scores of the test rows, [n_test, C], and the same of the validation rows.
    """
    seen = data.tiles.matrix[division.train].any(axis=0)
    test, known = (np.where(seen, values, values.dtype.type(0)) for values in (test, validation))
    if not data.is_multi_label:
        return most_likely(test), test, OnValidation(division.validation, most_likely(known), known)
    truth, minimum = data.tiles.matrix[division.validation], settings.threshold_positives
    pooled = best_thresholds(
        truth[:, seen].reshape(-1, 1), validation[:, seen].reshape(-1, 1), minimum, otherwise
    )
    thresholds = best_thresholds(truth, validation, minimum, float(pooled[0]))
    on_validation = OnValidation(division.validation, (known >= thresholds) & seen, known)
    return (test >= thresholds) & seen, test, on_validation


def most_likely(scores: Values) -> Bools:
    """Return the class with the highest score, [n, C]; the first of several."""
    return np.asarray(scores.argmax(axis=1)[:, None] == np.arange(scores.shape[1]))
