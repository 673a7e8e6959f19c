"""An allocator that keeps its memory: fresh pages cost more than decoding a tile."""

from __future__ import annotations

import ctypes
import platform

# Parameters of glibc's mallopt: memory below 1 GiB comes from the heap, which is not trimmed below
# 2 GiB and grows by 256 MiB.
MMAP_THRESHOLD, TRIM_THRESHOLD, TOP_PAD = -3, -1, -2
SETTINGS = {MMAP_THRESHOLD: 1 << 30, TRIM_THRESHOLD: (1 << 31) - 1, TOP_PAD: 256 << 20}


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
    accepted = [mallopt(key, value) == 1 for key, value in SETTINGS.items()]
    return all(accepted)
