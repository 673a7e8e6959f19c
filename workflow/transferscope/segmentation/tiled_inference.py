"""Prediction of fields of any size in overlapping windows, in bounded memory.

A network sees less of what surrounds the pixels near the edge of a window, so that two windows
disagree on them, and a seam would show. These pixels are not used (`margin`), except at the edge of
the field, and neighbouring windows fade into one another (`fade`). Where the margin covers the
receptive field of a convolutional network, the result is that of the whole field at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from transferscope.runtime.arrays import Floats, Floats32, Values


class Output(Protocol):
    """An array that is written in bands of rows: of NumPy, on disk (memmap), or of Zarr."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape, [K, H, W]."""

    def __setitem__(self, where: Any, values: Any) -> None:
        """Write a part of it."""


@dataclass(frozen=True)
class Windows:
    """How a field is covered by windows.

    Parameters
    ----------
    size
        Height and width of a window in px.
    margin
        Pixels that are not used, on each side that is not the edge of the field.
    fade
        Pixels beyond the margin over which a window fades into the next one.
    fixed
        Whether windows have this size also where a field is smaller: it is then mirrored at its
        edge. Transformers need it; a convolutional network takes the field as it is.

    Raises
    ------
    ValueError
        Where nothing of a window is left.
    """

    size: tuple[int, int]
    margin: int
    fade: int = 0
    fixed: bool = False

    def __post_init__(self) -> None:
        side = min(self.size)
        if min(self.margin, self.fade) < 0 or self._stride(side) < 1:
            what = f"{side} px less 2 margins of {self.margin} and a fade of {self.fade}"
            raise ValueError(f"nothing is left of a window of {what}")

    def _stride(self, size: int) -> int:
        return size - 2 * self.margin - self.fade

    def along(self, axis: int, length: int) -> Axis:
        """Return the windows along an axis of the field.

        Parameters
        ----------
        axis
            0: down; 1: to the right.
        length
            Of the axis, in px.
        """
        size = self.size[axis]
        if length <= size:
            size = size if self.fixed else length
            return Axis([0], size, np.ones((1, size), np.float32))
        # The last window is moved back to the edge.
        starts = [*range(0, length - size, self._stride(size)), length - size]
        weights = [self._weights(size, start == 0, start + size == length) for start in starts]
        total = np.zeros(length)
        for start, own in zip(starts, weights, strict=True):
            total[start : start + size] += own
        shares = [
            own / total[start : start + size] for start, own in zip(starts, weights, strict=True)
        ]
        return Axis(starts, size, np.stack(shares).astype(np.float32))

    def _weights(self, size: int, is_first: bool, is_last: bool) -> Floats:
        """Return the weight of each pixel of a window, [size], up to the sum over windows."""
        ramp = np.ones(size)
        ramp[: self.margin] = 0
        # Half a period of a squared sine, never 0 nor 1.
        phase = (np.arange(self.fade) + 0.5) / max(self.fade, 1)
        ramp[self.margin : self.margin + self.fade] = np.sin(np.pi / 2 * phase) ** 2
        flat = np.ones(size)
        return (flat if is_first else ramp) * (flat if is_last else ramp[::-1])


@dataclass(frozen=True)
class Axis:
    """Windows along one axis.

    Parameters
    ----------
    starts
        First pixel of each.
    size
        Pixels of each.
    shares
        Share of each pixel of a window in the result, float32 [windows, size]; at each pixel of
        the field, they sum to 1.
    """

    starts: list[int]
    size: int
    shares: Floats32


def predict_field(
    read: Callable[[slice, slice], Values],
    predict: Callable[[Values], Values],
    output: Output,
    windows: Windows,
    batch_size: int = 4,
    done: Callable[[int], object] = lambda _: None,
) -> None:
    """Predict a field window by window, and write what is predicted in bands of rows.

    In memory are the windows of a batch, and one band, [K, window, W].

    Parameters
    ----------
    read
        Returns a part of the field, [C, h, w], of slices of rows and columns.
    predict
        Predicts a batch of windows: [b, C, h, w] to [b, K, h, w].
    output
        Where the prediction is written, [K, H, W]; H and W are those of the field.
    windows
        How the field is covered.
    batch_size
        Windows that are predicted at once; fewer at the end of a row.
    done
        Called with the number of windows of each batch.

    Raises
    ------
    ValueError
        Where a prediction has not the shape of the windows.
    """
    n_out, height, width = output.shape
    rows, columns = windows.along(0, height), windows.along(1, width)
    band = np.zeros((n_out, rows.size, max(width, columns.size)), np.float32)
    ends = [*rows.starts[1:], height]
    for top, end, vertical in zip(rows.starts, ends, rows.shares, strict=True):
        for first in range(0, len(columns.starts), batch_size):
            lefts = columns.starts[first : first + batch_size]
            images = [
                _window(read, (top, left), (rows.size, columns.size), (height, width))
                for left in lefts
            ]
            predicted = predict(np.stack(images))
            if predicted.shape != (len(lefts), n_out, rows.size, columns.size):
                expected = (len(lefts), n_out, rows.size, columns.size)
                raise ValueError(f"predicted {predicted.shape}, not {expected}")
            shares = columns.shares[first : first + batch_size]
            for left, one, horizontal in zip(lefts, predicted, shares, strict=True):
                band[:, :, left : left + columns.size] += one * np.outer(vertical, horizontal)
            done(len(lefts))
        # No further window reaches these rows.
        ready = end - top
        output[:, top:end, :] = band[:, :ready, :width]
        for plane in band:
            plane[: rows.size - ready] = plane[ready:].copy()
            plane[rows.size - ready :] = 0


def _window(
    read: Callable[[slice, slice], Values],
    corner: tuple[int, int],
    size: tuple[int, int],
    field: tuple[int, int],
) -> Values:
    """Return a window, [C, h, w], mirrored at the edge where it is larger than the field."""
    places = [
        slice(start, min(start + length, limit))
        for start, length, limit in zip(corner, size, field, strict=True)
    ]
    pixels = read(*places)
    missing = [length - got for length, got in zip(size, pixels.shape[1:], strict=True)]
    if not any(missing):
        return pixels
    return np.pad(pixels, [(0, 0), *((0, more) for more in missing)], mode="symmetric")
