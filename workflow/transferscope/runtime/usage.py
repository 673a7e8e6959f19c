"""Time and memory that a job has used."""

from __future__ import annotations

import resource
import sys
import time

# Units of ru_maxrss per MiB: bytes on macOS, KiB elsewhere.
PER_MIB = 2**20 if sys.platform == "darwin" else 2**10


def began() -> float:
    """Return when this process began, in seconds of the clock: so far it has only been loading."""
    return time.time() - time.process_time()


def usage(since: float) -> dict[str, float]:
    """Return what this process has used, with those that it started and that have ended.

    Parameters
    ----------
    since
        When it began, in seconds of the clock.

    Returns
    -------
    dict
        As Snakemake names them: seconds `s`, core seconds `cpu_time`, and `max_rss`, the peak
        memory of the largest process in MiB.
    """
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "s": time.time() - since,
        "max_rss": max(one.ru_maxrss for one in used) / PER_MIB,
        "cpu_time": sum(one.ru_utime + one.ru_stime for one in used),
    }
