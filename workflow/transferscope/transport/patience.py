"""How long a download waits and how often it tries again."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


@dataclass(frozen=True)
class Patience:
    """How often and how long a download is tried.

    Parameters
    ----------
    attempts
        Tries of one file in a row that bring nothing new.
    connect_attempts
        Tries as long as no connection was made at all; few, so that a machine without a network
        says so at once.
    first_wait_s
        Longest wait in s after the first failure; it doubles with each further one.
    longest_wait_s
        Longest wait in s between two tries, also where the server asks for more.
    connect_timeout_s, read_timeout_s
        Longest silence in s: of the server at first, and between two pieces of a file.
    """

    attempts: int = 6
    connect_attempts: int = 2
    first_wait_s: float = 1.0
    longest_wait_s: float = 120.0
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 60.0

    def wait_s(self, failures: int, retry_after: str | None = None) -> float:
        """Return how long to wait in s before the next try.

        Exponential, with jitter over its upper half, so that many clients that failed together
        do not come back together. A server's `Retry-After` is kept, up to `longest_wait_s`.

        Parameters
        ----------
        failures
            Failures so far, at least 1.
        retry_after
            The header of that name: seconds, or a date.
        """
        asked = _seconds(retry_after)
        longest = min(self.first_wait_s * 2.0 ** (failures - 1), self.longest_wait_s)
        return min(max(asked, longest * random.uniform(0.5, 1.0)), self.longest_wait_s)


QUICK = Patience(attempts=1, connect_attempts=1, connect_timeout_s=3.0, read_timeout_s=10.0)


def _seconds(retry_after: str | None) -> float:
    if retry_after is None:
        return 0.0
    if retry_after.isdecimal():
        return float(retry_after)
    try:
        date = parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError):
        return 0.0
    aware = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max((aware - datetime.now(UTC)).total_seconds(), 0.0)
