"""The robustness index as its definition says, its interval over groups, and its null."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from transferscope.correction.methods import correct
from transferscope.correction.rows import Rows
from transferscope.probes.robustness import (
    Neighbourhood,
    common_to_two,
    index,
    shuffled_indices,
    strata_of,
    without_each_group,
)
from transferscope.probes.robustness_errors import interval, variance

K = 7


def by_hand(values, matrix, batch, group, k):
    """Return the index by loops over all tiles."""
    units = values / np.linalg.norm(values, axis=1, keepdims=True)
    cosines = units @ units.T
    rates = np.zeros(2)
    for tile in range(len(values)):
        others = np.flatnonzero(group != group[tile])
        near = others[np.argsort(-cosines[tile, others], kind="stable")][:k]
        kinds = []
        for rows in (others, near):
            same = (matrix[rows] & matrix[tile]).any(axis=1)
            here = batch[rows] == batch[tile]
            kinds.append(((same & ~here).sum(), (~same & here).sum()))
        if all(kinds[0]):
            rates += np.divide(kinds[1], kinds[0])
    return rates[0] / rates.sum()


def drawn(seed, *, several_labels=False, n_groups=20):
    """Return embeddings, labels, batches and groups of an uneven dataset."""
    rng = np.random.default_rng(seed)
    group = np.sort(np.append(rng.integers(0, n_groups, 70), np.arange(n_groups)))
    batch = rng.integers(0, 3, len(group))
    matrix = np.eye(4, dtype=bool)[rng.integers(0, 4, n_groups)[group]]
    if several_labels:
        matrix |= rng.random(matrix.shape) < 0.2
    return rng.normal(size=(len(group), 5)).astype(np.float32), matrix, batch, group


@pytest.mark.parametrize("several_labels", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_the_index_is_that_of_the_definition_also_without_each_group(seed, several_labels):
    values, matrix, batch, group = drawn(seed, several_labels=several_labels)
    hood = Neighbourhood.of(values, matrix, batch, group, K)
    assert index(hood) == pytest.approx(by_hand(values, matrix, batch, group, K))
    expected = []
    for left_out in range(group.max() + 1):
        kept = group != left_out
        expected.append(by_hand(values[kept], matrix[kept], batch[kept], group[kept], K))
    np.testing.assert_allclose(without_each_group(hood), expected)
    # The index is linear in what pairs of groups add to it.
    assert common_to_two(hood).sum() == pytest.approx(0, abs=1e-12)


def test_balanced_it_is_the_published_ratio_of_counts():
    rng = np.random.default_rng(0)
    group = np.arange(90)
    label, batch = group % 3, group // 3 % 3
    values = rng.normal(size=(90, 6)) + rng.normal(size=(3, 6))[label]
    hood = Neighbourhood.of(
        values.astype(np.float32), np.eye(3, dtype=bool)[label], batch, group, K
    )
    near = hood.near[:, :K]
    same, here = label[near] == label[:, None], batch[near] == batch[:, None]
    so, os = (same & ~here).sum(), (~same & here).sum()
    assert index(hood) == pytest.approx(so / (so + os))


def test_random_neighbours_have_one_half_whatever_the_sizes():
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        group = np.arange(150)
        label = np.minimum(rng.geometric(0.5, 150) - 1, 3)
        batch = np.where(rng.random(150) < 0.15 * (label + 1), 0, rng.integers(1, 6, 150))
        values = rng.normal(size=(150, 8)).astype(np.float32)
        found.append(index(Neighbourhood.of(values, np.eye(4, dtype=bool)[label], batch, group, K)))
    assert np.mean(found) == pytest.approx(0.5, abs=0.02)


def test_without_anything_to_compare_there_is_no_index():
    rng = np.random.default_rng(0)
    group = np.arange(40)
    label = group % 2
    values, matrix = rng.normal(size=(40, 4)).astype(np.float32), np.eye(2, dtype=bool)[label]
    # Each class is one batch.
    assert np.isnan(index(Neighbourhood.of(values, matrix, label, group, K)))


N_GROUPS, N_TILES, N_BATCHES, WIDTH = 48, 3, 3, 10


def study(strength, seed, *, crossed=False):
    """Return the embeddings of a study whose batches are shifted, with class, batch and group."""
    fixed, rng = np.random.default_rng(5), np.random.default_rng(seed)
    tile = np.arange(N_GROUPS * N_TILES)
    group = tile // N_TILES
    label = group % 4
    batch = tile % N_TILES if crossed else group // 4 % N_BATCHES
    centres, shifts = fixed.normal(size=(4, WIDTH)), fixed.normal(size=(N_BATCHES, WIDTH))
    values = 0.7 * centres[label] + 0.5 * rng.normal(size=(N_GROUPS, WIDTH))[group]
    values += strength * shifts[batch] + rng.normal(size=values.shape)
    return values.astype(np.float32), np.eye(4, dtype=bool)[label], batch, group


def hood_of(strength, seed, **changes):
    return Neighbourhood.of(*study(strength, seed, **changes), K)


def test_it_falls_with_the_strength_of_eight_planted_effects():
    strengths = np.linspace(0, 1.4, 8)
    for seed in range(5):
        found = [index(hood_of(strength, seed)) for strength in strengths]
        assert spearmanr(strengths, found).statistic <= -0.95


@pytest.mark.parametrize(("strength", "crossed"), [(0.0, False), (0.6, False), (0.6, True)])
def test_intervals_hold_the_mean_of_studies(strength, crossed):
    found = []
    for seed in range(120):
        hood = hood_of(strength, seed, crossed=crossed)
        value, strata = index(hood), strata_of(hood)
        spread = variance(without_each_group(hood), strata, common_to_two(hood))
        bounds = interval(value, spread**0.5, len(strata), len(set(strata)), 0.95)
        found.append((value, *bounds))
    value, low, high = np.array(found).T
    held = ((low <= value.mean()) & (value.mean() <= high)).mean()
    # Of 120 studies, at 95 %: within three standard errors.
    assert held >= 0.89
    assert (high - low).mean() < 8 * value.std()


@pytest.mark.parametrize("crossed", [False, True])
def test_without_an_effect_few_are_flagged_and_with_one_all(crossed):
    def flagged(strength, seeds):
        flags = []
        for seed in seeds:
            hood = hood_of(strength, seed, crossed=crossed)
            null = shuffled_indices(hood, 59, np.random.default_rng(seed))
            flags.append((1 + (null <= index(hood)).sum()) / 60 <= 0.05)
        return np.mean(flags)

    # At most 5 % expected of 100 studies, and three standard errors more.
    assert flagged(0.0, range(100)) <= 0.115
    assert flagged(1.0, range(10)) == 1


def test_a_correction_brings_back_half_of_a_shift_and_gains_nothing_without_one():
    for strength, least in ((0.8, 0.5), (0.0, None)):
        lost, gained = [], []
        for seed in range(10):
            values, matrix, batch, group = study(strength, seed)
            clean = index(hood_of(0.0, seed))
            names = batch.astype(str).astype(object)
            rows = Rows.of(names, np.zeros(len(batch), dtype=bool))
            corrected = correct(values, rows, "center").embeddings
            before = index(Neighbourhood.of(values, matrix, batch, group, K))
            after = index(Neighbourhood.of(corrected, matrix, batch, group, K))
            lost.append(clean - before)
            gained.append(after - before)
        if least is not None:
            assert np.mean(gained) >= least * np.mean(lost)
        else:
            # Means of batches hold some of the groups: what is left of that is small.
            assert np.mean(gained) < 0.06
