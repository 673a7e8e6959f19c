"""The sum of each file of a block: recorded while it is written, compared when it is read."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from zarr.storage import LocalStore

from transferscope.runtime.arrays import Values
from transferscope.runtime.atomic_files import remove_durably, replacing

SHA256_BYTES = 32
SIZE_BYTES = 8
# Every data file ends with a checksum of four bytes: of its content, or of the index of its chunks.
END_BYTES = 4
SUM_BYTES = SHA256_BYTES + SIZE_BYTES + END_BYTES


@dataclass(frozen=True)
class FileSum:
    """What a file has to be.

    Parameters
    ----------
    sha256
        Of its bytes.
    size
        Number of bytes.
    end
        Its last four bytes. Together with the size they identify the file at once: the codec
        verifies that the content belongs to them.
    """

    sha256: bytes
    size: int
    end: bytes

    @classmethod
    def of(cls, content: bytes) -> Self:
        """Return the sum of a file's content."""
        return cls(hashlib.sha256(content).digest(), len(content), content[-END_BYTES:])

    @classmethod
    def from_record(cls, record: Values) -> Self:
        """Return the sum that `record` was made from."""
        value = record.tobytes()
        size = int.from_bytes(value[SHA256_BYTES:-END_BYTES], "little")
        return cls(value[:SHA256_BYTES], size, value[-END_BYTES:])

    @property
    def record(self) -> Values:
        """The sum as [SUM_BYTES] uint8."""
        value = self.sha256 + self.size.to_bytes(SIZE_BYTES, "little") + self.end
        return np.frombuffer(value, dtype=np.uint8)

    def fits(self, content: bytes) -> bool:
        """Return whether a file's whole content is what was written."""
        return self == FileSum.of(content)


class SyncedStore(LocalStore):
    """A local Zarr store: each file is written atomically and durably, and summed from memory.

    Parameters
    ----------
    root
        Its folder.
    read_only
        Whether nothing may be written.
    """

    def __init__(self, root: Path | str, *, read_only: bool = False) -> None:
        super().__init__(root, read_only=read_only)
        self._sums: dict[str, FileSum] = {}

    async def set(self, key: str, value: Any) -> None:
        """Write a file."""
        self._check_writable()
        await asyncio.to_thread(self._write, key, value.to_bytes())

    def _write(self, key: str, content: bytes) -> None:
        with replacing(self.root / key) as temporary:
            temporary.write_bytes(content)
        self._sums[key] = FileSum.of(content)

    def written(self, key: str) -> FileSum:
        """Return the sum of a file that was written, once."""
        return self._sums.pop(key)

    def remove(self, key: str) -> None:
        """Remove a file, if it is there."""
        remove_durably(self.root / key)


def sha256_of_rows(values: Values) -> Values:
    """Return the sha256 of each row's values, [N, SHA256_BYTES] uint8."""
    rows = np.ascontiguousarray(values)
    digests = b"".join(hashlib.sha256(row.data).digest() for row in rows)
    return np.frombuffer(digests, dtype=np.uint8).reshape(len(rows), SHA256_BYTES)
