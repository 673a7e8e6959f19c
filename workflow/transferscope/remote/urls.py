"""Which URLs name a place in an object store, and whether one lies below another.

Plain text, without any library: dataset cards and sample sheets are checked with it.
"""

from __future__ import annotations

import re

# Object stores, whose fsspec implementations list folders, serve many threads at a time and keep
# nothing on this machine. Left out on purpose: local files, caches, archives, chains of these.
PROTOCOLS = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss")
MARK = "://"
_SHAPE = re.compile(r"[a-z0-9]+://([^/]+)(?:/(.*))?")
_MARKS_OF_QUERIES = "?#*"
# A secret may hold slashes, and more than one of these marks.
_PASSWORD = re.compile(f"{MARK}.*:.*@", re.DOTALL)


def is_url(text: str) -> bool:
    """Return whether a text means a URL, be it a good one, and not a path of this machine.

    Examples
    --------
    >>> is_url("s3://bucket/field.tif"), is_url("plate/field.tif")
    (True, False)
    """
    return MARK in text


def fault_of(url: str) -> str | None:
    """Return what forbids a URL; None: it names a place in an object store.

    Examples
    --------
    >>> fault_of("s3://bucket/plate/field.tif")
    >>> fault_of("s3://bucket/plate/../field.tif")
    'holds an empty part, "." or ".."'
    """
    if _PASSWORD.search(url):
        return 'may hold a password (":" before "@"), which belongs into the environment'
    if "::" in url:
        return "chains protocols with ::"
    protocol = url.partition(MARK)[0]
    if protocol not in PROTOCOLS:
        return f"has the protocol {protocol}, not one of {', '.join(PROTOCOLS)}"
    matched = _SHAPE.fullmatch(url)
    if matched is None or not url.isprintable():
        return "is no URL of the form protocol://bucket/path"
    bucket, path = matched.groups(default="")
    parts = path.removesuffix("/").split("/") if path else []
    if any(part in ("", ".", "..") for part in (bucket, *parts)):
        return 'holds an empty part, "." or ".."'
    if any(mark in path for mark in _MARKS_OF_QUERIES):
        return f"holds one of {' '.join(_MARKS_OF_QUERIES)}"
    return None


def without_password(text: str) -> str:
    """Return a text that may hold URLs as it may be printed.

    Examples
    --------
    >>> without_password("s3://key:secret@bucket/field.tif")
    's3://***@bucket/field.tif'
    """
    return _PASSWORD.sub(f"{MARK}***@", text)


def checked_url(url: str) -> str:
    """Return a URL without a slash at its end.

    Raises
    ------
    ValueError
        Where it is not allowed.
    """
    if fault := fault_of(url):
        raise ValueError(f"the URL {fault}")
    return url.removesuffix("/")


def joined(folder: str, name: str) -> str:
    """Return the URL of what lies in a folder."""
    return f"{folder.removesuffix('/')}/{name}"


def is_below(url: str, folder: str) -> bool:
    """Return whether an allowed URL lies below another.

    Examples
    --------
    >>> is_below("s3://bucket/plate1/a.tif", "s3://bucket/plate1")
    True
    >>> is_below("s3://bucket/plate10/a.tif", "s3://bucket/plate1")
    False
    """
    return url.startswith(f"{folder.removesuffix('/')}/")
