"""A file or folder in an object store, with the part of `pathlib.Path` that image readers need.

Headers are read in blocks; files to decode are read into memory, whole and once. Nothing is written
to the local disk.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from transferscope.errors import Problem, UnreachableError
from transferscope.transport.access import located, translated_errors

# Most headers fit into one block; latency costs more than these bytes.
BLOCK_BYTES = 64 << 10


@dataclass(frozen=True)
class RemoteFile:
    """A file in an object store, or a folder.

    Parameters
    ----------
    url
        Its URL.
    size
        Its size in bytes, as listed by the store.
    is_folder
        Whether it is a folder, such as an OME-Zarr.
    content
        Its bytes, once they have been read.
    blocks
        Blocks that have been read, by number, if they are kept.
    """

    url: str
    size: int
    is_folder: bool = False
    content: bytes | None = field(default=None, repr=False)
    blocks: dict[int, bytes] | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return self.url

    def is_dir(self) -> bool:
        """Return whether it is a folder."""
        return self.is_folder

    def open(self, mode: str = "rb") -> BinaryIO:
        """Open it for random access.

        Raises
        ------
        UserError
            If it cannot be read.
        """
        if self.content is not None:
            return io.BytesIO(self.content)
        return io.BufferedReader(_Blocks(self.url, self.size, self.blocks))

    def read_bytes(self) -> bytes:
        """Return its content.

        Raises
        ------
        UserError
            If it cannot be read.
        """
        if self.content is not None:
            return self.content
        system, path = located(self.url)
        with translated_errors(self.url):
            return bytes(system.cat_file(path))


# Where raw images are read from.
RawFile = Path | RemoteFile


def size_of(file: RawFile) -> int:
    """Return the size of a file in bytes."""
    return file.stat().st_size if isinstance(file, Path) else file.size


def in_memory(file: RawFile) -> RawFile:
    """Return a file of an object store with its content; local files and folders unchanged.

    Raises
    ------
    UserError
        If it cannot be read.
    """
    if isinstance(file, Path) or file.is_folder or file.content is not None:
        return file
    content = file.read_bytes()
    if len(content) != file.size:
        what = f"{len(content):,} bytes arrived of a file of {file.size:,}"
        raise UnreachableError(Problem(str(file), what, "Repeat the command."))
    return replace(file, content=content, size=len(content))


def keeping_blocks(file: RawFile) -> RawFile:
    """Return a file of an object store that keeps the blocks it reads; local files unchanged."""
    return file if isinstance(file, Path) else replace(file, blocks={})


class _Blocks(io.RawIOBase):
    """Reads a file in an object store by blocks, on demand."""

    def __init__(self, url: str, size: int, blocks: dict[int, bytes] | None) -> None:
        self._url, self._size, self._at = url, size, 0
        self._blocks = {} if blocks is None else blocks
        self._system, self._path = located(url)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        if self._at >= self._size:
            return 0
        number, within = divmod(self._at, BLOCK_BYTES)
        if number not in self._blocks:
            start = number * BLOCK_BYTES
            with translated_errors(self._url):
                end = min(start + BLOCK_BYTES, self._size)
                self._blocks[number] = self._system.cat_file(self._path, start=start, end=end)
        found = self._blocks[number][within : within + len(buffer)]
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)
