"""Resizing by matrix products is what torch's own antialiased bicubic filter gives."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from transferscope.backbones.resizing import bands, resized, with_whole_matrices

sides = st.integers(1, 70)


sizes = st.integers(1, 64)
LOW, HIGH = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.0, 20.0, 90.0), (255.0, 200.0, 100.0)))


def clipped(raw: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    return (torch.clamp(raw.to(torch.float32), low, high) - low) / 255


def check(raw: torch.Tensor, size: int) -> None:
    before = raw.clone()
    # Limits of each tile, as percentiles are.
    low, high = (limit.repeat(len(raw), 1, 1, 1) for limit in (LOW, HIGH))
    low[-1] /= 2
    pixels = clipped(before, low, high)
    expected = interpolate(pixels, (size, size), mode="bicubic", antialias=True)
    found = resized(raw, size, clipped, low, high)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)
    assert torch.equal(raw, before)
    # What a GPU does.
    torch.testing.assert_close(with_whole_matrices(pixels, size), expected, rtol=0, atol=2e-6)


@settings(deadline=None)
@given(sides, sides, sizes, st.sampled_from([np.uint8, np.uint16, np.float32]))
def test_it_is_torchs_filter(height: int, width: int, size: int, dtype: type) -> None:
    rng = np.random.default_rng(height * 100 + width)
    check(torch.from_numpy(rng.integers(0, 255, (2, 3, height, width)).astype(dtype)), size)


@pytest.mark.parametrize("shape", [(300, 300), (256, 256), (1100, 260)])
@pytest.mark.parametrize("size", [224, 256, 300, 64])
def test_of_large_tiles_too(shape: tuple[int, int], size: int) -> None:
    rng = np.random.default_rng(0)
    check(torch.from_numpy(rng.integers(0, 255, (2, 3, *shape), dtype=np.uint16)), size)


@pytest.mark.parametrize(("length", "size"), [(600, 224), (64, 224), (7, 7), (1, 16)])
def test_bands_hold_every_weight_once(length: int, size: int) -> None:
    rows = torch.zeros(size, length)
    for band in bands(length, size):
        rows[band.first : band.last, band.start : band.stop] += band.weights
    torch.testing.assert_close(rows.sum(dim=1), torch.ones(size))
    assert sum(band.last - band.first for band in bands(length, size)) == size


@pytest.mark.parametrize("side", [40, 300])
def test_an_autocast_rounds_nothing(side: int) -> None:
    rng = np.random.default_rng(0)
    raw = torch.from_numpy(rng.integers(0, 60_000, (1, 3, side, side), dtype=np.uint16))
    limits = LOW, HIGH * 1000
    plain = resized(raw, 16, clipped, *limits)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(resized(raw, 16, clipped, *limits), plain)
