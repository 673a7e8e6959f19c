"""Locks between processes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)


@contextmanager
def exclusive(lock_file: Path, what: str) -> Iterator[None]:
    """Hold a lock, waiting for it if needed; the system frees it when the process ends.

    Parameters
    ----------
    lock_file
        Lock file; created with its folder, and not deleted.
    what
        What the other process may be doing, for the log.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(lock_file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("waiting for another process: %s", what)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
