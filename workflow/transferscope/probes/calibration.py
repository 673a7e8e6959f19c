"""Calibration of class scores, read as probabilities; lower is better.

Each class is one question, yes or no, in single-label tasks as well, and classes count equally.
"""

from __future__ import annotations

import numpy as np

from transferscope.config.vocabulary import Metric
from transferscope.runtime.arrays import Bools, Values

N_BINS = 10
CALIBRATION: tuple[Metric, ...] = ("brier", "calibration_error")


def calibration(truth: Bools, scores: Values) -> dict[str, float]:
    """Return the Brier score and the expected calibration error, means over classes.

    Parameters
    ----------
    truth, scores
        Label indicators and probabilities, [tiles, classes].

    Returns
    -------
    dict
        `brier`: mean squared difference of probability and truth (Brier 1950);
        `calibration_error`: mean absolute difference of mean probability and frequency over
        `N_BINS` equal bins, weighted by their tiles (per class; Nixon et al. 2019,
        arXiv:1904.01685). NaN if there are no tiles, or if scores are no probabilities.
    """
    n_tiles, n_classes = truth.shape
    if n_tiles == 0 or scores.min() < 0 or scores.max() > 1:
        return dict.fromkeys(CALIBRATION, float("nan"))
    gaps = scores.astype(np.float64) - truth
    bins = np.minimum((scores * N_BINS).astype(np.int64), N_BINS - 1)
    cells = bins + N_BINS * np.arange(n_classes)
    sums = np.bincount(cells.ravel(), weights=gaps.ravel(), minlength=N_BINS * n_classes)
    error = np.abs(sums).sum() / (n_tiles * n_classes)
    return {"brier": float(np.square(gaps).mean()), "calibration_error": float(error)}
