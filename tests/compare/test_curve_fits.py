"""Curves of a score over a size: families, their choice, bands, and what is not told."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import curve_fit
from scipy.stats import ttest_ind

from transferscope.compare.curve_fits import (
    CONSTANT,
    JOINED,
    LINE,
    LOG_LINEAR,
    POWER,
    fit_curve,
)
from transferscope.compare.repeats import Repeats

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from coverage_of_curves import LOWEST, TRUTHS, simulate, table_of

RNG = np.random.default_rng


def repeats_of(truth, sizes, n_seeds=3, noise=0.002, seed=0):
    places = np.repeat(np.asarray(sizes, dtype=float), n_seeds)
    return Repeats.of(places, truth(places) + noise * RNG(seed).standard_normal(len(places)))


@pytest.mark.parametrize(
    ("truth", "family"),
    [
        (lambda x: 0.5 + 0 * x, CONSTANT),
        (lambda x: 0.3 + 0.05 * np.log(x), LOG_LINEAR),
        (lambda x: 0.6 - 0.05 * np.log(x), LOG_LINEAR),
        (lambda x: 0.3 + 0.005 * x, LINE),
        (lambda x: 0.85 - 0.5 * x**-0.6, POWER),
    ],
)
def test_the_family_of_the_truth_is_chosen(truth, family):
    found = fit_curve(repeats_of(truth, [1, 3, 10, 30, 100], seed=3), RNG(0))
    assert found.family == family
    true = truth(found.places)
    assert ((found.low <= true) & (true <= found.high)).mean() > 0.7


def test_a_power_law_is_the_one_of_least_squares():
    def truth(x, c, a, b):
        return c - a * x**-b

    sizes = np.array([1, 4, 16, 64, 256, 1024], dtype=float)
    repeats = repeats_of(lambda x: truth(x, 0.85, 0.6, 0.35), sizes, 5, 0.005, seed=2)
    found = fit_curve(repeats, RNG(0))
    best, _ = curve_fit(truth, sizes, repeats.means, p0=(0.8, 0.5, 0.5))
    assert found.family == POWER
    # Exponents are tried one by one: the nearest one is within the standard error of a mean.
    error = 0.005 / np.sqrt(5)
    assert found.values == pytest.approx(truth(found.places, *best), abs=error)
    assert found.asymptote[0] == pytest.approx(best[0], abs=0.01)
    assert found.asymptote[1] < 0.85 < found.asymptote[2]
    assert found.gain[0] == pytest.approx(truth(2048, *best) - truth(1024, *best), abs=error)


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        (np.geomspace(1, 10, 5), False),
        (np.geomspace(1, 100, 4), False),
        (np.geomspace(1, 29, 8), False),
        (np.geomspace(1, 100, 5), True),
    ],
)
def test_a_limit_takes_five_sizes_over_a_factor_of_thirty(sizes, told):
    found = fit_curve(repeats_of(lambda x: 0.85 - 0.5 * x**-0.6, sizes, seed=3), RNG(0))
    assert (found.asymptote is not None) == told


def test_no_curve_is_drawn_where_the_repeats_refute_all():
    found = fit_curve(repeats_of(lambda x: 0.5 + 0.2 * (x > 20), [1, 3, 10, 30, 100]), RNG(0))
    assert (found.family, found.gain, found.asymptote) == (JOINED, None, None)
    assert found.places.tolist() == [1, 3, 10, 30, 100]


def test_two_sizes_are_compared_and_not_extrapolated():
    rng = RNG(1)
    small, large = rng.normal(0.5, 0.02, 3), rng.normal(0.6, 0.02, 4)
    repeats = Repeats.of([1] * 3 + [8] * 4, np.concatenate([small, large]))
    found = fit_curve(repeats, RNG(0))
    assert (found.family, found.gain) == (JOINED, None)
    expected = ttest_ind(large, small).confidence_interval(0.95)
    assert repeats.rise(0.95)[1:] == pytest.approx(tuple(expected))


def test_without_repeats_there_is_a_curve_but_no_band():
    found = fit_curve(Repeats.of([1, 3, 10, 30, 100], [0.3, 0.35, 0.4, 0.45, 0.5]), RNG(0))
    assert found.family == LOG_LINEAR
    assert np.isnan([*found.low, *found.high, *found.gain[1:]]).all()
    sizes = np.geomspace(1, 1000, 6)
    levelling = fit_curve(Repeats.of(sizes, 0.8 - 0.5 * sizes**-0.5), RNG(0))
    assert levelling.family == POWER
    assert levelling.asymptote[0] == pytest.approx(0.8, abs=0.01)
    assert np.isnan(levelling.asymptote[1:]).all()


def test_spread_is_pooled_over_curves():
    several = [Repeats.of([1, 1, 2], [0.1, 0.3, 0]), Repeats.of([1, 2, 2, 2], [0, 0.1, 0.2, 0.3])]
    found = several[0].pooled(several)
    assert found.freedom == 3
    assert found.deviation == pytest.approx(np.sqrt((0.02 + 0.02) / 3))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(1, 1e9), min_size=2, max_size=8, unique=True),
    st.lists(st.floats(0, 1), min_size=24, max_size=24),
    st.integers(1, 3),
)
def test_any_scores_give_finite_curves_within_their_band(sizes, scores, n_seeds):
    places = np.repeat(sizes, n_seeds)
    repeats = Repeats.of(places, scores[: len(places)])
    found = fit_curve(repeats, RNG(0), draws=50)
    assert np.isfinite(found.values).all()
    if repeats.freedom:
        assert (found.low <= found.values).all()
        assert (found.values <= found.high).all()
        assert found.gain is None or found.gain[1] <= found.gain[0] <= found.gain[2]
    assert found.asymptote is None or found.asymptote[0] <= 1


@pytest.mark.parametrize("kind", TRUTHS)
def test_bands_hold_the_truth_as_often_as_they_say(kind):
    """A small cell of the simulation; the whole of it is in the documentation."""
    found = simulate(kind, 5, 3, 80)
    assert found["coverage"] > LOWEST - 2 * found["error"]
    assert kind in table_of([found])
