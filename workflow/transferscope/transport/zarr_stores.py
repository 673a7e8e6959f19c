"""Zarr stores in an object store, and the codecs that can read them."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import zarr
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.storage import FsspecStore

from transferscope.transport.access import located, translated_errors
from transferscope.transport.urls import joined

PORTABLE_PIPELINE = "zarr.core.codec_pipeline.BatchedCodecPipeline"
_config_lock = threading.Lock()


@contextmanager
def portable_codecs() -> Iterator[None]:
    """Open arrays with Zarr's own codecs; one thread at a time.

    The fast codecs of our stores read only local files, and refuse big-endian arrays, which OME
    tools write.
    """
    with _config_lock, zarr.config.set({"codec_pipeline.path": PORTABLE_PIPELINE}):
        yield


class RemoteStore(FsspecStore):
    """A read-only Zarr store in an object store, with one file held in memory.

    Parameters
    ----------
    url
        Its URL.

    Raises
    ------
    UserError
        If the library of the protocol is not installed, or the store cannot be reached.
    """

    def __init__(self, url: str) -> None:
        system, path = located(url, asynchronous=True)
        super().__init__(fs=system, path=path, read_only=True)
        self._url = url
        self._held: tuple[str, bytes] = ("", b"")
        self._has_all_chunks = False

    def expect_all_chunks(self) -> None:
        """Raise an error where the file of a chunk is missing, instead of filling in."""
        self._has_all_chunks = True

    def hold(self, key: str) -> bytes:
        """Read a file whole and serve it from memory until the next call; a missing one is empty.

        Raises
        ------
        UnreachableError
            If it cannot be requested.
        """
        url = joined(self._url, key)
        system, path = located(url)
        with translated_errors(url):
            try:
                self._held = (key, system.cat_file(path))
            except FileNotFoundError:
                self._held = ("", b"")
        return self._held[1]

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """Return a file, or a part of it; None if it does not exist.

        Raises
        ------
        UnreachableError
            If it cannot be requested.
        """
        held, content = self._held
        if key != held:
            with translated_errors(joined(self._url, key)):
                found = await super().get(key, prototype, byte_range)
            if found is None and self._has_all_chunks and "/c/" in key:
                raise FileNotFoundError(errno.ENOENT, "the file of a chunk is missing", key)
            return found
        return prototype.buffer.from_bytes(content[_part(byte_range)])


def _part(byte_range: Any) -> slice:
    match byte_range:
        case RangeByteRequest():
            return slice(byte_range.start, byte_range.end)
        case OffsetByteRequest():
            return slice(byte_range.offset, None)
        case SuffixByteRequest():
            return slice(-byte_range.suffix, None)
    return slice(None)
