"""Batches on the cores of a processor, a few calls ahead of whoever wants the results."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

import torch
from torch import Tensor

from transferscope.backbones.embedder import Tiles

# On a processor each core takes separate images: the features of this many stay in its cache, and
# no core waits for another within a layer.
IMAGES_PER_CORE = 8
# Calls under way: at the end of one, its last cores are busy while others begin the next.
CALLS_AHEAD = 2

Parts = list[Future[Tensor]]


class Cores:
    """Computes parts of batches, each on one core.

    Parameters
    ----------
    threads
        Number of cores.
    """

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
        # Where the tiles of a call lie in memory, and its parts.
        self._under_way: deque[tuple[int, Parts]] = deque()

    def computed(self, compute: Callable[[Tensor], Tensor], tiles: Tiles, most: int) -> Parts:
        """Return the results of some tiles, which are still being computed.

        Parameters
        ----------
        compute
            What to compute of a part of them.
        tiles
            Not to be overwritten before `wait`.
        most
            Tiles per part.
        """
        while len(self._under_way) >= CALLS_AHEAD:
            wait(self._under_way.popleft()[1])
        parts = torch.split(torch.from_numpy(tiles), min(most, IMAGES_PER_CORE))
        found = [self._pool.submit(compute, part) for part in parts]
        self._under_way.append((tiles.ctypes.data, found))
        return found

    def wait(self, buffer: Tiles) -> None:
        """Return when a buffer may be overwritten: all is computed of what was in it."""
        # A copy, as another thread may begin a call. What is not in it has ended.
        for place, parts in list(self._under_way):
            if place == buffer.ctypes.data:
                wait(parts)

    def close(self) -> None:
        """Stop the threads; what has not begun is not computed any more."""
        self._pool.shutdown(cancel_futures=True)


def results(calls: Sequence[Parts]) -> Tensor:
    """Return the results of several calls as one tensor, when they are there."""
    return torch.cat([part.result() for call in calls for part in call])
