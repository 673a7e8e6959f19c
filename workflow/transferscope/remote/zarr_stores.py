"""Zarr stores in an object store, for `zarr.open_group`."""

from __future__ import annotations

from typing import Any

from zarr.storage import FsspecStore

from transferscope.remote.access import located


def zarr_store(url: str) -> Any:
    """Return the store of a URL, which reads each chunk when it is asked for.

    Raises
    ------
    UserError
        Where what the protocol needs is not installed, or the store cannot be reached.
    """
    system, path = located(url, asynchronous=True)
    return FsspecStore(fs=system, path=path, read_only=True)
