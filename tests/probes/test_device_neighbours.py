"""The search for neighbours by torch finds what the processor's search finds."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_devices import DEVICES
from transferscope.probes import device_neighbours as module
from transferscope.probes.device_neighbours import DevicePool, first, pool_on
from transferscope.probes.nearest import Neighbours, nearest

METRICS = ["cosine", "euclidean"]
# What distances may differ by, in units of their rounding, where sums end differently.
COSINE_TOLERANCE = 2e-12


def both(device: torch.device, *arguments, **named) -> list[tuple[Neighbours, Neighbours]]:
    """Return the neighbours of each search, found by numpy and by torch."""
    wanted = nearest(*arguments, **named)
    return list(zip(wanted, nearest(*arguments, **named, pool_of=pool_on(device)), strict=True))


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_neighbours_and_distances_are_those_of_the_processor(
    device: torch.device, data: st.DataObject
) -> None:
    """Few distinct values: rows are equal, opposite or zero, and many distances tie."""
    draw = data.draw
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n_rows, n_queries = draw(st.integers(2, 60)), draw(st.integers(1, 12))
    widths = draw(st.sampled_from([(), (3, 2), (1, 4)]))
    values = rng.integers(-2, 3, (n_rows + n_queries, sum(widths) or draw(st.integers(1, 9))))
    scale = draw(st.sampled_from([1.0, 1e-20, 1e12]))
    shift = draw(st.sampled_from([0.0, 7.5]))
    embeddings = ((values + shift) * scale).astype(np.float32)
    order = rng.permutation(len(embeddings))
    queries, candidates = order[:n_queries], order[n_queries:]
    # All of one code: every candidate is excluded, and follows at an infinite distance.
    codes = rng.integers(0, draw(st.sampled_from([1, 2, 5])), len(embeddings))
    sizes = sorted(draw(st.lists(st.integers(1, n_rows), min_size=1, max_size=3)))
    ks = [draw(st.integers(0, size)) for size in sizes]
    metric, excluding = draw(st.sampled_from(METRICS)), draw(st.booleans())
    named = {"codes": codes if excluding else None, "parts": widths}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_BYTES", draw(st.sampled_from([1, 2000, 2**26])))
        pairs = both(device, embeddings, metric, queries, candidates, sizes, ks, **named)
    for (wanted, found), k in zip(pairs, ks, strict=True):
        assert found.rows.shape == (n_queries, k)
        assert found.rows.dtype == np.int64
        np.testing.assert_array_equal(found.rows, wanted.rows)
        np.testing.assert_allclose(
            found.distances, wanted.distances, rtol=1e-11, atol=COSINE_TOLERANCE
        )
        assert np.array_equal(found.distances == 0, wanted.distances == 0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("shift", [0.0, 1e3])
def test_real_numbers_have_the_same_neighbours(
    device: torch.device, metric: str, shift: float
) -> None:
    rng = np.random.default_rng(0)
    values = (rng.normal(size=(900, 48)) + shift).astype(np.float32)
    values[400:450] = values[:50]  # copies tie at distance zero with one another
    rows = rng.permutation(900)
    for wanted, found in both(device, values, metric, rows[:300], rows[300:], [60, 600], [9, 50]):
        np.testing.assert_array_equal(found.rows, wanted.rows)
        np.testing.assert_allclose(found.distances, wanted.distances, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("width", [64, 2304])
def test_copies_tie_wherever_they_stand(device: torch.device, width: int, metric: str) -> None:
    rng = np.random.default_rng(0)
    values = (10 + rng.normal(size=(13, width))).astype(np.float32)[np.arange(611) % 13]
    queries, candidates = np.arange(600, 611), rng.permutation(600)
    for _, found in both(device, values, metric, queries, candidates, [600], [40]):
        for row, query in zip(found.rows, queries, strict=True):
            assert row.tolist() == np.arange(query % 13, 600, 13)[:40].tolist()
        assert not found.distances.any()


@pytest.mark.parametrize("device", DEVICES)
def test_the_first_are_taken_in_order_of_distance_and_row(device: torch.device) -> None:
    given = [[0.0, 0.5, 0.0, torch.inf, 0.5]]
    distances = torch.tensor(given, dtype=torch.float64, device=device)
    candidates = torch.tensor([9, 4, 2, 1, 3], device=device)
    for k, expected in enumerate([[], [2], [2, 9], [2, 9, 3], [2, 9, 3, 4], [2, 9, 3, 4, 1]]):
        rows, near = first(distances, candidates, k)
        assert rows.tolist() == [expected]
        assert near.tolist() == [sorted(distances[0].tolist())[:k]]


def test_the_median_is_that_of_numpy() -> None:
    rng = np.random.default_rng(0)
    for n_rows in (1, 2, 3, 10, 11):
        values = rng.normal(size=(n_rows, 5)).astype(np.float32)
        found = module._median(torch.from_numpy(values)).numpy()
        np.testing.assert_array_equal(found, np.median(values, axis=0))


@pytest.mark.parametrize("metric", METRICS)
def test_all_that_a_search_computes_lies_on_its_device(
    metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tensors of `meta` mix with no others: what is left on the processor is an error there."""
    meta = torch.device("meta")
    values = np.ones((8, 3), np.float32)
    rows = np.arange(8)
    pool = DevicePool.of(meta, values, metric, rows)
    found: list[torch.Tensor] = []

    def noted(distances: torch.Tensor, candidates: torch.Tensor, k: int) -> list[torch.Tensor]:
        found.extend([distances, candidates])
        return found

    monkeypatch.setattr(module, "first", noted)
    monkeypatch.setattr(module, "_on_host", lambda *tensors: list(tensors))
    pool.search(rows[:2], np.zeros(8, np.int64), [8], [3])
    assert {tensor.device.type for tensor in found} == {"meta"}
    assert found[0].shape == (2, 8)
    assert found[0].dtype == torch.float64
