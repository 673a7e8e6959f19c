"""Calibrated probabilities, from scores of tiles that the heads had not seen.

Single-label: one temperature (Guo et al. 2017, arXiv:1706.04599), which changes no decision.
Multi-label: slope and offset of the logit per class (Platt 1999), drawn to those of all classes
together where a class has few tiles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, logit

from transferscope.runtime.arrays import Bools, Floats, Values

# Probabilities nearer to 0 or 1 are rounding.
LEAST = 1e-7
# Of the squared distance of a class's log slope and offset from those of all classes.
PULL = 1.0


@dataclass(frozen=True)
class Calibration:
    """How scores become probabilities.

    Parameters
    ----------
    slopes, offsets
        Of the logits, per class, float64 [C]; in a single-label task the slope is 1 / temperature
        and the offset 0 for all classes.
    is_multi_label
        Whether classes are independent questions.
    """

    slopes: Floats
    offsets: Floats
    is_multi_label: bool

    @classmethod
    def fit(cls, truth: Bools, scores: Values, *, is_multi_label: bool) -> Calibration:
        """Fit to tiles that the heads had not seen.

        Parameters
        ----------
        truth, scores
            Label indicators and probabilities of the heads, [N, C].
        is_multi_label
            Whether a tile may have several classes.
        """
        n_classes = truth.shape[1]
        if is_multi_label:
            values = _logits(scores)
            shared = _platt(truth.ravel(), values.ravel(), np.zeros(2), 0)
            each = [_platt(truth[:, c], values[:, c], shared, PULL) for c in range(n_classes)]
            log_slopes, offsets = np.asarray(each).T
            return cls(np.exp(log_slopes), offsets, is_multi_label)
        values = np.log(np.clip(scores.astype(np.float64), LEAST, 1))

        def loss(log_slope: Floats) -> float:
            return -float(log_softmax(np.exp(log_slope[0]) * values, axis=1)[truth].sum())

        found = minimize(loss, np.zeros(1), method="Nelder-Mead")
        slope = float(np.exp(found.x[0]))
        return cls(np.full(n_classes, slope), np.zeros(n_classes), is_multi_label)

    def probabilities(self, scores: Values) -> Floats:
        """Return calibrated probabilities of scores [N, C], float64."""
        if self.is_multi_label:
            return np.asarray(expit(self.slopes * _logits(scores) + self.offsets))
        values = np.log(np.clip(scores.astype(np.float64), LEAST, 1))
        return np.asarray(np.exp(log_softmax(self.slopes * values, axis=1)), dtype=np.float64)


def _logits(scores: Values) -> Floats:
    return np.asarray(logit(np.clip(scores.astype(np.float64), LEAST, 1 - LEAST)))


def _platt(truth: Bools, values: Floats, start: Floats, pull: float) -> Floats:
    """Return log slope and offset with the least cross-entropy, [2]."""

    def loss(at: Floats) -> tuple[float, Floats]:
        slope = np.exp(at[0])
        moved = slope * values + at[1]
        gaps = expit(moved) - truth
        entropy = np.logaddexp(0, moved) - truth * moved
        away = at - start
        gradient = np.array([slope * (gaps @ values), gaps.sum()]) + 2 * pull * away
        return float(entropy.sum() + pull * away @ away), gradient

    bounds = [(-5.0, 5.0), (-20.0, 20.0)]
    return np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x)
