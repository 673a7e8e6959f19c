"""What each channel of a tile looks like in numbers, so that bad images are found early."""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np

from transferscope.runtime.arrays import Integers, Pixels

PERCENTILES = (0.1, 1.0, 50.0, 99.0, 99.9)
# Pixels from which on the values of 16 bits are counted; fewer are sorted.
SMALLEST_COUNTED = 1 << 16


@dataclass(frozen=True)
class Quality:
    """The quality of one channel of one tile, over the part that shows the field.

    Parameters
    ----------
    saturated
        Share of pixels at or above white, the upper end of the channel's intensity range.
    constant
        Whether all pixels are equal.
    focus
        Variance of the Laplacian over the variance of the pixels: falls when an image is out of
        focus, and depends on neither gain nor offset. NaN where constant. After Pech-Pacheco et
        al., ICPR 2000 (`LAP4` in Pertuz et al., Pattern Recognition 46, 2013).
    p0_1, p1, p50, p99, p99_9
        Percentiles (0.1 to 99.9) in raw values; each is a value that occurs.
    mean
        Mean in raw values.
    """

    saturated: float
    constant: bool
    focus: float
    p0_1: float
    p1: float
    p50: float
    p99: float
    p99_9: float
    mean: float

    def values(self) -> list[float]:
        """Return all measures as floats, in the order of the fields."""
        return list(map(float, astuple(self)))


def measure(plane: Pixels, white: float) -> Quality:
    """Measure one channel.

    Parameters
    ----------
    plane
        [H, W], uint8 or uint16.
    white
        Raw value of white.
    """
    values, counts = _histogram(plane)
    cumulative = np.cumsum(counts)
    # The inverted distribution function: exact on integers, and without sorting the pixels.
    ranks = np.ceil(np.array(PERCENTILES) / 100 * plane.size).clip(1)
    reached = np.searchsorted(cumulative, ranks)
    p0_1, p1, p50, p99, p99_9 = values[reached].astype(float).tolist()
    # Sums, not products by BLAS: its threads fight with those that decode.
    mean = float((counts * values).sum() / plane.size)
    saturated = float(counts[np.searchsorted(values, white) :].sum() / plane.size)
    constant = bool(np.count_nonzero(counts) == 1)
    focus = float("nan") if constant else _focus(plane, values, counts, mean)
    return Quality(saturated, constant, focus, p0_1, p1, p50, p99, p99_9, mean)


def _histogram(plane: Pixels) -> tuple[Integers, Integers]:
    """Return values in rising order, all that occur among them, and how many pixels have each."""
    if plane.dtype.itemsize == 1 or plane.size >= SMALLEST_COUNTED:
        counts = np.bincount(plane.ravel(), minlength=1)
        return np.arange(len(counts)), counts
    # Far fewer pixels than values: to sort them costs less than to go through all values.
    ordered = np.sort(plane, axis=None, kind="stable")
    starts = np.flatnonzero(np.diff(ordered, prepend=~ordered[:1]))
    return ordered[starts].astype(np.int64), np.diff(starts, append=len(ordered))


def _focus(plane: Pixels, values: Integers, counts: Integers, mean: float) -> float:
    """Return the variance of the four-neighbour Laplacian over that of the pixels."""
    if min(plane.shape) < 3:
        return float("nan")
    pixels = plane.astype(np.int32)
    inner = pixels[1:-1, 1:-1]
    laplacian = pixels[:-2, 1:-1] + pixels[2:, 1:-1] + pixels[1:-1, :-2] + pixels[1:-1, 2:]
    laplacian -= 4 * inner
    variance = (counts * (values - mean) ** 2).sum() / plane.size
    return float(laplacian.var(dtype=np.float64) / variance)
