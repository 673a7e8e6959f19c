"""Resizing by matrix products is what torch's own antialiased bicubic filter gives."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from transferscope.backbones.resizing import bands, resized

sides = st.integers(1, 70)


@given(sides, sides, st.integers(1, 64), st.sampled_from([np.uint8, np.uint16, np.float32]))
def test_it_is_torchs_filter(height: int, width: int, size: int, dtype: type) -> None:
    rng = np.random.default_rng(height * 100 + width)
    raw = torch.from_numpy(rng.integers(0, 255, (2, 3, height, width)).astype(dtype))
    before = raw.clone()
    found = resized(raw, size, lambda rows: rows.to(torch.float32) / 255)
    expected = interpolate(
        before.to(torch.float32) / 255, (size, size), mode="bicubic", antialias=True
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)
    assert torch.equal(raw, before)


def test_each_pixel_is_prepared_with_its_own_channel() -> None:
    raw = torch.from_numpy(np.random.default_rng(0).integers(0, 4000, (3, 2, 60, 50), np.uint16))
    low, high = (torch.tensor(v).view(1, 2, 1, 1) for v in ((10.0, 200.0), (900.0, 3000.0)))

    def clipped(rows: torch.Tensor) -> torch.Tensor:
        return torch.clamp(rows.to(torch.float32), low, high)

    expected = interpolate(clipped(raw), (32, 32), mode="bicubic", antialias=True)
    torch.testing.assert_close(resized(raw, 32, clipped), expected, rtol=1e-6, atol=2e-3)


@pytest.mark.parametrize(("length", "size"), [(600, 224), (64, 224), (7, 7), (1, 16)])
def test_bands_hold_every_weight_once(length: int, size: int) -> None:
    rows = torch.zeros(size, length)
    for band in bands(length, size):
        rows[band.first : band.last, band.start : band.stop] += band.weights
    torch.testing.assert_close(rows.sum(dim=1), torch.ones(size))
    assert sum(band.last - band.first for band in bands(length, size)) == size
