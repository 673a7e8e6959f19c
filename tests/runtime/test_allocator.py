"""Freed memory is kept where the C library can do that."""

import platform
import subprocess
import sys

import pytest

from transferscope.runtime import allocator

FAULTS = """
import resource, sys
import numpy as np
from transferscope.runtime.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.full(64 << 20, 1, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone can do it")
def test_an_array_reuses_the_pages_of_the_one_before() -> None:
    found = {
        how: int(
            subprocess.run(
                [sys.executable, "-c", FAULTS, how], check=True, capture_output=True, text=True
            ).stdout
        )
        for how in ("plain", "kept")
    }
    assert found["kept"] < 100
    assert found["plain"] > found["kept"]


def test_elsewhere_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _: pytest.fail("a library is opened"))
    assert not allocator.keep_freed_memory()
