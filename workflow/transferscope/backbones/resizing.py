"""Antialiased bicubic resizing on a processor, as products with banded matrices.

`torch.nn.functional.interpolate` defines the result; its weights are read off here. Products of
small blocks, each fed with rows that were converted just before and are still in the cache, take
about half of its time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

# Output rows per block: a trade of idle products with zeros against calls.
BLOCK = 16


@dataclass(frozen=True)
class Band:
    """A block of output rows, and the input rows that they are made from.

    Parameters
    ----------
    first, last
        Output rows [first, last).
    start, stop
        Input rows [start, stop).
    weights
        [last - first, stop - start] float32.
    """

    first: int
    last: int
    start: int
    stop: int
    weights: Tensor


@lru_cache(maxsize=32)
def bands(length: int, size: int) -> tuple[Band, ...]:
    """Return the matrix that resizes `length` samples to `size`, without its zeros."""
    with torch.inference_mode(mode=False):
        weights = interpolated(torch.eye(length)[None, None], (size, length))[0, 0]
        found = []
        for first in range(0, size, BLOCK):
            rows = weights[first : first + BLOCK]
            used = rows.any(dim=0).nonzero()
            start, stop = int(used[0]), int(used[-1]) + 1
            band = rows[:, start:stop].contiguous()
            found.append(Band(first, first + len(rows), start, stop, band))
        return tuple(found)


def resized(raw: Tensor, size: int, prepare: Callable[[Tensor], Tensor]) -> Tensor:
    """Return prepared tiles at another size.

    Parameters
    ----------
    raw
        Raw tiles [B, C, H, W] of any type.
    size
        Side of the result in px; tiles that are not square are squeezed.
    prepare
        Returns float32 pixels, each from its raw value alone; called with some rows of all tiles.

    Returns
    -------
    Tensor
        [B, C, size, size] float32.
    """
    height, width = raw.shape[-2:]
    if (height, width) == (size, size):
        return prepare(raw)
    if raw.device.type != "cpu":
        return interpolated(prepare(raw), (size, size))
    lower = torch.empty((*raw.shape[:2], size, width))
    for band in bands(height, size):
        rows = prepare(raw[:, :, band.start : band.stop])
        lower[:, :, band.first : band.last] = band.weights @ rows
    found = torch.empty((*raw.shape[:2], size, size))
    for band in bands(width, size):
        found[..., band.first : band.last] = lower[..., band.start : band.stop] @ band.weights.T
    return found


def interpolated(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Return images [B, C, H, W] at another size, antialiased bicubic."""
    return functional.interpolate(pixels, size, mode="bicubic", antialias=True)
