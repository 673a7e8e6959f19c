"""How often the labels are wrong, and what probabilities are worth, on labelled tiles."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from transferscope.compare.bootstrap import draw_weights
from transferscope.prediction.calibrate import Calibration
from transferscope.prediction.folds import OutOfFold
from transferscope.probes.calibration import calibration
from transferscope.runtime.arrays import Bools, Floats, Integers, Texts
from transferscope.runtime.seeds import derive_rng

DRAWS = 2000


@dataclass(frozen=True)
class Evidence:
    """What is known of the labels from tiles that the heads had not seen.

    Parameters
    ----------
    error, error_low, error_high
        Share of labelled tiles whose labels are not exactly those given, and its interval over
        groups.
    calibration_error, uncalibrated_error
        Expected calibration error of the probabilities, and of the heads' own scores.
    n_tiles, n_groups
        Labelled tiles, and their groups.
    confidence
        Of the interval.
    """

    error: float
    error_low: float
    error_high: float
    calibration_error: float
    uncalibrated_error: float
    n_tiles: int
    n_groups: int
    confidence: float

    def as_plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def evidence(
    said: OutOfFold, truth: Bools, groups: Texts, confidence: float, *, is_multi_label: bool
) -> tuple[Evidence, Floats]:
    """Return the evidence, and the probabilities behind it, [n, C].

    No tile takes part in the calibration by which it is judged: that of each group is fitted on the
    tiles of the other half of the groups.

    Parameters
    ----------
    said
        What the heads say of tiles that they had not seen.
    truth, groups
        Label indicators and groups of those tiles, [n, C] and [n].
    confidence
        Of the interval.
    is_multi_label
        Whether a tile may have several classes.
    """
    names, codes = np.unique(groups.astype(str), return_inverse=True)
    side = derive_rng("calibration", len(names)).permutation(len(names))[codes] % 2
    probabilities = np.empty(said.scores.shape)
    for own in (0, 1):
        others = side != own
        if others.any():
            fitted = Calibration.fit(
                truth[others], said.scores[others], is_multi_label=is_multi_label
            )
            probabilities[~others] = fitted.probabilities(said.scores[~others])
    wrong = (said.predicted != truth).any(axis=1)
    low, high = _interval(wrong, codes, len(names), confidence)
    of_probabilities, of_scores = (
        calibration(truth, values)["calibration_error"] for values in (probabilities, said.scores)
    )
    n_tiles = len(np.unique(said.rows))
    found = Evidence(
        float(wrong.mean()), low, high, of_probabilities, of_scores, n_tiles, len(names), confidence
    )
    return found, probabilities


def _interval(
    wrong: Bools, codes: Integers, n_groups: int, confidence: float
) -> tuple[float, float]:
    """Return the percentile interval of the share of wrong tiles over draws of groups."""
    errors, tiles = (
        np.bincount(codes, weights=weights, minlength=n_groups)
        for weights in (wrong.astype(float), np.ones(len(wrong)))
    )
    weights = draw_weights(n_groups, DRAWS, "prediction")[1:].astype(np.float64)
    shares = (weights @ errors) / (weights @ tiles)
    tail = (1 - confidence) / 2
    low, high = np.quantile(shares, [tail, 1 - tail])
    return float(low), float(high)
