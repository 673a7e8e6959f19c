"""The files of chunks, verified while they are decoded, by several threads, into kept memory.

Zarr reads these files as well (plain `zarr.open` does), but its fast codecs do not verify what they
read a part of, and each read is into fresh memory.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numcodecs import blosc

from transferscope.runtime.arrays import Values
from transferscope.stores.file_sums import END_BYTES, FileSum

# Blosc's own threads wait for each other: each of our threads decodes chunks of its own.
blosc.use_threads = False
# The checksum of any content that ends with its own checksum.
SOUND = int(google_crc32c.value(bytes(4)))
# Of each chunk in a shard's index: offset and length. The index ends with its own checksum.
PLACE_BYTES = 16
MOST_THREADS = 16
# Less is read by the thread that asks for it.
BYTES_PER_THREAD = 1 << 20


class DamagedChunkError(Exception):
    """A chunk that is missing or is not what was written.

    Parameters
    ----------
    row
        Its row, counted from the first that was asked for.
    """

    def __init__(self, row: int) -> None:
        super().__init__(row)
        self.row = row


class Shard:
    """An open file of compressed chunks, one row each, with an index at its end.

    Parameters
    ----------
    handle
        The open file.
    rows
        Rows that it has room for.
    """

    def __init__(self, handle: int, rows: int) -> None:
        self._handle, self._rows = handle, rows
        self._index = os.fstat(handle).st_size - END_BYTES - rows * PLACE_BYTES

    @classmethod
    @contextmanager
    def opened(cls, path: Path, rows: int) -> Iterator[Shard]:
        """Open a file; see the parameters of the class."""
        handle = os.open(path, os.O_RDONLY)
        try:
            yield cls(handle, rows)
        finally:
            os.close(handle)

    def places(self, start: int, stop: int) -> list[list[int]]:
        """Return offset and length of the chunks of rows [start, stop); none if it has no index."""
        if self._index < 0:
            return []
        length = (stop - start) * PLACE_BYTES
        index = os.pread(self._handle, length, self._index + start * PLACE_BYTES)
        places: list[list[int]] = np.frombuffer(index, dtype="<u8").reshape(-1, 2).tolist()
        return places

    def ends(self, rows: int) -> Values:
        """Return the last four bytes of each of the first chunks, their checksums."""
        ends = [
            os.pread(self._handle, END_BYTES, offset + length - END_BYTES)
            for offset, length in self.places(0, rows)
        ]
        return np.frombuffer(b"".join(ends), dtype=np.uint8).reshape(rows, END_BYTES)

    def read(self, start: int, stop: int, ends: Values, out: Values) -> None:
        """Decode the chunks of rows [start, stop).

        Parameters
        ----------
        start, stop
            Rows of the shard.
        ends
            What `ends` returned of these rows when they were written.
        out
            Contiguous array to read into, rows first.

        Raises
        ------
        DamagedChunkError
            If a chunk is not what was written.
        """
        places = self.places(start, stop)
        if len(places) < stop - start:
            raise DamagedChunkError(0)
        expected = ends.tobytes()

        def read(first: int, last: int) -> None:
            for row in range(first, last):
                offset, length = places[row]
                if not 0 < offset + length <= self._index:
                    raise DamagedChunkError(row)
                content = os.pread(self._handle, length, offset)
                end = expected[row * END_BYTES : (row + 1) * END_BYTES]
                if not content.endswith(end) or google_crc32c.value(content) != SOUND:
                    raise DamagedChunkError(row)
                blosc.decompress(content, out[row])

        in_parallel(read, stop - start, out.nbytes)


def plain_chunk(
    content: bytes, expected: FileSum, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> Values:
    """Return the values of an uncompressed chunk.

    Parameters
    ----------
    content
        Of its file.
    expected
        What the file has to be.
    dtype, shape
        Of the values.

    Raises
    ------
    DamagedChunkError
        If it is not what was written.
    """
    is_it = len(content) == expected.size and content.endswith(expected.end)
    if not is_it or google_crc32c.value(content) != SOUND:
        raise DamagedChunkError(0)
    return np.frombuffer(content, dtype=dtype, count=math.prod(shape)).reshape(shape)


def in_parallel(work: Callable[[int, int], None], count: int, n_bytes: int) -> None:
    """Call `work(first, last)` on parts of `range(count)`, by several threads if it is worthwhile.

    Parameters
    ----------
    work
        Called with consecutive parts.
    count
        Number of items.
    n_bytes
        Size of the result.
    """
    n_parts = min(_threads(), count, n_bytes // BYTES_PER_THREAD)
    if n_parts < 2:
        work(0, count)
        return
    cuts = [count * part // n_parts for part in range(n_parts + 1)]
    # Raises the error of the first part that has one.
    for _ in _pool(os.getpid()).map(work, cuts[:-1], cuts[1:]):
        pass


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    """Return the threads of this process; those of its parent are lost in a fork."""
    return ThreadPoolExecutor(_threads(), thread_name_prefix="decoder")


def _threads() -> int:
    """Return how many threads decode: one per core that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(cores or 1, MOST_THREADS)
