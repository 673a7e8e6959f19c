"""Batches on their way to a GPU: from pinned memory, while the network computes the one before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from transferscope.backbones.embedder import Tiles

# Batches that may lie on the device before the network has taken them.
BATCHES_AHEAD = 2


class DeviceCopies:
    """Copies batches to a CUDA device on a stream of their own, a few batches ahead of the network.

    Parameters
    ----------
    device
        The device.
    """

    def __init__(self, device: torch.device) -> None:
        self._copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._computing = torch.cuda.current_stream(device)
        self._computed: deque[torch.cuda.Event] = deque(maxlen=BATCHES_AHEAD)
        self._taken: dict[int, torch.cuda.Event] = {}
        self._device = device

    def buffer(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Tiles:
        """Return an array in pinned memory, to read tiles into."""
        kind = torch.from_numpy(np.empty(0, dtype)).dtype
        pinned: Tiles = torch.empty(shape, dtype=kind, pin_memory=True).numpy()
        return pinned

    def copied(self, batch: Tensor) -> Tensor:
        """Return a batch on the device, as soon as the network may use it there."""
        # The host waits itself: were it only the stream, the memory of each further batch would be
        # taken at once, and the device be filled with batches that wait for the network.
        if len(self._computed) == BATCHES_AHEAD:
            self._computed[0].synchronize()
        with torch.cuda.stream(self._copying):
            on_device = batch.to(self._device, non_blocking=True)
        self._computing.wait_stream(self._copying)
        on_device.record_stream(self._computing)
        return on_device

    def computed(self) -> None:
        """Take note that the computation of a batch is under way."""
        self._computed.append(self._computing.record_event())

    def returned(self, rows: Tensor) -> Callable[[], Tensor]:
        """Return what waits, in any thread, for rows to be back on the host."""
        # On the stream that computes them, so that it is that copy, and no later work, that is
        # waited for.
        back = torch.empty(rows.shape, dtype=rows.dtype, pin_memory=True)
        back.copy_(rows, non_blocking=True)
        done = self._computing.record_event()

        def wait() -> Tensor:
            with torch.cuda.device(self._device):
                done.synchronize()
            return back

        return wait

    def taken(self, tiles: Tiles) -> None:
        """Take note that all copies of these tiles are under way."""
        self._taken[tiles.ctypes.data] = self._copying.record_event()

    def wait(self, buffer: Tiles) -> None:
        """Return when a buffer may be overwritten: all copies of what was in it are done."""
        event = self._taken.pop(buffer.ctypes.data, None)
        if event is not None:
            # Reader threads call this, and a thread's device is the first one until it says else.
            with torch.cuda.device(self._device):
                event.synchronize()
