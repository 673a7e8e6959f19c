"""Claims of numbered parts of a file or folder, between processes and threads.

A claim is a lock on one byte of a small file, so that the system frees it when the process ends in
any way. Such locks belong to the process, and closing the file frees them all: the file is opened
once per process, and threads are told apart here.
"""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import suppress
from pathlib import Path

POLL_SECONDS = 0.05
_CHANGED = threading.Condition()
_OPEN: dict[Path, tuple[int, set[int]]] = {}


class Claims:
    """Claims of parts of one thing.

    Parameters
    ----------
    file
        Where the locks are; created with its folder at the first claim, and not deleted.
    """

    def __init__(self, file: Path) -> None:
        self._file = file.absolute()
        self._mine: set[int] = set()

    def take(self, number: int, *, wait: bool = False) -> bool:
        """Claim a part; return whether it is claimed now.

        Parameters
        ----------
        number
            Of the part, from 0.
        wait
            Whether to wait until no other has it.

        Raises
        ------
        OSError
            If the folder cannot be written, or the file system has no locks.
        """
        with _CHANGED:
            while number in _held_here(self._file):
                if not wait:
                    return False
                _CHANGED.wait(POLL_SECONDS)
            descriptor, held = _opened(self._file)
            held.add(number)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, number)
        except BlockingIOError:
            self._forget(number)
            return False
        except BaseException:
            self._forget(number)
            raise
        self._mine.add(number)
        return True

    def release(self, number: int) -> None:
        """Let others have a part."""
        if number in self._mine:
            self._mine.discard(number)
            with suppress(OSError):  # closing the file frees it, too
                fcntl.lockf(_OPEN[self._file][0], fcntl.LOCK_UN, 1, number)
            self._forget(number)

    def close(self) -> None:
        """Let others have all parts."""
        for number in list(self._mine):
            self.release(number)

    def _forget(self, number: int) -> None:
        with _CHANGED:
            descriptor, held = _OPEN[self._file]
            held.discard(number)
            if not held:
                os.close(descriptor)
                del _OPEN[self._file]
            _CHANGED.notify_all()


def _held_here(file: Path) -> set[int]:
    return _OPEN[file][1] if file in _OPEN else set()


def _opened(file: Path) -> tuple[int, set[int]]:
    if file not in _OPEN:
        file.parent.mkdir(parents=True, exist_ok=True)
        _OPEN[file] = (os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), set())
    return _OPEN[file]
