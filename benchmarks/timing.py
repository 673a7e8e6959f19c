"""Timing in turns, so that a machine that is busy or warms up treats both ways alike."""

from __future__ import annotations

import functools
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import psutil
import torch

PEAK_SIDE = 2048
PEAK_REPEATS = 5


@dataclass
class Timed:
    """Seconds of each round, and what the last one returned."""

    seconds: list[float] = field(default_factory=list)
    result: Any = None

    @property
    def median(self) -> float:
        """Median of the rounds in seconds."""
        return median(self.seconds)


def in_turns(ways: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, Timed]:
    """Run every way once a round.

    Parameters
    ----------
    ways
        Name -> what to run. A way that returns a `Timed` has measured itself, and the seconds of
        that are taken.
    rounds
        How often.
    """
    timed = {name: Timed() for name in ways}
    for _ in range(rounds):
        for name, run in ways.items():
            start = time.perf_counter()
            result = run()
            seconds = time.perf_counter() - start
            if isinstance(result, Timed):
                seconds, result = result.median, result.result
            timed[name].seconds.append(seconds)
            timed[name].result = result
    return timed


def ratio(slow: Timed, fast: Timed) -> float:
    """Return the median over rounds of how many times faster the second is."""
    return median(a / b for a, b in zip(slow.seconds, fast.seconds, strict=True))


def peak_rate(kind: torch.dtype) -> float:
    """Return the rate of a large matrix product in GFLOP/s, at its best, on torch's threads."""
    a, b = (torch.randn(PEAK_SIDE, PEAK_SIDE).to(kind) for _ in range(2))
    timed = in_turns({"product": lambda: torch.mm(a, b)}, PEAK_REPEATS)
    return 2 * PEAK_SIDE**3 / min(timed["product"].seconds) / 1e9


@contextmanager
def counted(seconds: Counter[str], places: Mapping[str, tuple[Any, str]]) -> Iterator[None]:
    """Add up the seconds inside some methods.

    Parameters
    ----------
    seconds
        Where to add them, by name.
    places
        Name -> (class, name of its method).
    """
    originals = {name: getattr(owner, method) for name, (owner, method) in places.items()}
    for name, (owner, method) in places.items():
        setattr(owner, method, _counting(originals[name], name, seconds))
    try:
        yield
    finally:
        for name, (owner, method) in places.items():
            setattr(owner, method, originals[name])


def _counting(function: Callable[..., Any], name: str, seconds: Counter[str]) -> Callable[..., Any]:
    @functools.wraps(function)
    def timed(*arguments: Any, **keywords: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*arguments, **keywords)
        finally:
            seconds[name] += time.perf_counter() - start  # type: ignore[assignment]

    return timed


class OtherLoad:
    """How busy other programs keep the processor while this one measures."""

    def __init__(self) -> None:
        self._start = self._now()

    def share(self) -> float:
        """Return the share of all cores that others took since the start, 0 to 1."""
        begin, now = self._start, self._now()
        wall, busy, own = (b - a for a, b in zip(begin, now, strict=True))
        return max(0.0, busy - own) / max(wall * (psutil.cpu_count() or 1), 1e-9)

    @staticmethod
    def _now() -> tuple[float, float, float]:
        total, own = psutil.cpu_times(), os.times()
        busy = sum(total) - total.idle - getattr(total, "iowait", 0.0)
        # Guests count twice in `sum`: they are part of user and nice, too.
        busy -= getattr(total, "guest", 0.0) + getattr(total, "guest_nice", 0.0)
        return time.perf_counter(), busy, sum(own[:4])
