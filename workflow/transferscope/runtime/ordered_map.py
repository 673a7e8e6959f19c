"""Map a function over items in threads, with results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
# Finished results that may wait for an earlier one: bounds the memory.
ITEMS_AHEAD = 2


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[tuple[Item, Result]]:
    """Yield (item, result) in the order of the items; several are processed at a time.

    Parameters
    ----------
    function
        Applied to each item; should release the interpreter lock, as NumPy's loops do.
    items
        The items.
    workers
        Number of threads.
    """
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    pool = ThreadPoolExecutor(max(1, workers))
    try:
        for item in items:
            waiting.append((item, pool.submit(function, item)))
            if len(waiting) >= workers + ITEMS_AHEAD:
                done, future = waiting.popleft()
                yield done, future.result()
        while waiting:
            done, future = waiting.popleft()
            yield done, future.result()
    finally:
        pool.shutdown(cancel_futures=True)
