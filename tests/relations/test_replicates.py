"""Replicates: average precision, its expectation with ties, and p-values that are uniform."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest
from sklearn.metrics import average_precision_score

from transferscope.relations.ranking import (
    chance_average_precision,
    expected_average_precision,
    normalised,
)
from transferscope.relations.replicates import COLUMNS, Replicates, activity, consistency


def screen(rng, n_perturbations=10, replicates=4, controls=12, batches=2, size=8, effect=0.0):
    """Return rows of a screen whose replicates are spread evenly over the batches."""
    effects = effect * rng.normal(size=(n_perturbations, size))
    own = np.repeat(np.arange(n_perturbations), replicates)
    values = np.concatenate(
        [
            effects[own] + rng.normal(size=(len(own), size)),
            rng.normal(size=(controls * batches, size)),
        ]
    )
    names = np.array([f"p{n:02d}" for n in own] + [""] * (controls * batches), dtype=object)
    codes = np.concatenate([np.arange(len(own)) % batches, np.repeat(np.arange(batches), controls)])
    return values.astype(np.float32), names, codes, names == ""


def transcribed_activity(values, names, codes, controls):
    """Return the mean average precision of each perturbation, as copairs defines it, by loops."""
    units = values.astype(np.float64)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    found = {}
    for name in sorted(set(names[~controls])):
        own = np.flatnonzero(names == name)
        scores = []
        for query in own:
            others = [row for row in own if row != query]
            negatives = np.flatnonzero(controls & (codes == codes[query]))
            cosines = units[[*others, *negatives]] @ units[query]
            relevant = np.arange(len(cosines)) < len(others)
            order = np.argsort(-cosines, kind="stable")
            ranks = np.flatnonzero(relevant[order]) + 1
            scores.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
        found[name] = np.mean(scores)
    return found


@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(1, 3), st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_activity_equals_a_transcription_without_ties(seed, replicates, batches, controls):
    told = screen(np.random.default_rng(seed), 4, replicates, controls, batches, effect=0.5)
    found = activity(Replicates.of(*told), 5, 0)
    wanted = transcribed_activity(*told)
    assert found["name"].tolist() == list(wanted)
    np.testing.assert_allclose(found["mean_average_precision"], list(wanted.values()), atol=1e-6)
    assert list(found.columns) == COLUMNS


@given(st.integers(0, 10_000), st.integers(2, 30))
@settings(max_examples=60, deadline=None)
def test_average_precision_equals_that_of_scikit_learn_without_ties(seed, n):
    rng = np.random.default_rng(seed)
    scores, relevant = rng.normal(size=n), rng.random(n) < 0.4
    relevant[0] = True
    found = expected_average_precision(scores, relevant)
    assert found == pytest.approx(average_precision_score(relevant, scores), abs=1e-12)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_with_ties_it_is_the_mean_over_all_orders(items):
    scores, relevant = (np.array(column) for column in zip(*items, strict=True))
    found = expected_average_precision(scores.astype(float), relevant)
    if not relevant.any():
        assert np.isnan(found)
        return
    values = []
    for order in itertools.permutations(range(len(scores))):
        ordered = sorted(order, key=lambda place: -scores[place])
        ranks = np.flatnonzero(relevant[ordered]) + 1
        values.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
    assert found == pytest.approx(np.mean(values), abs=1e-12)


@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 5), (2, 5), (3, 4), (5, 5)])
def test_chance_is_the_mean_over_all_orders(m, n):
    values = [
        np.mean((np.arange(m) + 1) / (np.array(places) + 1))
        for places in itertools.combinations(range(n), m)
    ]
    assert chance_average_precision(m, n) == pytest.approx(np.mean(values))


def test_normalised_precision():
    found = normalised(np.array([0.25, 1.0, 0.1, 1.0]), np.array([0.25, 0.25, 0.25, 1.0]))
    np.testing.assert_allclose(found, [0, 1, -0.2, np.nan])


def test_tied_replicates_and_controls_favour_nobody():
    """With equal embeddings everywhere, copairs' order would give every perturbation 1."""
    _, names, codes, controls = screen(np.random.default_rng(0))
    values = np.ones((len(names), 8), dtype=np.float32)
    found = activity(Replicates.of(values, names, codes, controls), 50, 0)
    np.testing.assert_allclose(found["mean_average_precision"], found["chance"])
    assert (found["p"] == 1).all()
    assert found["normalised"].abs().max() < 1e-9


def test_tied_duplicates_agree_with_the_ranking():
    """Some rows are equal: the counts of the pool and the sorted ranking say the same."""
    rng = np.random.default_rng(3)
    values, names, codes, controls = screen(rng, 3, 4, 6, 2)
    values = np.round(values)[:, :2] + [0.5, 0]
    values = values.astype(np.float32)
    found = activity(Replicates.of(values, names, codes, controls), 5, 0)
    units = values.astype(np.float64) / np.linalg.norm(values.astype(np.float64), axis=1)[:, None]
    for row in found.itertuples():
        own = np.flatnonzero(names == row.name)
        scores = []
        for query in own:
            others = own[own != query]
            negatives = np.flatnonzero(controls & (codes == codes[query]))
            cosines = units[np.concatenate([others, negatives])] @ units[query]
            relevant = np.arange(len(cosines)) < len(others)
            scores.append(expected_average_precision(cosines, relevant))
        assert row.mean_average_precision == pytest.approx(np.mean(scores), abs=1e-9)


def test_p_is_uniform_without_effects():
    """500 perturbations in 25 screens, each with replicates in two plates."""
    found = []
    for seed in range(25):
        told = screen(np.random.default_rng(seed), 20, 4, 16, 2)
        found.append(activity(Replicates.of(*told), 199, seed)["p"].to_numpy())
    p = np.concatenate(found)
    assert len(p) == 500
    assert kstest(p, "uniform").pvalue > 0.01
    assert p.std() == pytest.approx(12**-0.5, abs=0.025)
    assert 0.03 <= (p < 0.05).mean() <= 0.075


def test_effects_are_found():
    told = screen(np.random.default_rng(0), 10, 4, 16, 2, effect=2.0)
    found = activity(Replicates.of(*told), 999, 0)
    assert (found["p_adjusted"] < 0.05).all()
    assert found["normalised"].mean() > 0.6


def test_a_single_replicate_and_batches_without_controls_are_left_out():
    values, names, codes, controls = screen(np.random.default_rng(0), 3, 4, 5, 2)
    names[names == "p01"] = ["p01", "q", "q", "r"]
    codes[names == "q"] = 9
    found = activity(Replicates.of(values, names, codes, controls), 9, 0)
    assert found["name"].tolist() == ["p00", "p02"]


def test_zero_rows_are_left_out():
    values, names, codes, controls = screen(np.random.default_rng(0), 2, 4, 5, 2)
    values[0] = 0
    rows = Replicates.of(values, names, codes, controls)
    assert len(rows.units) == len(values) - 1
    assert activity(rows, 9, 0)["n"].tolist() == [3, 4]


def transcribed_consistency(vectors, targets):
    units = vectors.astype(np.float64)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    found = {}
    for name in sorted(set().union(*targets)):
        own = [row for row, each in enumerate(targets) if name in each]
        if len(own) < 2:
            continue
        scores = []
        for query in own:
            ranked = [
                row
                for row, each in enumerate(targets)
                if row != query and each and (name in each or not each & targets[query])
            ]
            ranked.sort(key=lambda row: -(units[row] @ units[query]))
            ranks = np.flatnonzero([name in targets[row] for row in ranked]) + 1
            if len(ranks) == len(ranked):
                break
            scores.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
        else:
            found[name] = np.mean(scores)
    return found


@given(st.integers(0, 10_000), st.integers(2, 25), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_consistency_equals_a_transcription(seed, n, n_targets):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, 5)).astype(np.float32)
    targets = [frozenset(f"t{k}" for k in range(n_targets) if rng.random() < 0.4) for _ in range(n)]
    found = consistency(vectors, targets, 3, 0)
    wanted = transcribed_consistency(vectors, targets)
    assert found["name"].tolist() == list(wanted)
    np.testing.assert_allclose(found["mean_average_precision"], list(wanted.values()), atol=1e-9)
    assert found["p"].between(0.25, 1).all()


def test_consistency_finds_targets_and_not_chance():
    rng = np.random.default_rng(0)
    own = np.repeat(np.arange(12), 3)
    targets = [frozenset({f"t{k:02d}"}) for k in own]
    clear = rng.normal(size=(12, 8))[own] + 0.3 * rng.normal(size=(36, 8))
    found = consistency(clear.astype(np.float32), targets, 199, 0)
    assert (found["p_adjusted"] < 0.05).mean() > 0.9
    p = np.concatenate(
        [
            consistency(rng.normal(size=(36, 8)).astype(np.float32), targets, 99, seed)["p"]
            for seed in range(20)
        ]
    )
    assert 0.015 <= (p < 0.05).mean() <= 0.1
    assert consistency(clear[:1].astype(np.float32), targets[:1], 9, 0).empty
    assert consistency(clear.astype(np.float32), [frozenset()] * 36, 9, 0).empty
