import numpy as np
import pytest

from transferscope.compare.bootstrap import draw_weights, interval
from transferscope.probes.metrics import count_by_group, mean_of_defined, metrics_of_counts


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
