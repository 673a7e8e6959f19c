"""Groups of entities of which a source lists every pair, and how similar they are."""

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from transferscope.relations.best import best_map
from transferscope.relations.complexes import (
    COLUMNS,
    LARGEST,
    MOST_ENTITIES,
    SMALLEST,
    complexes,
    similarities,
)
from transferscope.relations.entities import Entities
from transferscope.relations.pairs import known_pairs


def listed(pairs, n):
    names = [f"g{k:03d}" for k in range(n)]
    first, second = ([f"g{k:03d}" for k in side] for side in zip(*pairs, strict=True))
    return known_pairs("source", np.array(first, object), np.array(second, object), names)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 25), st.integers(0, 25)), min_size=1, max_size=200))
def test_groups_are_disjoint_and_every_pair_within_is_known(pairs):
    known = listed(pairs, 26)
    groups = complexes(known)
    found = [row for group in groups for row in group]
    assert len(found) == len(set(found)) <= MOST_ENTITIES
    edges = set(zip(known.first.tolist(), known.second.tolist(), strict=True))
    for group in groups:
        assert SMALLEST <= len(group) <= LARGEST
        assert {(a, b) for a in group for b in group if a < b} <= edges


def test_complexes_are_found_whole():
    sizes = (3, 5, 8)
    starts = np.cumsum((0, *sizes))[:-1]
    planted = [list(range(a, a + n)) for a, n in zip(starts, sizes, strict=True)]
    pairs = [(a, b) for group in planted for a in group for b in group if a < b]
    # Single pairs between complexes, and a star, hide none of them.
    pairs += [(0, 3), (4, 9), *[(20, k) for k in range(21, 30)]]
    assert sorted(complexes(listed(pairs, 30))) == planted


def test_a_source_without_groups_has_no_similarities():
    known = listed([(0, k) for k in range(1, 20)], 20)
    vectors = np.random.default_rng(0).normal(size=(20, 4)).astype("f4")
    table = similarities(Entities([f"g{k:03d}" for k in range(20)], vectors), known)
    assert table.empty
    assert list(table.columns) == COLUMNS


def test_every_pair_has_its_cosine_and_the_most_similar_group_is_first():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(9, 6)).astype("f4")
    vectors[6:] = vectors[6] + 0.1 * rng.normal(size=(3, 6))
    known = listed([(a, b) for k in (0, 3, 6) for a in range(k, k + 3) for b in range(k, a)], 9)
    names = [f"g{k:03d}" for k in range(9)]
    table = similarities(Entities(names, vectors), known)
    assert len(table) == 36
    assert table["known"].sum() == 9
    assert (table["known"] == (table["group1"] == table["group2"])).all()
    assert set(table.loc[table["group1"] == 1, "entity1"]) == {"g006", "g007", "g008"}
    for row in table.itertuples():
        a, b = vectors[names.index(row.entity1)], vectors[names.index(row.entity2)]
        assert np.isclose(row.cosine, a @ b / np.linalg.norm(a) / np.linalg.norm(b), atol=1e-6)


def test_the_best_map_is_that_of_the_user_with_the_highest_recall():
    rows = [
        ("random", "none", "s", 0.9),
        ("a", "none", "s", 0.2),
        ("a", "tvn", "s", 0.4),
        ("b", "tvn", "s", 0.3),
        ("a", "tvn", "t", 0.1),
        ("b", "tvn", "t", 0.3),
        ("a", "none", "t", 0.1),
    ]
    table = pd.DataFrame(rows, columns=["map", "correction", "source", "value"])
    table = table.assign(
        measure="recall, two-sided", null="all pairs", threshold=0.05, status="scored"
    )
    assert best_map(table, "s") == ("a", "tvn")
    assert best_map(table) == ("b", "tvn")
    assert best_map(table[table["map"] == "random"]) is None
