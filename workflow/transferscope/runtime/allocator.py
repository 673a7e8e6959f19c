"""An allocator that keeps its memory: fresh pages cost more than decoding a tile."""

from __future__ import annotations

import ctypes
import platform

# Parameters of glibc's mallopt: memory below a threshold comes from the heap, which is not trimmed
# below 2 GiB and grows by 256 MiB. Old versions refuse thresholds above 32 MiB.
MMAP_THRESHOLD, TRIM_THRESHOLD, TOP_PAD = -3, -1, -2
THRESHOLDS = (1 << 30, 32 << 20)
HEAP = {TRIM_THRESHOLD: (1 << 31) - 1, TOP_PAD: 256 << 20}


def keep_freed_memory() -> bool:
    """Let large arrays reuse the pages of freed ones, in this process; glibc alone can do that.

    The system otherwise hands out each array's pages anew, zeroed, at about 2 GB/s.

    Returns
    -------
    bool
        Whether it is done.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # A heap that large arrays never come from would only cost memory.
    if not any(mallopt(MMAP_THRESHOLD, threshold) == 1 for threshold in THRESHOLDS):
        return False
    return all(mallopt(key, value) == 1 for key, value in HEAP.items())
