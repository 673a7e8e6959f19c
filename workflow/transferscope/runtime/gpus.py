"""Several GPUs in one machine: each job takes one that no other job has.

A device is taken by a lock of the operating system on a file that bears the device's own
identity, so that it is free again when its job ends, however that ends. Jobs of other users are
not seen. What CUDA_VISIBLE_DEVICES hides is never taken, and a single device that a scheduler has
assigned to the job is used as it is.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

# Variables by which schedulers say which GPUs a job has been given.
ASSIGNED_BY = ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS", "PBS_GPUFILE", "SGE_HGR_gpu", "LSB_GPU_ALLOC")
POLL_SECONDS = 0.5
# Locks last until they are released or the process ends, whoever forgets about them.
_HELD: set[FileLock] = set()

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Allotment:
    """A device that this process has.

    Parameters
    ----------
    index
        Index of the device among the visible ones.
    lock
        What keeps others off it; None: the scheduler does.
    """

    index: int
    lock: FileLock | None = None

    def release(self) -> None:
        """Let others have the device."""
        if self.lock is not None:
            self.lock.release()
            _HELD.discard(self.lock)


def default_folder() -> Path:
    """Return the folder of this user's lock files, on a disk of this machine."""
    return Path(tempfile.gettempdir()) / f"transferscope-gpus-{os.getuid()}"


def allot(
    identities: Sequence[str],
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Allotment:
    """Take a device that no other job has; wait for one where all are taken.

    Parameters
    ----------
    identities
        Of the visible devices, each unique in the machine (a UUID).
    folder
        Of the lock files; None: `default_folder`.
    environment
        Variables of the environment; None: those of this process.

    Raises
    ------
    ValueError
        Where there is no device.
    OSError
        Where the lock files cannot be written.
    """
    if not identities:
        raise ValueError("there is no device to allot")
    environment = os.environ if environment is None else environment
    if len(identities) == 1 and any(environment.get(name) for name in ASSIGNED_BY):
        return Allotment(0)
    folder = folder or default_folder()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    locks = [FileLock(folder / f"{identity}.lock") for identity in identities]
    found = _first_free(locks)
    if found is None:
        logger.info("waiting for a GPU: other jobs have all %d", len(locks))
    while found is None:
        time.sleep(POLL_SECONDS)
        found = _first_free(locks)
    return found


def _first_free(locks: Sequence[FileLock]) -> Allotment | None:
    for index, lock in enumerate(locks):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        _HELD.add(lock)
        return Allotment(index, lock)
    return None
