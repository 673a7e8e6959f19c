"""Fields predicted window by window: coverage, equality with the whole, memory."""

import tracemalloc

import numpy as np
import pytest
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from transferscope.segmentation.tiled_inference import Windows, predict_field


def reader(field):
    return lambda rows, columns: field[:, rows, columns]


def tiled(field, predict, windows, n_out=1, batch_size=3):
    output = np.full((n_out, *field.shape[1:]), np.nan, np.float32)
    predict_field(reader(field), predict, output, windows, batch_size)
    return output


def network(seed=0, layers=3):
    """Return a convolutional network without context beyond `layers` px."""
    torch.manual_seed(seed)
    parts = [nn.Conv2d(2 if n == 0 else 4, 4, 3, padding=1) for n in range(layers - 1)]
    found = nn.Sequential(*[x for part in parts for x in (part, nn.ReLU())])
    found.append(nn.Conv2d(4, 3, 3, padding=1))

    def predict(batch):
        with torch.inference_mode():
            return found(torch.from_numpy(np.ascontiguousarray(batch))).numpy()

    return predict


@st.composite
def covers(draw):
    size = draw(st.integers(1, 24))
    margin = draw(st.integers(0, (size - 1) // 2))
    fade = draw(st.integers(0, size - 2 * margin - 1))
    other = size + draw(st.integers(0, 9))
    sides = draw(st.permutations([size, other]))
    return Windows(tuple(sides), margin, fade, draw(st.booleans()))


@settings(max_examples=100, deadline=None)
@given(covers(), st.integers(1, 70), st.integers(1, 70), st.integers(1, 5))
def test_each_pixel_is_covered_once_whatever_the_sizes(windows, height, width, batch_size):
    field = np.random.default_rng(0).normal(size=(1, height, width)).astype(np.float32)
    seen = []

    def predict(batch):
        seen.append(batch.shape)
        return batch * 2

    found = tiled(field, predict, windows, batch_size=batch_size)
    np.testing.assert_allclose(found, 2 * field, rtol=1e-5)
    sides = {shape[2:] for shape in seen}
    expected = windows.size
    if not windows.fixed:
        expected = min(height, expected[0]), min(width, expected[1])
    assert sides == {expected}
    assert max(shape[0] for shape in seen) <= batch_size


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 60), st.integers(1, 60), st.integers(9, 32), st.integers(0, 2), st.integers(0, 9)
)
def test_a_convolutional_network_gives_the_same_as_on_the_whole_field(
    height, width, size, margin, fade
):
    margin = 3 + margin if size > 2 * (3 + margin) else 3
    windows = Windows((size, size), margin, min(fade, size - 2 * margin - 1))
    field = np.random.default_rng(1).normal(size=(2, height, width)).astype(np.float32)
    predict = network()
    found = tiled(field, predict, windows, n_out=3)
    np.testing.assert_allclose(found, predict(field[None])[0], atol=1e-5)


def test_a_margin_below_the_receptive_field_shows():
    field = np.random.default_rng(1).normal(size=(2, 50, 50)).astype(np.float32)
    predict = network()
    found = tiled(field, predict, Windows((20, 20), 0), n_out=3)
    assert np.abs(found - predict(field[None])[0]).max() > 1e-3


def test_a_small_field_is_mirrored_for_windows_of_fixed_size():
    field = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    batches = []

    def predict(batch):
        batches.append(batch)
        return batch

    np.testing.assert_array_equal(tiled(field, predict, Windows((4, 4), 1, fixed=True)), field)
    expected = [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [0, 1, 2, 2]]
    assert batches[0][0, 0].tolist() == expected


def test_windows_that_disagree_fade_into_one_another():
    def predict(batch):
        return np.stack([np.full(image.shape, next(numbers), np.float32) for image in batch])

    field = np.zeros((1, 32, 200), np.float32)
    steps = {}
    for fade in (0, 8):
        numbers = iter(range(100))
        row = tiled(field, predict, Windows((32, 32), 4, fade))[0, 16]
        steps[fade] = np.abs(np.diff(row)).max()
    assert steps[0] == 1
    assert steps[8] < 0.2, "half a period of a squared sine over 8 px"


def test_zarr_and_files_are_written_like_arrays(tmp_path):
    field = np.random.default_rng(2).normal(size=(1, 45, 61)).astype(np.float32)
    on_disk = np.memmap(tmp_path / "map", np.float32, "w+", shape=field.shape)
    stored = zarr.create_array(
        tmp_path / "a.zarr", shape=field.shape, chunks=(1, 16, 16), dtype="float32"
    )
    for output in (on_disk, stored):
        predict_field(reader(field), lambda batch: batch, output, Windows((16, 16), 2, 4))
        np.testing.assert_allclose(output[:], field, atol=1e-6)


def test_memory_does_not_grow_with_the_height(tmp_path):
    def peak(height):
        output = np.memmap(tmp_path / f"{height}", np.float32, "w+", shape=(2, height, 400))

        def read(rows, columns):
            return np.ones((1, rows.stop - rows.start, columns.stop - columns.start), np.float32)

        tracemalloc.start()
        predict_field(
            read, lambda batch: np.repeat(batch, 2, axis=1), output, Windows((64, 64), 8, 8)
        )
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        np.testing.assert_allclose(output, 1, rtol=1e-6)
        return found

    low, high = peak(400), peak(4000)
    assert high < 1.1 * low
    assert high < 1_500_000


def test_impossible_windows_and_predictions_are_refused():
    for bad in [(8, 4, 0), (8, 2, 4), (8, -1, 0), (0, 0, 0), (8, 0, -1)]:
        with pytest.raises(ValueError, match="nothing is left"):
            Windows((bad[0], 9), *bad[1:])
    with pytest.raises(ValueError, match="predicted"):
        tiled(np.zeros((1, 9, 9)), lambda batch: batch[:, :, 1:], Windows((8, 8), 1))
