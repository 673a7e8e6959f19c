import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as reference

from transferscope.probes import metrics

SHAPE = (37, 5)
rng = np.random.default_rng(0)


def truth_and_scores(shape: tuple[int, ...], levels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and scores with ties (`levels` distinct scores)."""
    return rng.random(shape) < 0.3, (rng.integers(0, levels, shape) / levels).astype(np.float32)


@pytest.mark.parametrize("average", ["macro", "micro", None])
def test_f1_equals_scikit_learn(average: str | None) -> None:
    truth, scores = truth_and_scores(SHAPE, 10)
    truth[:, 0] = False
    predicted = scores > 0.5
    predicted[:, 0] = False  # neither occurs nor is predicted: left out
    expected = reference.f1_score(truth, predicted, average=average, zero_division=np.nan)
    ours = {
        "macro": metrics.macro_f1,
        "micro": metrics.micro_f1,
        None: lambda t, p: metrics.Counts.of(t, p).f1(),
    }[average](truth, predicted)
    np.testing.assert_allclose(ours, expected, rtol=1e-12)


def test_accuracy_is_that_of_scikit_learn() -> None:
    truth, scores = truth_and_scores((200, 2), 3)
    predicted = scores > 0.4
    assert metrics.accuracy(truth, predicted) == reference.accuracy_score(truth, predicted)


def test_all_undefined_is_nan_without_a_warning() -> None:
    nothing = np.zeros((4, 3), dtype=bool)
    assert np.isnan(metrics.macro_f1(nothing, nothing))
    assert np.isnan(metrics.average_precision(nothing, nothing.astype(float))).all()


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(bool, (12, 3)),
    hnp.arrays(np.float32, (12, 3), elements=st.sampled_from([0, 0.25, 0.5, 0.75, 1])),
)
def test_average_precision_equals_scikit_learn_with_ties(
    truth: np.ndarray, scores: np.ndarray
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = [
            reference.average_precision_score(truth[:, j], scores[:, j])
            if truth[:, j].any()
            else np.nan
            for j in range(3)
        ]
    np.testing.assert_allclose(metrics.average_precision(truth, scores), expected, atol=1e-12)


def brute_force_f1(truth: np.ndarray, scores: np.ndarray) -> float:
    """Return the best F1 over every threshold that changes a prediction."""
    return max(
        float(reference.f1_score(truth, scores >= t, zero_division=0)) for t in np.unique(scores)
    )


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(bool, (15,)),
    hnp.arrays(np.float32, (15,), elements=st.floats(0, 1, width=16)),
)
def test_thresholds_reach_the_best_f1_of_a_brute_force_search(
    truth: np.ndarray, scores: np.ndarray
) -> None:
    (threshold,) = metrics.best_thresholds(truth[:, None], scores[:, None], minimum=1)
    if not truth.any() or truth.all():
        assert threshold == 0.5
        return
    found = reference.f1_score(truth, scores >= threshold, zero_division=0)
    assert found == pytest.approx(brute_force_f1(truth, scores))


def test_thresholds_need_enough_positives_and_negatives() -> None:
    scores = np.linspace(0, 0.4, 20)[:, None].repeat(3, axis=1)
    truth = np.zeros((20, 3), dtype=bool)
    truth[-4:, 0] = truth[-5:, 1] = truth[1:, 2] = True
    thresholds = metrics.best_thresholds(truth, scores, minimum=5)
    assert thresholds[0] == thresholds[2] == 0.5
    assert scores[-6, 1] < thresholds[1] < scores[-5, 1]


def test_without_validation_tiles_thresholds_stay_at_the_default() -> None:
    empty = np.zeros((0, 4))
    assert (metrics.best_thresholds(empty.astype(bool), empty, 1) == 0.5).all()


@pytest.mark.parametrize(
    "metric", [metrics.macro_f1, metrics.micro_f1, metrics.accuracy, metrics.average_precision]
)
def test_a_batch_of_heads_equals_head_by_head(metric) -> None:
    truth, scores = truth_and_scores((4, *SHAPE), 6)
    values = scores if metric is metrics.average_precision else scores > 0.5
    expected = [metric(t, v) for t, v in zip(truth, values, strict=True)]
    np.testing.assert_array_equal(metric(truth, values), expected)


def test_thresholds_of_a_batch_equal_head_by_head() -> None:
    truth, scores = truth_and_scores((4, *SHAPE), 50)
    expected = [metrics.best_thresholds(t, s, 3) for t, s in zip(truth, scores, strict=True)]
    np.testing.assert_array_equal(metrics.best_thresholds(truth, scores, 3), expected)
