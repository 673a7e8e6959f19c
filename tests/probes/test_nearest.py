"""The search against every candidate, one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from transferscope.probes import nearest as module
from transferscope.probes.nearest import fewest_allowed, nearest


def distances(embeddings: np.ndarray, query: int, metric: str) -> np.ndarray:
    """Return the distances of all rows to one row, float64."""
    values = embeddings.astype(np.float64)
    if metric == "euclidean":
        return np.linalg.norm(values - values[query], axis=1)
    length = np.linalg.norm(values, axis=1)
    length[length == 0] = 1
    return 1 - values @ values[query] / length / length[query]


def brute_force(
    embeddings: np.ndarray,
    query: int,
    candidates: np.ndarray,
    k: int,
    metric: str,
    codes: np.ndarray | None = None,
) -> list[int]:
    """Return the nearest allowed rows in order, ties by row number."""
    if codes is not None:
        candidates = candidates[codes[candidates] != codes[query]]
    distance = np.round(distances(embeddings, query, metric)[candidates], 9)
    return candidates[np.lexsort((candidates, distance))][:k].tolist()


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("copies", [1, 3, 40])
def test_ties_go_to_the_lower_row_however_many_there_are(copies: int, metric: str) -> None:
    rng = np.random.default_rng(1)
    distinct = rng.integers(-2, 3, (120 // copies + 1, 6)) + 0.5
    embeddings = distinct[rng.integers(0, len(distinct), 120)].astype(np.float32)
    candidates = rng.permutation(100)
    queries = np.arange(100, 120)
    few, many = nearest(embeddings, metric, queries, candidates, [30, 100], [3, 20])
    for position, query in enumerate(queries):
        expected = brute_force(embeddings, query, candidates[:30], 3, metric)
        assert few.rows[position].tolist() == expected
        expected = brute_force(embeddings, query, candidates, 20, metric)
        assert many.rows[position].tolist() == expected


@settings(max_examples=60, deadline=None)
@given(
    # Few distinct values: many rows are equal, and many distances tie.
    embeddings=arrays.arrays(np.int8, (40, 3), elements=st.integers(-2, 2)),
    codes=arrays.arrays(np.int64, 40, elements=st.integers(0, 4)),
    metric=st.sampled_from(["cosine", "euclidean"]),
    block_bytes=st.sampled_from([1, 1000, 2**26]),
    seed=st.integers(0, 100),
)
def test_neighbours_are_the_nearest_of_those_that_are_allowed(
    embeddings: np.ndarray, codes: np.ndarray, metric: str, block_bytes: int, seed: int
) -> None:
    values = embeddings.astype(np.float32)
    order = np.random.default_rng(seed).permutation(40)
    queries, candidates = order[:10], order[10:]
    allowed = fewest_allowed(queries, candidates, codes)
    assert allowed == min((codes[candidates] != codes[q]).sum() for q in queries)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_BYTES", block_bytes)
        (found,) = nearest(values, metric, queries, candidates, [30], [allowed], codes)
    assert found.rows.shape == (10, allowed)
    for row, query in zip(found.rows, queries, strict=True):
        assert row.tolist() == brute_force(values, query, candidates, allowed, metric, codes)


@pytest.mark.parametrize("shift", [0.0, 1e4])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_euclidean_neighbours_do_not_depend_on_place_and_scale(shift: float, scale: float) -> None:
    rng = np.random.default_rng(0)
    values = ((rng.normal(size=(400, 24)) + shift) * scale).astype(np.float32)
    # One row far away must not cost the others their precision.
    values[7] *= 1000
    queries, candidates = np.arange(350, 400), np.arange(350)
    (found,) = nearest(values, "euclidean", queries, candidates, [350], [50])
    for row, query in zip(found.rows, queries, strict=True):
        distance = distances(values, query, "euclidean")[candidates]
        assert row.tolist() == np.argsort(distance)[:50].tolist()


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_distances_are_those_of_all_pairs(metric: str) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(30, 8)).astype(np.float32)
    values[3], values[4] = 0, values[5]
    rows = np.arange(30)
    (found,) = nearest(values, metric, rows, rows, [30], [30])
    expected = np.stack([distances(values, query, metric) for query in range(30)])
    expected = np.take_along_axis(expected, found.rows, axis=1)
    np.testing.assert_allclose(found.distances, expected, atol=2e-12)
    assert found.rows[4, :2].tolist() == found.rows[5, :2].tolist() == [4, 5]
    assert not found.distances[[4, 5], :2].any()


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("width", [64, 2304])
def test_copies_tie_wherever_they_stand(width: int, metric: str) -> None:
    """A matrix product may round the same sum differently in another column."""
    rng = np.random.default_rng(0)
    values = (10 + rng.normal(size=(13, width))).astype(np.float32)[np.arange(611) % 13]
    queries, candidates = np.arange(600, 611), rng.permutation(600)
    (found,) = nearest(values, metric, queries, candidates, [600], [40])
    for row, query in zip(found.rows, queries, strict=True):
        assert row.tolist() == np.arange(query % 13, 600, 13)[:40].tolist()
    assert not found.distances.any()


def test_nothing_to_look_for_is_nothing_found() -> None:
    values = np.ones((3, 2), dtype=np.float32)
    rows, none = np.arange(3), np.empty(0, dtype=np.int64)
    (found,) = nearest(values, "cosine", rows, rows, [3], [0])
    assert found.rows.shape == found.distances.shape == (3, 0)
    (found,) = nearest(values, "cosine", none, rows, [3], [2])
    assert found.rows.shape == (0, 2)
