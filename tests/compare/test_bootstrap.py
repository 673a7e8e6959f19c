import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, average_precision_score, f1_score

from transferscope.compare.average_precision import weighted_average_precision
from transferscope.compare.bootstrap import (
    count_by_group,
    draw_weights,
    interval,
    mean_of_defined,
    metrics_of_counts,
)


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


def macro_f1(true, predicted):
    """Mean F1 of the classes that are true or predicted somewhere, each by scikit-learn."""
    seen = np.flatnonzero((true | predicted).any(axis=0))
    return np.mean([f1_score(true[:, j], predicted[:, j]) for j in seen]) if len(seen) else np.nan


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
        np.testing.assert_allclose(found["macro_f1"][draw], macro_f1(t, p))
        np.testing.assert_allclose(found["accuracy"][draw], (t == p).all(axis=1).mean())
        if (t | p).any():
            expected = f1_score(t.ravel(), p.ravel())
            np.testing.assert_allclose(found["micro_f1"][draw], expected)
        for j in range(true.shape[1]):
            if (t | p)[:, j].any():
                expected = f1_score(t[:, j], p[:, j])
                np.testing.assert_allclose(found["class_f1"][draw, j], expected)
            else:
                assert np.isnan(found["class_f1"][draw, j])


def test_macro_f1_skips_what_scikit_learn_skips():
    true = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0]], dtype=bool)
    predicted = np.array([[1, 0, 0], [1, 0, 0], [1, 1, 0]], dtype=bool)
    counts = count_by_group(true, predicted, np.array([0, 0, 1]), 2).sum(axis=0)
    expected = f1_score(true, predicted, average="macro", zero_division=np.nan)
    assert metrics_of_counts(counts)["macro_f1"] == pytest.approx(expected)
    assert metrics_of_counts(counts)["accuracy"] == pytest.approx(accuracy_score(true, predicted))


@settings(max_examples=25, deadline=None)
@given(predictions(), st.integers(0, 1000))
def test_average_precision_equals_scikit_learn(case, seed):
    true, _, score, group, n_groups = case
    weights = draw_weights(n_groups, 8, seed)
    found = weighted_average_precision(true, score, group, weights)
    for draw, of_groups in enumerate(weights):
        of_tiles = of_groups[group]
        for j in range(true.shape[1]):
            if not (of_tiles * true[:, j]).any():
                assert np.isnan(found[draw, j])
                continue
            expected = average_precision_score(true[:, j], score[:, j], sample_weight=of_tiles)
            assert found[draw, j] == pytest.approx(expected, abs=1e-6)


def test_average_precision_in_blocks_of_draws(monkeypatch):
    rng = np.random.default_rng(0)
    true, score, group = rng.random((40, 2)) < 0.3, rng.random((40, 2)), rng.integers(0, 9, 40)
    weights = draw_weights(9, 25, "blocks")
    whole = weighted_average_precision(true, score, group, weights)
    monkeypatch.setattr("transferscope.compare.average_precision.VALUES_AT_ONCE", 30)
    np.testing.assert_array_equal(weighted_average_precision(true, score, group, weights), whole)


def test_draws_depend_on_names_and_keep_the_number_of_groups():
    weights = draw_weights(12, 50, 0, "cells")
    assert weights.shape == (51, 12)
    assert (weights[0] == 1).all()
    assert (weights.sum(axis=1) == 12).all()
    np.testing.assert_array_equal(weights, draw_weights(12, 50, 0, "cells"))
    assert (weights != draw_weights(12, 50, 0, "fields")).any()
    assert (weights != draw_weights(12, 50, 1, "cells")).any()


def test_interval_is_that_of_the_draws_moved_to_the_score():
    rng = np.random.default_rng(0)
    draws = np.concatenate([[0.5], rng.normal(0.4, 0.1, size=20_000)])
    low, high = interval(draws, 0.95)
    assert low == pytest.approx(0.5 - 0.196, abs=0.005)
    assert high == pytest.approx(0.5 + 0.196, abs=0.005)


def test_interval_of_undefined_draws():
    draws = np.full((101, 3), np.nan)
    draws[0] = 0.5
    draws[1:81, 0] = np.linspace(0.4, 0.6, 80)
    draws[1:41, 1] = 0.5
    low, high = interval(draws, 0.9, 0, 1)
    assert low[0] == pytest.approx(0.41, abs=0.002)
    assert high[0] == pytest.approx(0.59, abs=0.002)
    assert np.isnan(low[1:]).all()
    assert np.isnan(high[1:]).all()


def test_interval_stays_within_the_limits_of_a_score():
    draws = np.concatenate([[0.95], np.linspace(0.6, 1.0, 100)])
    low, high = interval(draws, 0.95, 0, 1)
    assert high == 1
    assert low < 0.95


def test_interval_covers_where_plain_percentiles_do_not():
    """Macro F1 averaged over folds with rare classes: draws are biased, the interval is not."""
    rng = np.random.default_rng(1)
    points, bounds, plain = [], [], []
    for repeat in range(150):
        draws = _draws_of_a_world(rng, repeat)
        points.append(draws[0])
        bounds.append(interval(draws, 0.95, 0, 1))
        plain.append(np.quantile(draws[1:], [0.025, 0.975]))
    truth = np.mean(points)
    covered = np.mean([low <= truth <= high for low, high in bounds])
    covered_plainly = np.mean([low <= truth <= high for low, high in plain])
    assert 0.88 < covered < 0.99
    assert covered_plainly < 0.85


def _draws_of_a_world(rng, repeat, groups=150, folds=5, tiles=3):
    labels = rng.random((groups, 8)) < np.geomspace(0.05, 0.3, 8)
    own = rng.normal(size=labels.shape) * 1.4
    noise = 0.7 * rng.normal(size=(groups * tiles, 8))
    scores = np.repeat(np.where(labels, 1.2, -2.2) + own, tiles, axis=0) + noise
    group = np.repeat(np.arange(groups), tiles)
    counts = count_by_group(np.repeat(labels, tiles, axis=0), scores > 0, group, groups)
    weights = draw_weights(groups, 300, repeat)
    inside = [np.arange(groups) % folds == fold for fold in range(folds)]
    values = [metrics_of_counts(weights[:, f] @ counts[f])["macro_f1"] for f in inside]
    return mean_of_defined(np.stack(values), axis=0)
