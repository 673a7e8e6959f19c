"""Share the GPUs of a machine among jobs: each job locks one that is free.

The lock is held on a file named by the device's UUID, so that the operating system frees it when
the job ends in any way. Jobs of other users are not seen. Devices hidden by CUDA_VISIBLE_DEVICES
are never used, and a single device assigned by a scheduler is used without a lock.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock, Timeout

from transferscope.errors import Problem, UserError

# Environment variables in which schedulers list the GPUs of a job.
ASSIGNED_BY = ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS", "PBS_GPUFILE", "SGE_HGR_gpu", "LSB_GPU_ALLOC")
POLL_SECONDS = 0.5
# What a driver makes: NVIDIA's on Linux, that of Windows' subsystem for Linux, and AMD's.
DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/dxg"), Path("/dev/kfd"))
# References that keep locks from being garbage-collected, and so released.
_HELD: set[FileLock] = set()

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Allotment:
    """A device reserved for this process.

    Parameters
    ----------
    index
        Index of the device among the visible ones.
    lock
        Held on the device; None: a scheduler has assigned it.
    """

    index: int
    lock: FileLock | None = None

    def release(self) -> None:
        """Make the device available to other jobs."""
        if self.lock is not None:
            self.lock.release()
            _HELD.discard(self.lock)


def default_folder() -> Path:
    """Return the folder of this user's lock files, on a local disk."""
    return Path(tempfile.gettempdir()) / f"transferscope-gpus-{os.getuid()}"


def may_be_here(
    drivers: Sequence[Path] = DRIVERS, environment: Mapping[str, str] | None = None
) -> bool:
    """Return whether this machine may have a GPU that torch can use; torch itself is not loaded.

    Parameters
    ----------
    drivers
        Files of which one exists where a driver is loaded.
    environment
        Environment variables; None: those of this process.
    """
    environment = os.environ if environment is None else environment
    hidden = environment.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1")
    for_processors = version("torch").endswith("+cpu")
    return not hidden and not for_processors and any(path.exists() for path in drivers)


def allot(
    identities: Sequence[str],
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Allotment:
    """Reserve a free device; wait until there is one.

    Parameters
    ----------
    identities
        UUIDs of the visible devices.
    folder
        Folder of the lock files; None: `default_folder`.
    environment
        Environment variables; None: those of this process.

    Raises
    ------
    ValueError
        If there is no device.
    UserError
        If their folder belongs to another user.
    OSError
        If the lock files cannot be written.
    """
    if not identities:
        raise ValueError("there is no device to allot")
    environment = os.environ if environment is None else environment
    if len(identities) == 1 and any(environment.get(name) for name in ASSIGNED_BY):
        return Allotment(0)
    folder = folder or default_folder()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.lstat().st_uid != os.geteuid():
        what = "the folder of this user's GPU locks belongs to another user"
        raise UserError(Problem(str(folder), what, "Remove it, or set TMPDIR to another folder."))
    locks = [FileLock(folder / f"{identity}.lock") for identity in identities]
    found = _first_free(locks)
    if found is None:
        logger.info("waiting for a GPU: other jobs use all %d", len(locks))
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
