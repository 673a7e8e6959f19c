"""Antialiased bicubic resizing as products with matrices, banded ones on a processor.

`torch.nn.functional.interpolate` defines the result; its weights are read off here. On a processor
the products take about half of its time, if the pixels, converted just before, are still in the
cache.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

# Output rows per block: a trade of idle products with zeros against calls.
BLOCK = 16
# Pixels from which on each channel of each tile is resized on its own, in the cache of a core.
LARGE = 256**2
Prepare = Callable[[Tensor, Tensor, Tensor], Tensor]


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
        weights = matrix(length, size, torch.device("cpu"))
        found = []
        for first in range(0, size, BLOCK):
            rows = weights[first : first + BLOCK]
            used = rows.any(dim=0).nonzero()
            start, stop = int(used[0]), int(used[-1]) + 1
            band = rows[:, start:stop].contiguous()
            found.append(Band(first, first + len(rows), start, stop, band))
        return tuple(found)


def resized(raw: Tensor, size: int, prepare: Prepare, low: Tensor, high: Tensor) -> Tensor:
    """Return prepared tiles at another size.

    Parameters
    ----------
    raw
        Raw tiles [B, C, H, W] of any type.
    size
        Side of the result in px; tiles that are not square are squeezed.
    prepare
        Returns raw pixels as float32, each from its value and the limits alone; called with all
        tiles or one channel of one.
    low, high
        Limits that `prepare` is given, [1 or B, C, 1, 1].

    Returns
    -------
    Tensor
        [B, C, size, size] float32.
    """
    kind = raw.device.type
    if not torch.amp.is_autocast_available(kind):
        return _resized(raw, size, prepare, low, high)
    # Levels of 16 bits do not fit into what an autocast multiplies.
    with torch.autocast(kind, enabled=False):
        return _resized(raw, size, prepare, low, high)


def _resized(raw: Tensor, size: int, prepare: Prepare, low: Tensor, high: Tensor) -> Tensor:
    height, width = raw.shape[-2:]
    if (height, width) == (size, size):
        return prepare(raw, low, high)
    if raw.device.type != "cpu":
        return with_whole_matrices(prepare(raw, low, high), size)
    if height * width < LARGE:
        return _both_axes(prepare(raw, low, high), size)
    found = torch.empty((*raw.shape[:2], size, size))
    limits = [limit.expand(*raw.shape[:2], 1, 1) for limit in (low, high)]
    for tile, channel in itertools.product(*map(range, raw.shape[:2])):
        own = (limit[tile, channel] for limit in limits)
        _both_axes(prepare(raw[tile, channel], *own), size, found[tile, channel])
    return found


def with_whole_matrices(pixels: Tensor, size: int) -> Tensor:
    """Resize [B, C, H, W] to [B, C, size, size] by two products with whole matrices.

    A GPU multiplies faster than its kernel gathers; `cuda.matmul.allow_tf32` is off.
    """
    height, width = pixels.shape[-2:]
    narrow = pixels @ matrix(width, size, pixels.device).mT
    return matrix(height, size, pixels.device) @ narrow


@lru_cache(maxsize=32)
def matrix(length: int, size: int, device: torch.device) -> Tensor:
    """Return the matrix [size, length] float32 that resizes `length` samples to `size`."""
    with torch.inference_mode(mode=False):
        weights = interpolated(torch.eye(length)[None, None], (size, length))[0, 0]
        return weights.to(device)


def _both_axes(pixels: Tensor, size: int, out: Tensor | None = None) -> Tensor:
    """Resize [..., H, W] to [..., size, size], into `out` if that is given, which has two axes."""
    return _rows(_rows(pixels, size).mT, size, None if out is None else out.mT).mT


def _rows(pixels: Tensor, size: int, out: Tensor | None = None) -> Tensor:
    """Resize [..., H, W] to [..., size, W]."""
    found = torch.empty((*pixels.shape[:-2], size, pixels.shape[-1])) if out is None else out
    for band in bands(pixels.shape[-2], size):
        used = pixels[..., band.start : band.stop, :]
        if pixels.ndim == 2:
            torch.mm(band.weights, used, out=found[band.first : band.last])
        else:
            found[..., band.first : band.last, :] = band.weights @ used
    return found


def interpolated(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Return images [B, C, H, W] at another size, antialiased bicubic."""
    return functional.interpolate(pixels, size, mode="bicubic", antialias=True)
