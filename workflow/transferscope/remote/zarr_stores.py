"""Zarr stores in an object store, and the codecs that read from anywhere."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import zarr
from zarr.storage import FsspecStore

from transferscope.remote.access import located

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


def zarr_store(url: str) -> Any:
    """Return the store of a URL, which reads each chunk when it is asked for.

    Raises
    ------
    UserError
        Where what the protocol needs is not installed, or the store cannot be reached.
    """
    system, path = located(url, asynchronous=True)
    return FsspecStore(fs=system, path=path, read_only=True)
