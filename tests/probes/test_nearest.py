"""The search against every candidate, one by one."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from transferscope.probes import spaces
from transferscope.probes.nearest import fewest_allowed, nearest
from transferscope.probes.spaces import SPACES


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
    """Return the nearest allowed rows, ties by row number."""
    if codes is not None:
        candidates = candidates[codes[candidates] != codes[query]]
    distance = np.round(distances(embeddings, query, metric)[candidates], 9)
    return sorted(candidates[np.lexsort((candidates, distance))][:k].tolist())


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("copies", [1, 3, 40])
def test_ties_go_to_the_lower_row_however_many_there_are(copies: int, metric: str) -> None:
    rng = np.random.default_rng(1)
    distinct = rng.integers(-2, 3, (120 // copies + 1, 6)) + 0.5
    embeddings = distinct[rng.integers(0, len(distinct), 120)].astype(np.float32)
    candidates = rng.permutation(100)
    queries = np.arange(100, 120)
    space = SPACES[metric](torch.from_numpy(embeddings))
    few, many = nearest(space, queries, candidates, [30, 100], [[3], [1, 7, 20]])
    for position, query in enumerate(queries):
        expected = brute_force(embeddings, query, candidates[:30], 3, metric)
        assert sorted(few[position].tolist()) == expected
        for k in (1, 7, 20):
            expected = brute_force(embeddings, query, candidates, k, metric)
            assert sorted(many[position, :k].tolist()) == expected


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
    ks = [k for k in (1, 4, 9, 30) if k <= allowed]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spaces, "BLOCK_BYTES", block_bytes)
        space = SPACES[metric](torch.from_numpy(values))
        (found,) = nearest(space, queries, candidates, [30], [ks], codes)
    for row, query in zip(found, queries, strict=True):
        for k in ks:
            expected = brute_force(values, query, candidates, k, metric, codes)
            assert sorted(row[:k].tolist()) == expected


@pytest.mark.parametrize("shift", [0.0, 1e4])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_euclidean_neighbours_do_not_depend_on_place_and_scale(shift: float, scale: float) -> None:
    rng = np.random.default_rng(0)
    values = ((rng.normal(size=(400, 24)) + shift) * scale).astype(np.float32)
    # One row far away must not cost the others their precision.
    values[7] *= 1000
    space = SPACES["euclidean"](torch.from_numpy(values))
    queries, candidates = np.arange(350, 400), np.arange(350)
    (found,) = nearest(space, queries, candidates, [350], [[1, 5, 50]])
    for row, query in zip(found, queries, strict=True):
        distance = distances(values, query, "euclidean")[candidates]
        for k in (1, 5, 50):
            assert sorted(row[:k].tolist()) == sorted(np.argsort(distance)[:k].tolist())


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_distances_are_those_of_all_pairs(metric: str) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(30, 8)).astype(np.float32)
    values[3], values[4] = 0, values[5]
    space = SPACES[metric](torch.from_numpy(values))
    rows = torch.arange(30)
    found = space.distance(space.of_all(rows, rows)).numpy()
    expected = np.stack([distances(values, query, metric) for query in range(30)])
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert found[4, 5] == 0
    pairs = space.distance(space.of_pairs(rows, rows.expand(30, 30))).numpy()
    np.testing.assert_allclose(pairs, expected, atol=1e-12)
