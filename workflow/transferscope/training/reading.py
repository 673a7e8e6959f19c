"""Reading the batch of the next step while the present one is trained on."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Batch = TypeVar("Batch")


class BatchReader(Generic[Batch]):
    """Batches by step, each read ahead of time by a thread.

    Parameters
    ----------
    read
        Returns the batch of a step.
    """

    def __init__(self, read: Callable[[int], Batch]) -> None:
        self._read = read
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")
        self._coming: dict[int, Future[Batch]] = {}
        self.waited = 0.0

    def __call__(self, step: int) -> Batch:
        """Return the batch of a step, and start to read that of the next.

        The seconds that this takes are added to `waited`.
        """
        start = time.perf_counter()
        ready = self._coming.pop(step, None) or self._thread.submit(self._read, step)
        batch = ready.result()
        self._coming = {step + 1: self._thread.submit(self._read, step + 1)}
        self.waited += time.perf_counter() - start
        return batch

    def close(self) -> None:
        """Stop the thread."""
        self._thread.shutdown(cancel_futures=True)
