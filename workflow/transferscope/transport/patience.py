"""How long a download waits and how often it tries again."""

from __future__ import annotations

from dataclasses import dataclass


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
    backoff_s
        Unit of the wait in s before the next try. The first retry follows at once, the n-th one
        after `backoff_s * 2**(n - 1)` and up to `backoff_s` more, drawn at random, so that many
        clients that failed together do not come back together. A server's `Retry-After` is kept.
    longest_wait_s
        Longest wait in s between two tries, also where the server asks for more.
    connect_timeout_s, read_timeout_s
        Longest silence in s: of the server at first, and between two pieces of a file.
    """

    attempts: int = 6
    connect_attempts: int = 2
    backoff_s: float = 1.0
    longest_wait_s: float = 120.0
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 60.0


QUICK = Patience(attempts=1, connect_attempts=1, connect_timeout_s=3.0, read_timeout_s=10.0)
