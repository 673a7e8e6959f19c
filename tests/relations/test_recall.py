"""Recall of known pairs: pairs, percentiles, ties, nulls and intervals, against plain loops."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from transferscope.config.relations import RelationSettings
from transferscope.errors import UserError
from transferscope.relations.cosines import (
    HALF,
    STEPS,
    CosineCounts,
    count_cosines,
    pair_steps,
    unit_vectors,
)
from transferscope.relations.entities import Entities, aggregated
from transferscope.relations.intervals import draw_entities, intervals
from transferscope.relations.new_pairs import new_pairs
from transferscope.relations.pairs import KnownPairs, known_pairs
from transferscope.relations.percentiles import measures
from transferscope.relations.recall import recall
from transferscope.relations.table_names import (
    AUROC,
    COLLAPSED,
    FEW_ENTITIES,
    NO_PAIRS,
    RIGHT,
    SCORED,
    TWO_SIDED,
)

QUICK = RelationSettings(permutations=20, draws=100)


def names(n):
    return [f"g{i:05d}" for i in range(n)]


def pairs_of(first, second, n, source="known"):
    known = np.asarray(names(n), dtype=object)
    return known_pairs(source, known[np.asarray(first)], known[np.asarray(second)], names(n))


def row_of(table, **wanted):
    kept = np.ones(len(table), dtype=bool)
    for column, value in wanted.items():
        kept &= (table[column] == value).to_numpy()
    [row] = table[kept].to_dict("records")
    return row


def scored(vectors, pairs, config=QUICK, strata=None):
    entities = Entities(names(len(vectors)), np.asarray(vectors, dtype=np.float32), strata)
    return recall({("map", "none"): entities}, [pairs], config)[0]


def published_recall(vectors, first, second, threshold=0.05):
    """Return the published two-sided recall, by a loop; without ties."""
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    null = [float(units[a] @ units[b]) for a, b in itertools.combinations(range(len(units)), 2)]
    hits = 0
    for a, b in zip(first, second, strict=True):
        cosine = float(units[min(a, b)] @ units[max(a, b)])
        below = np.mean([value < cosine - 1e-9 for value in null])
        until = np.mean([value <= cosine + 1e-9 for value in null])
        hits += until <= threshold or below >= 1 - threshold
    return hits / len(first)


def test_pairs_are_counted_once_in_either_order_and_the_rest_is_told():
    first = np.array(["a", "b", "a", "c", "x", "x", "y", "b", "a"], dtype=object)
    second = np.array(["b", "a", "a", "a", "a", "y", "x", "a", "c"], dtype=object)
    found = known_pairs("s", first, second, ["a", "b", "c"])
    assert sorted(zip(found.first.tolist(), found.second.tolist(), strict=True)) == [(0, 1), (0, 2)]
    assert (found.n_listed, found.n_self, found.n_repeated) == (9, 1, 4)
    assert (found.n_outside, found.n_unknown, found.n_entities) == (2, 2, 3)
    assert len(found) + found.n_self + found.n_repeated + found.n_outside == found.n_listed


@given(st.lists(st.tuples(st.sampled_from("abcdxy"), st.sampled_from("abcdxy")), max_size=30))
@settings(max_examples=50, deadline=None)
def test_every_listed_pair_is_used_or_told(listed):
    first, second = (np.array([p[k] for p in listed], dtype=object) for k in (0, 1))
    found = known_pairs("s", first, second, list("abcd"))
    wanted = {frozenset(p) for p in listed if p[0] != p[1] and set(p) <= set("abcd")}
    assert len(found) == len(wanted)
    assert (found.first < found.second).all()
    assert found.n_listed == len(found) + found.n_self + found.n_repeated + found.n_outside


def test_a_null_of_five_values():
    """Of the null 1 to 5, the ends 1 and 5 are in the outer fifths, but not in the outer tenths."""
    counts = np.zeros(STEPS, dtype=np.int64)
    counts[[10, 20, 30, 40, 50]] = 1
    known = np.zeros(STEPS, dtype=np.int64)
    known[[10, 50]] = 1
    by_name = {
        (m.name, m.threshold): m
        for m in measures(CosineCounts(counts), CosineCounts(known), [0.1, 0.2])
    }
    ends = [10, 50]
    assert by_name[TWO_SIDED, 0.2].by_step[ends].tolist() == pytest.approx([1, 1])
    # A threshold within the block of a pair gives it the share beyond; the published rule, 0.
    assert by_name[TWO_SIDED, 0.1].by_step[ends].tolist() == pytest.approx([0.5, 0.5])
    assert by_name[RIGHT, 0.2].by_step[ends].tolist() == pytest.approx([0, 1])


@pytest.mark.parametrize("n", [20, 100])
def test_all_pairs_known_are_recalled_at_chance(n):
    vectors = np.random.default_rng(n).normal(size=(n, 8))
    first, second = np.triu_indices(n, 1)
    table = scored(vectors, pairs_of(first, second, n))
    row = row_of(table, measure=TWO_SIDED)
    assert row["value"] == pytest.approx(0.1, abs=1e-6)
    assert row["low"] <= row["value"] <= row["high"]
    published = published_recall(vectors, first, second)
    assert published == pytest.approx({20: 0.0947, 100: 0.0998}[n], abs=1e-3)


@given(st.integers(0, 10_000), st.integers(20, 60), st.integers(2, 12))
@settings(max_examples=25, deadline=None)
def test_recall_and_auroc_equal_plain_ones_without_ties(seed, n, size):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, size)).astype(np.float32).astype(np.float64)
    first, second = rng.integers(0, n, (2, 40))
    pairs = pairs_of(first, second, n)
    if not len(pairs):
        return
    table = scored(vectors, pairs)
    wanted = published_recall(vectors, pairs.first, pairs.second)
    found = row_of(table, measure=TWO_SIDED)["value"]
    # The pair at a threshold counts in part, and cosines in one step of 2e-6 tie.
    assert found == pytest.approx(wanted, abs=2.01 / len(pairs))
    units = unit_vectors(vectors)
    upper = np.triu_indices(n, 1)
    is_known = np.zeros((n, n), dtype=bool)
    is_known[pairs.first, pairs.second] = True
    area = roc_auc_score(is_known[upper], (units @ units.T)[upper])
    assert row_of(table, measure=AUROC)["value"] == pytest.approx(area, abs=1e-3)


def test_ties_count_with_their_share():
    """Of 100 entities in two classes, half of the pairs have the largest cosine."""
    vectors = np.zeros((100, 2))
    vectors[:50, 0] = vectors[50:, 1] = 1
    known = pairs_of([0, 1, 2], [1, 2, 3], 100)
    table = scored(vectors, known)
    same = 2 * 50 * 49 / 2 / (100 * 99 / 2)
    assert row_of(table, measure=RIGHT)["value"] == pytest.approx(0.05 / same)
    # The random order of a tie favours nobody: all pairs together are at chance.
    every = scored(vectors, pairs_of(*np.triu_indices(100, 1), 100))
    assert row_of(every, measure=RIGHT)["value"] == pytest.approx(0.05)
    assert row_of(every, measure=TWO_SIDED)["value"] == pytest.approx(0.1)


@pytest.mark.parametrize("kind", ["constant", "nearly", "zero"])
def test_collapsed_embeddings_are_told_and_not_scored(kind):
    rng = np.random.default_rng(0)
    vectors = np.zeros((30, 8)) if kind == "zero" else np.ones((30, 8))
    if kind == "nearly":
        vectors += 1e-4 * rng.normal(size=vectors.shape)
    [row] = scored(vectors, pairs_of([0], [1], 30)).to_dict("records")
    assert row["status"] == COLLAPSED
    assert np.isnan(row["value"])


def test_few_entities_and_no_pair_are_told():
    vectors = np.random.default_rng(0).normal(size=(19, 8))
    [row] = scored(vectors, pairs_of([0], [1], 19)).to_dict("records")
    assert row["status"] == FEW_ENTITIES
    vectors = np.random.default_rng(0).normal(size=(30, 8))
    [row] = scored(vectors, pairs_of([0], [0], 30)).to_dict("records")
    assert row["status"] == NO_PAIRS


def test_an_entity_twice_is_refused():
    with pytest.raises(UserError, match='the entity "a" occurs twice'):
        Entities(["a", "b", "a"], np.zeros((3, 2), dtype=np.float32))


def test_maps_of_other_entities_are_refused():
    vectors = np.zeros((2, 2), dtype=np.float32)
    maps = {("one", "none"): Entities(["a", "b"], vectors)}
    maps["two", "none"] = Entities(["a", "c"], vectors)
    with pytest.raises(UserError, match="two: has other entities than one"):
        recall(maps, [], QUICK)


def test_a_far_origin_does_not_hide_cosines_after_centring():
    """In float32, cosines of rows that lie 1e4 from the origin would all be equal."""
    vectors = np.random.default_rng(0).normal(size=(60, 16))
    counts = count_cosines(unit_vectors(vectors + 100))
    plain = np.triu_indices(60, 1)
    units = (vectors + 100) / np.linalg.norm(vectors + 100, axis=1, keepdims=True)
    assert counts.spread == pytest.approx((units @ units.T)[plain].std(), rel=0.05)
    assert count_cosines(unit_vectors(vectors + 1e4)).is_collapsed


@given(st.integers(0, 1000), st.integers(2, 300), st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_blocks_count_every_pair_once(seed, n, size):
    import transferscope.relations.cosines as module

    rng = np.random.default_rng(seed)
    units = unit_vectors(rng.normal(size=(n, size)))
    members = rng.random((n, 3)) < 0.4
    whole = module.BLOCK_VALUES
    try:
        module.BLOCK_VALUES = 7 * n
        found, strata = count_cosines(units), count_cosines(units, members)
    finally:
        module.BLOCK_VALUES = whole
    first, second = np.triu_indices(n, 1)
    steps = pair_steps(units, first, second)
    # Products in blocks may differ in the last digit, and then be in the next step.
    assert np.abs(np.cumsum(found.counts - np.bincount(steps, minlength=STEPS))).max() <= 1
    shared = (members[first] & members[second]).any(axis=1)
    assert found.n_pairs == n * (n - 1) // 2
    assert strata.n_pairs == shared.sum()


def test_unit_vectors_survive_extreme_values():
    values = np.array([[3e300, 4e300], [3e-300, 4e-300], [0, 0]])
    np.testing.assert_allclose(unit_vectors(values), [[0.6, 0.8], [0.6, 0.8], [0, 0]])
    assert pair_steps(unit_vectors(values), np.array([0]), np.array([1])) == [2 * HALF]


def test_recall_among_pairs_of_one_stratum():
    """What labels explain alone is not recalled among pairs that share them."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 200)
    vectors = 3 * np.eye(4)[labels] + 0.1 * rng.normal(size=(200, 4))
    first, second = (np.concatenate(rows) for rows in zip(*_within(labels, rng), strict=True))
    strata = [frozenset({f"c{label}", "all" if label < 0 else f"d{label}"}) for label in labels]
    table = scored(vectors, pairs_of(first, second, 200), QUICK, strata)
    over_all = row_of(table, measure=TWO_SIDED, null="all pairs")
    within = row_of(table, measure=TWO_SIDED, null="same stratum")
    assert over_all["value"] > 0.15
    assert within["value"] == pytest.approx(0.1, abs=0.03)
    assert np.isnan(within["p"])


def _within(labels, rng):
    for label in range(4):
        own = np.flatnonzero(labels == label)
        yield rng.choice(own, 150), rng.choice(own, 150)


def test_random_embeddings_lie_in_the_permutation_band():
    inside = 0
    rng = np.random.default_rng(0)
    pairs = pairs_of(*rng.integers(0, 150, (2, 400)), 150)
    config = RelationSettings(permutations=200, draws=100)
    for draw in range(100):
        vectors = np.random.default_rng(draw).normal(size=(150, 32))
        row = row_of(scored(vectors, pairs, config), measure=TWO_SIDED)
        inside += row["chance_low"] <= row["value"] <= row["chance_high"]
    assert 92 <= inside <= 98


def test_permutations_find_what_is_there():
    rng = np.random.default_rng(0)
    complexes = np.repeat(np.arange(30), 5)
    vectors = rng.normal(size=(30, 16))[complexes] + 0.5 * rng.normal(size=(150, 16))
    first, second = np.triu_indices(150, 1)
    own = complexes[first] == complexes[second]
    table = scored(vectors, pairs_of(first[own], second[own], 150))
    for measure in (TWO_SIDED, RIGHT, AUROC):
        row = row_of(table, measure=measure)
        assert row["p"] == pytest.approx(1 / 21)
        assert row["value"] > row["chance_high"]
    assert row_of(table, measure=RIGHT)["enrichment"] > 10


def test_maps_are_compared_on_the_same_draws():
    rng = np.random.default_rng(0)
    complexes = np.repeat(np.arange(40), 4)
    clean = rng.normal(size=(40, 16))[complexes]
    maps = {
        (name, "none"): Entities(names(160), (clean + s * rng.normal(size=(160, 16))).astype("f4"))
        for name, s in (("noisy", 1.5), ("good", 0.7), ("same", 0.7))
    }
    maps["copy", "none"] = maps["noisy", "none"]
    first, second = np.triu_indices(160, 1)
    own = complexes[first] == complexes[second]
    table, differences = recall(maps, [pairs_of(first[own], second[own], 160)], QUICK)
    gained = row_of(differences, map="good", measure=TWO_SIDED)
    assert gained["low"] > 0
    values = [row_of(table, map=n, measure=TWO_SIDED)["value"] for n in ("good", "noisy")]
    assert gained["difference"] == pytest.approx(values[0] - values[1])
    copied = row_of(differences, map="copy", measure=TWO_SIDED)
    assert (copied["low"], copied["difference"], copied["high"]) == (0, 0, 0)


def _network(rng, kind, n):
    if kind == "sparse":
        order = rng.permutation(n)
        return order[0::2], order[1::2]
    if kind == "hubs":
        shares = rng.pareto(2.5, n) + 0.3
        return rng.choice(n, (2, 3 * n), p=shares / shares.sum())
    return rng.integers(0, n, (2, 3 * n))


@pytest.mark.parametrize("kind", ["sparse", "random", "hubs"])
@pytest.mark.parametrize("shared", [0.0, 1.0])
def test_intervals_cover_where_entities_are_shared(kind, shared):
    rng = np.random.default_rng(5)
    effects = rng.normal(size=(2, 200_000)) * shared
    truth = (1 / (1 + np.exp(1.5 - effects.sum(axis=0)))).mean()
    n, runs, covered = 120, 300, 0
    weights = draw_entities(n, 200, 0)
    for _ in range(runs):
        pairs = pairs_of(*_network(rng, kind, n), n)
        own = rng.normal(size=n) * shared
        chance = 1 / (1 + np.exp(1.5 - own[pairs.first] - own[pairs.second]))
        hits = (rng.random(len(pairs)) < chance).astype(float)
        [found] = intervals(hits[:, None], pairs, weights, 0.95)
        covered += found.low <= truth <= found.high
    # 92 to 98 of 100, with the error of 300 simulations at the lower end.
    assert 0.90 <= covered / runs <= 0.985


@pytest.mark.parametrize("share", [0.005, 0.02, 0.1, 0.4])
@pytest.mark.parametrize("kind", ["sparse", "random"])
def test_maps_that_differ_in_few_pairs_are_not_told_apart(kind, share):
    rng = np.random.default_rng(6)
    n, runs, claimed = 120, 400, 0
    weights = draw_entities(n, 200, 0)
    for _ in range(runs):
        pairs = pairs_of(*_network(rng, kind, n), n)
        gained = (rng.random(len(pairs)) < share) * rng.choice([-1.0, 1.0], len(pairs))
        [found] = intervals(gained[:, None], pairs, weights, 0.95)
        claimed += not found.low <= 0 <= found.high
    assert claimed / runs <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / runs)


def test_no_pair_recalled_is_not_known_to_be_none():
    pairs = pairs_of(range(0, 60, 2), range(1, 60, 2), 60)
    [none] = intervals(np.zeros((30, 1)), pairs, draw_entities(60, 100, 0), 0.95, if_equal=1)
    assert none.value == 0
    assert 0.05 < none.high < 0.15


def test_few_pairs_have_no_interval():
    vectors = np.random.default_rng(0).normal(size=(30, 8))
    row = row_of(scored(vectors, pairs_of([0, 1], [1, 2], 30)), measure=TWO_SIDED)
    assert row["value"] >= 0
    assert np.isnan(row["low"])
    assert np.isnan(row["high"])
    assert 0 < row["p"] <= 1


def test_rows_become_entities():
    rows = np.array([[1, 0], [3, 2], [5, 5], [0, 1]], dtype=np.float32)
    own = np.array(["b", "b", "", "a"], dtype=object)
    labels = np.array(["x; y", "z", "q", ""], dtype=object)
    found = aggregated(rows, own, "mean", labels)
    assert found.names == ["a", "b"]
    assert found.vectors.tolist() == [[0, 1], [2, 1]]
    assert found.strata == [frozenset(), frozenset({"x", "y", "z"})]
    assert found.members().sum(axis=1).tolist() == [0, 3]


@given(st.integers(0, 1000), st.integers(3, 25), st.integers(1, 30))
@settings(max_examples=25, deadline=None)
def test_new_pairs_are_the_most_similar_unknown_ones(seed, n, count):
    rng = np.random.default_rng(seed)
    entities = Entities(names(n), rng.normal(size=(n, 3)).astype(np.float32))
    known = pairs_of(*rng.integers(0, n, (2, n)), n)
    found = new_pairs(entities, [known], count)
    units = unit_vectors(entities.vectors)
    told = set(zip(known.first.tolist(), known.second.tolist(), strict=True))
    rest = [p for p in itertools.combinations(range(n), 2) if p not in told]
    rest.sort(key=lambda p: -(units[p[0]] @ units[p[1]]))
    wanted = [(names(n)[a], names(n)[b]) for a, b in rest[:count]]
    assert list(zip(found["entity1"], found["entity2"], strict=True)) == wanted


def test_the_tables_are_tidy():
    vectors = np.random.default_rng(0).normal(size=(30, 8))
    config = RelationSettings(permutations=0, draws=100, thresholds=[0.05, 0.1])
    table = scored(vectors, pairs_of([0, 1], [1, 2], 30), config)
    assert set(table["status"]) == {SCORED}
    assert len(table) == 5
    assert table["p"].isna().all()
    assert isinstance(table, pd.DataFrame)
    assert isinstance(pairs_of([0], [1], 3), KnownPairs)
