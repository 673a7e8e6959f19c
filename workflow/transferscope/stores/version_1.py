"""Stores of version 1: each block has the sha256 of its values, and its files have no sums."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from transferscope.runtime.arrays import Values
from transferscope.stores.file_sums import sha256_of_rows
from transferscope.stores.manifest import Manifest


class BlockSums:
    """The sums of the blocks of a finished store.

    Parameters
    ----------
    group
        The store.
    """

    def __init__(self, group: Any) -> None:
        self._digests: Values = group["digest"][:]
        self.blocks = len(self._digests)

    def agree_with(self, manifest: Manifest) -> bool:
        """Return whether these are the sums that a manifest vouches for."""
        return hashlib.sha256(self._digests.tobytes()).hexdigest() == manifest.content_sha256

    def fit(self, block: int, values: Values) -> bool:
        """Return whether the values of a block are what was written."""
        return sha256_of(values) == bytes(self._digests[block])


class TileSums:
    """The sha256 of each tile, which version 1 has not recorded; taken while tiles are read.

    Parameters
    ----------
    read
        Returns tiles [start, stop).
    """

    def __init__(self, read: Callable[[int, int], Values]) -> None:
        self._read = read
        self._found: dict[int, bytes] = {}

    def note(self, start: int, values: Values) -> None:
        """Take the sums of tiles that have been read, from row `start` on."""
        rows = sha256_of_rows(values)
        self._found |= {start + row: digest.tobytes() for row, digest in enumerate(rows)}

    def of(self, start: int, stop: int) -> Values:
        """Return the sums of tiles [start, stop), [N, 32] uint8; what was not read is read now."""
        for row in range(start, stop):
            if row not in self._found:
                self.note(row, self._read(row, row + 1))
        joined = b"".join(self._found[row] for row in range(start, stop))
        return np.frombuffer(joined, dtype=np.uint8).reshape(stop - start, -1)


def sha256_of(values: Values) -> bytes:
    """Return the sha256 of an array's values."""
    return hashlib.sha256(np.ascontiguousarray(values).data).digest()
