"""Inflated standard errors and what follows from them, against formulas written out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from transferscope.compare.plateau import enough_from
from transferscope.compare.uncertainty import (
    Inflation,
    assess,
    compare_with_best,
    draw_noise,
    groups_needed,
    interval,
    letters,
    simultaneous,
    variances,
    weight_of_differences,
    weight_of_scores,
)

DRAWS = 400
NOISE = draw_noise(DRAWS, np.random.default_rng(0))
EXACT = Inflation(1.0, 1e6)


def sample(values, spread, seed=0):
    """Return [1 + draws, P]: values, then independent normal draws around them."""
    rng = np.random.default_rng(seed)
    values = np.asarray(values, dtype=float)
    draws = values + np.asarray(spread) * rng.normal(size=(DRAWS, len(values)))
    return np.concatenate([values[None], draws])


def test_variances_are_those_of_the_defined_draws():
    draws = sample([0.5, 0.2, 0.1, np.nan], [0.1, 0.2, 0.1, 0.1])
    draws[1:101, 1] = np.nan
    draws[1:301, 2] = np.nan
    found = variances(draws)
    assert found[0] == pytest.approx(draws[1:, 0].var(ddof=1))
    assert found[1] == pytest.approx(draws[101:, 1].var(ddof=1))
    assert np.isnan(found[2:]).all()


def test_inflation_by_hand():
    """Sum of half-sample variances over that of the bootstrap, moderated towards 2.5."""
    halves = np.array([[[0.6, 0.4], [0.5, 0.5]], [[0.3, 0.2], [0.4, 0.1]]])
    own = 1 / 4 * np.array([(0.04 + 0) / 2, (0.01 + 0.09) / 2])
    bootstrapped = np.array([0.001, 0.002])
    found = Inflation.of(halves, bootstrapped, n_groups=31, weight=1.5)
    weight = 2 * 1.5
    expected = (8 * 2.5 + weight * own.sum() / bootstrapped.sum()) / (8 + weight)
    np.testing.assert_allclose(found.factor, [expected, expected])
    assert found.df == pytest.approx(1 / (1 / (8 + weight) + 1 / 30))


@pytest.mark.parametrize(
    "halves", [np.empty((2, 0, 2)), np.full((2, 8, 2), np.nan)], ids=["none", "undefined"]
)
def test_without_halves_the_variance_is_three_times_the_bootstraps(halves):
    assert Inflation.of(halves, np.array([0.1, 0.2]), 20, 1.0) == Inflation(3.0, 19)


def test_what_was_not_trained_in_halves_has_the_larger_factor_and_counts_for_nothing():
    halves = np.stack([np.full((4, 2), np.nan), np.tile([0.5, 0.4], (4, 1))])
    both = Inflation.of(halves, np.array([5.0, 0.01]), 20, 1.0)
    alone = Inflation.of(halves[1:], np.array([0.01]), 20, 1.0)
    assert both.factor[1] == alone.factor[0] < 3
    assert both.factor[0] == 3
    assert both.df == alone.df
    np.testing.assert_allclose(both.errors(np.array([1.0, 1.0]))[0], np.sqrt(3))


def test_smaller_fractions_vary_more():
    assert Inflation(2.0, 9).at_fraction(1.0) == Inflation(2.0, 9)
    assert Inflation(2.0, 9).at_fraction(1 / 8).factor == pytest.approx(4)


def test_weights_are_those_of_one_and_six_stores():
    assert weight_of_scores(1) == 1
    assert weight_of_scores(6) == pytest.approx(3)
    assert weight_of_differences(2) == 1
    assert weight_of_differences(6) == pytest.approx(3.5)


def test_the_interval_is_that_of_a_t_distribution_within_bounds():
    low, high = interval(np.array([0.9]), np.array([0.01]), Inflation(4.0, 7), 0.95, 0, 1)
    assert low == pytest.approx(0.9 - stats.t.ppf(0.975, 7) * 0.2)
    assert high == 1


def test_one_comparison_needs_no_correction():
    draws = sample([0.25], [0.1])
    found = assess(draws, EXACT, 0.95, 0.02, NOISE)
    error = draws[1:, 0].std(ddof=1)
    assert found.errors[0] == pytest.approx(error)
    assert found.p[0] == pytest.approx(2 * stats.norm.sf(0.25 / error), rel=1e-3)
    assert found.p_adjusted[0] == pytest.approx(found.p[0], abs=0.005)
    assert found.detectable[0] == pytest.approx((1.96 + 0.8416) * error, rel=1e-3)


def test_the_detectable_difference_is_found_in_80_percent_of_corrected_tests():
    """A true difference of that size is shown, after correction, in 80 % of studies."""
    rng = np.random.default_rng(5)
    draws = sample(np.zeros(6), np.full(6, 0.1))
    size = assess(draws, EXACT, 0.95, 0.02, NOISE).detectable[0]
    shown = []
    for _ in range(300):
        moved = draws.copy()
        moved += np.concatenate([[size], np.zeros(5)]) + 0.1 * rng.normal(size=6)
        shown.append(assess(moved, EXACT, 0.95, 0.02, NOISE[:2000]).p_adjusted[0] < 0.05)
    assert 0.72 < np.mean(shown) < 0.88


def test_independent_comparisons_are_corrected_as_by_sidak():
    draws = sample(np.full(10, 0.25), np.full(10, 0.1))
    found = assess(draws, EXACT, 0.95, 0.02, NOISE)
    np.testing.assert_allclose(found.p_adjusted, 1 - (1 - found.p) ** 10, atol=0.02)


def test_copies_of_one_comparison_need_no_correction():
    draws = np.repeat(sample([0.25], [0.1]), 10, axis=1)
    found = assess(draws, EXACT, 0.95, 0.02, NOISE)
    np.testing.assert_allclose(found.p_adjusted, found.p, atol=0.005)


def test_a_difference_that_never_varies_is_none_and_is_equal():
    found = assess(np.zeros((DRAWS + 1, 2)), EXACT, 0.95, 0.02, NOISE)
    assert (found.p == 1).all()
    assert (found.p_adjusted == 1).all()
    assert found.equal.all()


@pytest.mark.parametrize(
    ("value", "spread", "expected"),
    [(0.0, 0.005, True), (0.0, 0.02, False), (0.015, 0.001, True), (0.03, 0.001, False)],
)
def test_equal_is_what_two_one_sided_tests_show(value, spread, expected):
    found = assess(sample([value], [spread]), EXACT, 0.95, 0.02, NOISE)
    assert found.equal[0] == expected


def with_best(draws, noise=NOISE):
    """Compare stores with the best, with exact errors."""
    leads = draws[:, None, :] - draws[:, :, None]
    return compare_with_best(leads, np.sqrt(variances(leads)), EXACT.df, 0.95, noise)


def leaders_of(draws, noise=NOISE):
    return with_best(draws, noise).may_be_best


def test_stores_far_behind_are_ruled_out_and_near_ones_are_not():
    draws = sample([0.5, 0.49, 0.1, 0.48], np.full(4, 0.02))
    found = leaders_of(draws)
    np.testing.assert_array_equal(found, [True, True, False, True])


def test_a_single_store_and_copies_may_be_the_best():
    assert leaders_of(sample([0.5], [0.1])).all()
    copies = np.repeat(sample([0.5], [0.1]), 3, axis=1)
    assert leaders_of(copies).all()


def test_the_best_is_ruled_out_in_one_study_of_twenty():
    """Equally good stores: any exclusion is wrong; over independent normal estimates."""
    rng = np.random.default_rng(1)
    wrong = []
    for study in range(400):
        values = 0.5 + 0.1 * rng.normal(size=5)
        draws = sample(values, np.full(5, 0.1), seed=study)
        wrong.append(not leaders_of(draws, NOISE[:2000])[0])
    assert 0.025 < np.mean(wrong) < 0.08


def test_no_store_is_further_behind_than_its_bound():
    """The bounds of all stores at once, also where they are tight; normal estimates."""
    rng = np.random.default_rng(2)
    true = np.array([0.5, 0.5, 0.47, 0.3, 0.1])
    held, bounds = [], []
    for study in range(400):
        values = true + 0.02 * rng.normal(size=5)
        found = with_best(sample(values, np.full(5, 0.02), seed=study), NOISE[:2000])
        held.append((true.max() - true <= found.at_most_behind).all())
        bounds.append(found.at_most_behind)
    assert np.mean(held) > 0.925
    # The bound of one of two equal stores: 2.2 errors of a difference, less if it leads.
    assert np.median(bounds, axis=0)[0] < 0.08
    assert np.median(bounds, axis=0)[4] == pytest.approx(0.4 + 0.06, abs=0.03)


def test_one_store_and_copies_are_not_behind():
    one = sample([0.5], [0.1])
    assert with_best(np.repeat(one, 3, axis=1)).at_most_behind.tolist() == [0, 0, 0]
    far = with_best(sample([0.9, 0.1], [0.01, 0.01])).at_most_behind
    assert far[0] == 0
    assert far[1] == pytest.approx(0.8 + 1.64 * 0.01 * np.sqrt(2), abs=0.005)


def test_simultaneous_intervals_are_as_wide_as_independent_ones_need():
    reach = simultaneous(sample(np.full(8, 0.5), np.full(8, 0.1)), EXACT, 0.95, NOISE)
    assert reach == pytest.approx(stats.norm.ppf((1 + 0.95 ** (1 / 8)) / 2), abs=0.05)


def test_four_times_the_groups_show_half_the_difference():
    np.testing.assert_allclose(groups_needed(50, np.array([0.04, 0.08]), 0.02), [200, 800])


@given(st.lists(st.booleans(), min_size=10, max_size=10), st.permutations(range(5)))
def test_stores_share_a_letter_exactly_if_they_are_not_shown_to_differ(pairs, order):
    differ = np.zeros((5, 5), dtype=bool)
    differ[np.triu_indices(5, 1)] = pairs
    differ |= differ.T
    found = letters(differ, order)
    for i in range(5):
        assert found[i]
        for j in range(i):
            assert (set(found[i]) & set(found[j]) == set()) == differ[i, j]
    assert "a" in found[order[0]]


def test_the_plateau_starts_where_all_above_it_are_enough():
    rng = np.random.default_rng(0)
    wobble = 0.01 * rng.normal(size=DRAWS + 1)
    wobble[0] = 0
    draws = {f: mean + wobble for f, mean in ((0.1, 0.49), (0.25, 0.4), (0.5, 0.5), (1.0, 0.5))}
    halves = {f: np.full((4, 2), values[0]) for f, values in draws.items()}
    assert enough_from(draws, halves, 40, 0.95) == 0.5
    assert np.isnan(enough_from({1.0: draws[1.0]}, halves, 40, 0.95))
    wide = {f: values[0] + 0.2 * rng.normal(size=DRAWS + 1) for f, values in draws.items()}
    assert np.isnan(enough_from(wide, halves, 40, 0.95))
