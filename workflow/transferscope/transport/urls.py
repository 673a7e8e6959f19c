"""Where a file comes from, and where it may go: one set of rules for every URL.

Two kinds of URLs are taken. An *address* names one file that is downloaded: http(s)://, s3:// of a
public bucket, file:// or a path. A *URL of an object store* names what is read where it lies, by
fsspec. Plain text, without any library: cards and sample sheets are checked with it.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote, urlsplit

from transferscope.errors import Problem, UserError

AMAZON = "https://{bucket}.s3.amazonaws.com"
# What is downloaded.
REMOTE_SCHEMES = ("http", "https", "s3")
# Object stores, whose fsspec implementations list folders, serve many threads at a time and keep
# nothing on this machine. Left out on purpose: local files, caches, archives, chains of these.
PROTOCOLS = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss")
MARK = "://"
_SHAPE = re.compile(r"[a-z0-9]+://([^/]+)(?:/(.*))?")
_MARKS_OF_QUERIES = "?#*"
# A secret may hold slashes, and more than one of these marks.
_PASSWORD = re.compile(f"{MARK}.*:.*@", re.DOTALL)


def is_remote(address: str) -> bool:
    """Return whether an address needs a network; a path and a file:// URL do not.

    Examples
    --------
    >>> is_remote("s3://bucket/key"), is_remote("file:///data/a.tif"), is_remote("a.tif")
    (True, False, False)
    """
    return urlsplit(address).scheme.lower() in REMOTE_SCHEMES


def local_path(address: str, folder: Path) -> Path:
    """Return the path that a file:// URL or a plain path means.

    Parameters
    ----------
    address
        A file:// URL, or a path.
    folder
        What a relative path is relative to.

    Raises
    ------
    UserError
        Where the address has a scheme that is not supported, or names another machine.
    """
    parts = urlsplit(address)
    if parts.scheme.lower() == "file":
        if parts.netloc not in ("", "localhost"):
            raise UserError(Problem(address, "a file:// URL of another machine", "Mount it first."))
        return Path(unquote(parts.path))
    if "://" in address:
        fix = "Give an https://, http://, s3:// or file:// URL, or a path."
        raise UserError(Problem(address, f'the scheme "{parts.scheme}" is not supported', fix))
    return folder / address


def https_url(address: str, s3_endpoint: str | None = None) -> str:
    """Return the address under which plain HTTP finds a file.

    Parameters
    ----------
    address
        An http(s):// URL, which is returned as it is, or `s3://bucket/key` of a public bucket.
    s3_endpoint
        Server of the bucket, asked for `<endpoint>/<bucket>/<key>`. None: Amazon's, where the
        bucket is part of the host name.

    Examples
    --------
    >>> https_url("s3://czb-opencell/microscopy/a.tif")
    'https://czb-opencell.s3.amazonaws.com/microscopy/a.tif'
    >>> https_url("s3://b/k", "http://localhost:9000")
    'http://localhost:9000/b/k'
    """
    parts = urlsplit(address)
    if parts.scheme.lower() != "s3":
        return address
    bucket = parts.netloc
    server = f"{s3_endpoint.rstrip('/')}/{bucket}" if s3_endpoint else AMAZON.format(bucket=bucket)
    return f"{server}/{quote(parts.path.lstrip('/'))}"


def file_name(url: str) -> str:
    """Return the last part of a URL's path, without its query.

    Examples
    --------
    >>> file_name("https://zenodo.org/records/1/files/weights.pth?download=1")
    'weights.pth'
    """
    return PurePosixPath(unquote(urlsplit(url).path)).name


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file below a folder, by a name that another machine has chosen.

    Parameters
    ----------
    folder
        Where the file has to stay.
    name
        Relative path with forward slashes, such as a key of a bucket.

    Raises
    ------
    UserError
        Where the name would lead out of the folder, or is no plain name.
    """
    parts = PurePosixPath(name).parts
    plain = name.isprintable() and "\\" not in name and ":" not in name
    if not parts or not plain or name.startswith("/") or ".." in parts:
        fix = "The source names files that must not be written: tell those who run it."
        raise UserError(Problem(repr(name), f"not a file name below {folder}", fix))
    return folder.joinpath(*parts)


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
