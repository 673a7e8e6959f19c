"""Brier score and expected calibration error, against scikit-learn and a plain loop."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import brier_score_loss

from transferscope.probes.calibration import N_BINS, calibration

SHAPE = (40, 3)


def plain_error(truth, scores):
    """Return the calibration error of one class, bin by bin."""
    total = 0.0
    for number in range(N_BINS):
        low, high = number / N_BINS, (number + 1) / N_BINS
        inside = (scores >= low) & ((scores < high) | (number == N_BINS - 1))
        if inside.any():
            gap = abs(scores[inside].mean() - truth[inside].mean())
            total += inside.mean() * gap
    return total


@given(
    arrays(bool, SHAPE), arrays(np.float64, SHAPE, elements=st.floats(0, 1, allow_subnormal=False))
)
def test_both_equal_their_references(truth, scores):
    # Away from the edges of bins, where rounding decides.
    scores = np.clip(np.round(scores * 1000) / 1000 + 0.0005, 0, 1)
    found = calibration(truth, scores)
    columns = range(SHAPE[1])
    brier = [brier_score_loss(truth[:, c], scores[:, c], labels=[0, 1]) for c in columns]
    assert found["brier"] == pytest.approx(np.mean(brier))
    errors = [plain_error(truth[:, c], scores[:, c]) for c in columns]
    assert found["calibration_error"] == pytest.approx(np.mean(errors), abs=1e-9)


def test_certain_and_right_is_perfect_and_certain_and_wrong_is_worst():
    truth = np.eye(4, dtype=bool)
    assert set(calibration(truth, truth.astype(np.float32)).values()) == {0.0}
    assert set(calibration(truth, (~truth).astype(np.float32)).values()) == {1.0}


@pytest.mark.parametrize("scores", [np.full((2, 2), -0.1), np.full((2, 2), 1.5), np.empty((0, 2))])
def test_what_are_no_probabilities_has_no_calibration(scores):
    truth = np.zeros(scores.shape, dtype=bool)
    assert all(np.isnan(list(calibration(truth, scores).values())))
