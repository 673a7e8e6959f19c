"""Zarr stores in an object store, and the codecs that read from anywhere."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import zarr
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.storage import FsspecStore

from transferscope.transport.access import asking, located
from transferscope.transport.urls import joined

PORTABLE_PIPELINE = "zarr.core.codec_pipeline.BatchedCodecPipeline"
_config_lock = threading.Lock()


@contextmanager
def portable_codecs() -> Iterator[None]:
    """Let the arrays that are opened meanwhile be read by Zarr itself, one program at a time.

    The fast pipeline of our own stores reads local files only, and refuses big-endian arrays,
    which OME tools write.
    """
    with _config_lock, zarr.config.set({"codec_pipeline.path": PORTABLE_PIPELINE}):
        yield


class RemoteStore(FsspecStore):
    """A Zarr store in an object store: each chunk is read when it is asked for, or from memory.

    Parameters
    ----------
    url
        Where it is.

    Raises
    ------
    UserError
        Where what the protocol needs is not installed, or the store cannot be reached.
    """

    def __init__(self, url: str) -> None:
        system, path = located(url, asynchronous=True)
        super().__init__(fs=system, path=path, read_only=True)
        self._url = url
        self._held: tuple[str, bytes] = ("", b"")

    def hold(self, key: str) -> None:
        """Read a file whole, to answer from memory what is asked of it until the next one is held.

        A file that is not there is not held.

        Raises
        ------
        UnreachableError
            Where it cannot be asked for.
        """
        url = joined(self._url, key)
        system, path = located(url)
        with asking(url):
            try:
                self._held = (key, system.cat_file(path))
            except FileNotFoundError:
                self._held = ("", b"")

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """Return a file, or a part of it; None: it is not there.

        Raises
        ------
        UnreachableError
            Where it cannot be asked for.
        """
        held, content = self._held
        if key != held:
            with asking(joined(self._url, key)):
                return await super().get(key, prototype, byte_range)
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
