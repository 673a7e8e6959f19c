"""Thumbnails show the card's range of intensities, at the size asked for."""

import base64

import imagecodecs
import numpy as np
import pytest

from transferscope.labelling.thumbnails import grey_pictures

START = "data:image/png;base64,"
LIMITS = np.array([[100.0, 300.0], [0.0, 1000.0]])


def decoded(uri: str) -> np.ndarray:
    assert uri.startswith(START)
    return imagecodecs.png_decode(base64.b64decode(uri.removeprefix(START)))


def test_black_and_white_are_those_of_the_limits():
    tile = np.array([[[0, 100, 200, 300, 65535]], [[0, 250, 500, 1000, 2000]]], np.uint16)
    first, second = map(decoded, grey_pictures(tile, LIMITS, 64))
    assert first.tolist() == [[0, 0, 128, 255, 255]]
    assert second.tolist() == [[0, 64, 128, 255, 255]]


def test_missing_values_are_black():
    tile = np.full((2, 4, 4), np.nan, np.float32)
    assert decoded(grey_pictures(tile, LIMITS, 64)[0]).max() == 0


@pytest.mark.parametrize(
    ("shape", "expected"), [((64, 64), (64, 64)), ((128, 128), (64, 64)), ((200, 100), (64, 32))]
)
def test_large_tiles_are_shrunk_and_small_ones_kept(shape, expected):
    tile = np.zeros((2, *shape), np.uint16)
    tile[:, ::2] = 200  # Stripes that a resize without antialiasing would drop or keep whole.
    picture = decoded(grey_pictures(tile, LIMITS, 64)[0])
    assert picture.shape == expected
    if shape != expected:
        inner = picture[8:-8, 8:-8]
        assert abs(inner.mean() - 64) < 8
