"""Connections to object stores: timeouts, retries, and errors that a user can act on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from transferscope.errors import Problem, UnreachableError, UserError, first_line, user_error
from transferscope.runtime.shipped import install_hint
from transferscope.transport.urls import fault_of, is_url, without_password

# botocore retries a busy server with increasing waits. It gives up on a silent server after four
# minutes, and on an unreachable one after about a minute.
S3_OPTIONS = {
    "config_kwargs": {
        "connect_timeout": 5,
        "read_timeout": 15,
        "retries": {"total_max_attempts": 3, "mode": "standard"},
    }
}
OPTIONS: dict[str, dict[str, Any]] = {"s3": S3_OPTIONS, "s3a": S3_OPTIONS}
# Concurrent requests: they wait for the network and use no CPU.
REQUESTS = 32
CREDENTIALS = (
    "Give credentials as for the AWS command line (AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY; for a public bucket FSSPEC_S3_ANON=true), and the server, if it is not "
    "Amazon's, as AWS_ENDPOINT_URL."
)
PUBLISH_AGAIN = "Publish it again: `transferscope publish`, where the study is."
ANYWHERE = "Give a folder by its plain path, or a place in an object store: s3://bucket/path."
INSTALL = install_hint("remote")


class SilentServerError(UnreachableError):
    """The server of an object store does not answer."""


def located(url: str, *, asynchronous: bool = False) -> tuple[Any, str]:
    """Return the fsspec file system of an allowed URL, and the path in it.

    File systems are shared by all threads.

    Parameters
    ----------
    url
        A URL in which `urls.fault_of` finds no fault.
    asynchronous
        Whether the caller runs its own event loop, as Zarr does.

    Raises
    ------
    UserError
        If the library of the protocol is not installed, or the store cannot be reached.
    """
    protocol, _, path = url.partition("://")
    with translated_errors(url):
        system = _system(protocol, path.partition("/")[0], asynchronous)
        return system, system._strip_protocol(url)


@cache
def _system(protocol: str, bucket: str, asynchronous: bool) -> Any:
    """Return one file system for all threads: fsspec would create one per thread, slowly."""
    import fsspec

    own = {"asynchronous": asynchronous, "skip_instance_cache": True}
    options = {**OPTIONS.get(protocol, {}), **own}
    return fsspec.url_to_fs(f"{protocol}://{bucket}", **options)[0]


# Connections do not survive a fork.
os.register_at_fork(after_in_child=_system.cache_clear)


def located_anywhere(place: str) -> tuple[Any, str]:
    """Return the fsspec file system of a URL or folder given by the user, and the path in it.

    Raises
    ------
    UserError
        If the URL is not allowed, or the library of its protocol is not installed.
    """
    import fsspec

    fault = fault_of(place) if is_url(place) or "::" in place else None
    if fault is not None:
        raise user_error(without_password(place), fault, ANYWHERE)
    if is_url(place):
        system, path = located(place)
    else:
        system, path = fsspec.url_to_fs(place, auto_mkdir=True)
    return system, path.rstrip("/")


@contextmanager
def translated_errors(url: str) -> Iterator[None]:
    """Raise errors of a protocol's library as errors that name the URL.

    Raises
    ------
    UnreachableError
        If it is unknown whether the file exists.
    UserError
        If it does not exist.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # each protocol's library raises its own types
        raise _meaning(url, error) from None


def _meaning(url: str, error: Exception) -> UserError:
    """Describe an error of an object store and its fix."""
    name, reason = type(error).__name__, first_line(error)
    if not is_url(url):
        return UnreachableError(Problem(url, f"cannot be used ({reason})", "Check the folder."))
    protocol = url.partition(":")[0]
    if isinstance(error, ImportError):
        fix = INSTALL if protocol in OPTIONS else reason
        return UnreachableError(Problem(url, f"what reads {protocol}:// is not installed", fix))
    if isinstance(error, FileNotFoundError):
        found = f" ({reason})" if "bucket" in reason.lower() else ""
        return user_error(url, f"does not exist{found}", "Check bucket and path.")
    if isinstance(error, PermissionError) or "Credentials" in name:
        return UnreachableError(Problem(url, f"access is denied ({reason})", CREDENTIALS))
    if isinstance(error, TimeoutError) or "Timeout" in name or "Connect" in name:
        what = f"the server does not answer ({reason})"
        return SilentServerError(Problem(url, what, CREDENTIALS))
    what = f"the object store failed ({name}: {reason})"
    return UnreachableError(Problem(url, what, "Repeat the command."))
