"""Neighbours of a sample, against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from transferscope.backbones.neighbours import NEIGHBOURS, nearest, neighbours_kept

WHOLE = [{"output": "cls", "channel": None, "start": 0, "stop": 8}]


def sample(n=60, d=8, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def test_neighbours_are_those_of_scikit_learn():
    rows = sample()
    tree = NearestNeighbors(metric="cosine", algorithm="brute").fit(rows.astype(np.float64))
    np.testing.assert_array_equal(nearest(rows), tree.kneighbors(None, 5, return_distance=False))


def test_ties_go_to_the_first_row_and_a_row_is_no_neighbour_of_itself():
    rows = sample(4)[[0, 1, 0, 0, 2, 1]]
    assert nearest(rows)[:, 0].tolist() == [2, 5, 0, 0, nearest(sample(3), 1)[2, 0], 1]


def test_few_rows_have_few_neighbours():
    assert nearest(sample(3)).shape == (3, 2)
    assert neighbours_kept(sample(2), sample(2), WHOLE, "map") == []


def test_tiles_that_keep_their_neighbours_are_counted():
    exact, stored = sample(), sample() + 0.3 * sample(seed=1)
    (found,) = neighbours_kept(exact, stored, WHOLE, "map")
    trees = [NearestNeighbors(n_neighbors=NEIGHBOURS, metric="cosine") for _ in range(2)]
    one, other = (
        tree.fit(rows.astype(np.float64)).kneighbors(None, return_distance=False)
        for tree, rows in zip(trees, (exact, stored), strict=True)
    )
    assert 0 < found["same_nearest"] < 60
    assert found["same_nearest"] == np.sum(one[:, 0] == other[:, 0])
    shares = [np.isin(a, b).mean() for a, b in zip(one, other, strict=True)]
    assert found["overlap"] == pytest.approx(np.mean(shares))
    assert (found["output"], found["channels"], found["n_tiles"]) == ("cls", "map", 60)


def test_one_tile_that_turns_to_another_is_one_change():
    """On a circle: the last tile lies between the first two, nearer to one, then to the other."""

    def circle(last):
        angles = np.radians([0, 40, 130, 140, 230, 240, last])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)

    columns = [{"output": "cls", "channel": None, "start": 0, "stop": 2}]
    (found,) = neighbours_kept(circle(19), circle(21), columns, "map")
    # The first two have the last as their nearest both times.
    assert found["same_nearest"] == 6


def test_equal_embeddings_of_any_scale_keep_all():
    (found,) = neighbours_kept(sample(), 4 * sample(), WHOLE, "map")
    assert (found["same_nearest"], found["overlap"]) == (60, 1.0)


def test_what_can_be_read_from_passes_of_single_channels_is_measured_too():
    columns = [
        {"output": output, "channel": channel, "start": start, "stop": start + 2}
        for start, (output, channel) in zip(
            (0, 2, 4, 6),
            [(o, c) for c in ("er", "nucleus") for o in ("cls", "mean")],
            strict=True,
        )
    ]
    exact, stored = sample(), sample() + 0.3 * sample(seed=1)
    found = {
        (row["output"], row["channels"]): row
        for row in neighbours_kept(exact, stored, columns, "replicate")
    }
    strategies = {"replicate", "mean", "only-er", "only-nucleus"}
    assert set(found) == {(o, c) for o in ("cls", "mean") for c in strategies}
    views = {
        ("mean", "replicate"): lambda rows: rows[:, [2, 3, 6, 7]],
        ("cls", "mean"): lambda rows: (rows[:, :2] + rows[:, 4:6]) / 2,
        ("cls", "only-nucleus"): lambda rows: rows[:, 4:6],
    }
    for key, view in views.items():
        expected = np.sum(nearest(view(exact))[:, 0] == nearest(view(stored))[:, 0])
        assert found[key]["same_nearest"] == expected
