import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as reference

from transferscope.compare.bootstrap import draw_weights
from transferscope.probes import metrics
from transferscope.probes.average_precision import average_precision, weighted_average_precision
from transferscope.probes.metrics import count_by_group, metrics_of, metrics_of_counts

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
    name = {"macro": "macro_f1", "micro": "micro_f1", None: "class_f1"}[average]
    ours = metrics_of(truth, predicted)[name]
    np.testing.assert_allclose(ours, expected, rtol=1e-12)


def test_accuracy_is_that_of_scikit_learn() -> None:
    truth, scores = truth_and_scores((200, 2), 3)
    predicted = scores > 0.4
    found = metrics_of(truth, predicted)["accuracy"]
    assert found == reference.accuracy_score(truth, predicted)


def test_all_undefined_is_nan_without_a_warning() -> None:
    nothing = np.zeros((4, 3), dtype=bool)
    assert np.isnan(metrics_of(nothing, nothing)["macro_f1"])
    assert np.isnan(average_precision(nothing, nothing.astype(float))).all()


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
    np.testing.assert_allclose(average_precision(truth, scores), expected, atol=1e-12)


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


def test_thresholds_of_a_batch_equal_head_by_head() -> None:
    truth, scores = truth_and_scores((4, *SHAPE), 50)
    expected = [metrics.best_thresholds(t, s, 3) for t, s in zip(truth, scores, strict=True)]
    np.testing.assert_array_equal(metrics.best_thresholds(truth, scores, 3), expected)


@st.composite
def predictions(draw):
    """Labels, predictions, tied scores and groups of a handful of tiles."""
    n, classes, groups = draw(st.integers(1, 30)), draw(st.integers(1, 4)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    true = rng.random((n, classes)) < draw(st.sampled_from([0.0, 0.2, 0.5, 1.0]))
    score = rng.integers(0, draw(st.sampled_from([1, 3, 1000])), size=(n, classes)) / 10
    predicted = rng.random((n, classes)) < 0.4
    return true, predicted, score.astype(np.float32), rng.integers(0, groups, size=n), groups


def resample(group, weights):
    """Repeat the rows of each group as often as it was drawn."""
    return np.concatenate(
        [np.repeat(np.flatnonzero(group == g), int(w)) for g, w in enumerate(weights)]
    ).astype(int)


def plain_macro_f1(true, predicted):
    """Mean F1 of the classes that are true or predicted somewhere, each by scikit-learn."""
    seen = np.flatnonzero((true | predicted).any(axis=0))
    return (
        np.mean([reference.f1_score(true[:, j], predicted[:, j]) for j in seen])
        if len(seen)
        else np.nan
    )


@settings(max_examples=25, deadline=None)
@given(predictions(), st.integers(0, 1000))
def test_counts_times_weights_equal_resampled_rows(case, seed):
    true, predicted, _, group, n_groups = case
    weights = draw_weights(n_groups, 8, seed)
    found = metrics_of_counts(weights @ count_by_group(true, predicted, group, n_groups))
    for draw, of_groups in enumerate(weights):
        rows = resample(group, of_groups)
        if len(rows) == 0:
            assert all(np.isnan(values[draw]).all() for values in found.values())
            continue
        t, p = true[rows], predicted[rows]
        np.testing.assert_allclose(found["macro_f1"][draw], plain_macro_f1(t, p))
        np.testing.assert_allclose(found["accuracy"][draw], (t == p).all(axis=1).mean())
        if (t | p).any():
            expected = reference.f1_score(t.ravel(), p.ravel())
            np.testing.assert_allclose(found["micro_f1"][draw], expected)
        for j in range(true.shape[1]):
            if (t | p)[:, j].any():
                expected = reference.f1_score(t[:, j], p[:, j])
                np.testing.assert_allclose(found["class_f1"][draw, j], expected)
            else:
                assert np.isnan(found["class_f1"][draw, j])


def test_macro_f1_skips_what_scikit_learn_skips():
    true = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0]], dtype=bool)
    predicted = np.array([[1, 0, 0], [1, 0, 0], [1, 1, 0]], dtype=bool)
    counts = count_by_group(true, predicted, np.array([0, 0, 1]), 2).sum(axis=0)
    expected = reference.f1_score(true, predicted, average="macro", zero_division=np.nan)
    assert metrics_of_counts(counts)["macro_f1"] == pytest.approx(expected)
    assert metrics_of_counts(counts)["accuracy"] == pytest.approx(
        reference.accuracy_score(true, predicted)
    )


@settings(max_examples=25, deadline=None)
@given(predictions(), st.integers(0, 1000))
def test_weighted_average_precision_equals_scikit_learn(case, seed):
    true, _, score, group, n_groups = case
    weights = draw_weights(n_groups, 8, seed)
    found = weighted_average_precision(true, score, group, weights)
    for draw, of_groups in enumerate(weights):
        of_tiles = of_groups[group]
        for j in range(true.shape[1]):
            if not (of_tiles * true[:, j]).any():
                assert np.isnan(found[draw, j])
                continue
            expected = reference.average_precision_score(
                true[:, j], score[:, j], sample_weight=of_tiles
            )
            assert found[draw, j] == pytest.approx(expected, abs=1e-6)


def test_average_precision_in_blocks_of_draws(monkeypatch):
    rng = np.random.default_rng(0)
    true, score, group = rng.random((40, 2)) < 0.3, rng.random((40, 2)), rng.integers(0, 9, 40)
    weights = draw_weights(9, 25, "blocks")
    whole = weighted_average_precision(true, score, group, weights)
    monkeypatch.setattr("transferscope.probes.average_precision.VALUES_AT_ONCE", 30)
    np.testing.assert_array_equal(weighted_average_precision(true, score, group, weights), whole)
