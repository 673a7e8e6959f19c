"""Retries and timeouts of downloads."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Patience:
    """Retries and timeouts of a download.

    Parameters
    ----------
    attempts
        Successive attempts for one file that receive no new bytes.
    connect_attempts
        Attempts without any connection; few, so that a missing network is reported at once.
    backoff_s
        Unit of the wait before a retry, in s. The first retry follows at once, the n-th one after
        `backoff_s * 2**(n - 1)` plus a random jitter of up to `backoff_s`, so that clients that
        failed together do not retry together. A server's `Retry-After` is respected.
    longest_wait_s
        Longest wait between two attempts in s, even if the server requests more.
    connect_timeout_s, read_timeout_s
        Timeouts in s: for the connection, and between two pieces of a file.
    """

    attempts: int = 6
    connect_attempts: int = 2
    backoff_s: float = 1.0
    longest_wait_s: float = 120.0
    connect_timeout_s: float = 8.0
    read_timeout_s: float = 60.0


QUICK = Patience(attempts=1, connect_attempts=1, connect_timeout_s=3.0, read_timeout_s=10.0)
