"""Rules for all URLs: which are accepted, and where downloads may be written.

There are two kinds. An *address* names one file to download: http(s)://, s3:// of a public bucket,
file:// or a path. A *URL of an object store* names data that fsspec reads in place. This module
imports no library, because cards and sample sheets are checked with it.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote, urlsplit

from transferscope.errors import masked, secret_parameter, user_error

AMAZON = "https://{bucket}.s3.amazonaws.com"
# Schemes of addresses that are downloaded.
REMOTE_SCHEMES = ("http", "https", "s3")
# Object stores whose fsspec implementations list folders, are thread-safe and cache nothing
# locally. Excluded on purpose: local files, caches, archives, and chained protocols.
PROTOCOLS = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss")
MARK = "://"
_SHAPE = re.compile(r"[a-z0-9]+://([^/]+)(?:/(.*))?")
_MARKS_OF_QUERIES = "?#*"
# A secret may contain slashes, and several of these characters.
_PASSWORD = re.compile(f"{MARK}.*:.*@", re.DOTALL)
_HOST_AND_PORT = re.compile(rf"{MARK}[^/?#@:]+:\d+[/?#][^:]*$")


def is_remote(address: str) -> bool:
    """Return whether an address needs a network; paths and file:// URLs do not.

    Examples
    --------
    >>> is_remote("s3://bucket/key"), is_remote("file:///data/a.tif"), is_remote("a.tif")
    (True, False, False)
    """
    return urlsplit(address).scheme.lower() in REMOTE_SCHEMES


def local_path(address: str, folder: Path) -> Path:
    """Return the path of a file:// URL or a plain path.

    Parameters
    ----------
    address
        A file:// URL, or a path.
    folder
        Base of relative paths.

    Raises
    ------
    UserError
        If the scheme is not supported, or the URL names another machine.
    """
    parts = urlsplit(address)
    if parts.scheme.lower() == "file":
        if parts.netloc not in ("", "localhost"):
            raise user_error(address, "a file:// URL of another machine", "Mount it first.")
        return Path(unquote(parts.path))
    if is_url(address):
        fix = "Give an https://, http://, s3:// or file:// URL, or a path."
        raise user_error(address, f'the scheme "{parts.scheme}" is not supported', fix)
    return folder / address


def https_url(address: str, s3_endpoint: str | None = None) -> str:
    """Return the http(s):// address of a file.

    Parameters
    ----------
    address
        An http(s):// URL, which is returned unchanged, or `s3://bucket/key` of a public bucket.
    s3_endpoint
        Server of the bucket, for `<endpoint>/<bucket>/<key>`. None: Amazon's, with the bucket in
        the host name.

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
    """Return the path of a file below a folder, from an untrusted name.

    Parameters
    ----------
    folder
        Folder that must contain the file.
    name
        Relative path with forward slashes, such as a key of a bucket.

    Raises
    ------
    UserError
        If the name leads out of the folder, or is not a plain name.
    """
    parts = PurePosixPath(name).parts
    plain = name.isprintable() and "\\" not in name and ":" not in name
    if not parts or not plain or name.startswith("/") or ".." in parts:
        fix = "The source lists an unsafe file name: report it to its maintainers."
        raise user_error(repr(name), f"not a file name below {folder}", fix)
    return folder.joinpath(*parts)


def is_url(text: str) -> bool:
    """Return whether a text is a URL, valid or not, and not a local path.

    Examples
    --------
    >>> is_url("s3://bucket/field.tif"), is_url("plate/field.tif")
    (True, False)
    """
    return MARK in text


def fault_of(url: str) -> str | None:
    """Return why a URL is not allowed; None if it names data in an object store.

    Examples
    --------
    >>> fault_of("s3://bucket/plate/field.tif")
    >>> fault_of("s3://bucket/plate/../field.tif")
    'holds an empty part, "." or ".."'
    """
    if fault := secret_in(url):
        return fault
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
    """Return a text with the passwords of its URLs masked, for printing.

    Examples
    --------
    >>> without_password("s3://key:secret@bucket/field.tif")
    's3://***@bucket/field.tif'
    """
    return masked(_PASSWORD.sub(f"{MARK}***@", text))


def secret_in(url: str) -> str | None:
    """Return which secret a URL of any kind holds; None if it holds none.

    Whoever reads a card, an archive or a log would have it.

    Examples
    --------
    >>> secret_in("https://host/a.pth?download=1")
    >>> secret_in("https://host/a.pth?X-Amz-Signature=12ab")
    'holds a secret (X-Amz-Signature), which belongs in the environment'
    """
    if _PASSWORD.search(url) and not _HOST_AND_PORT.search(url):
        return 'may hold a password (":" before "@"), which belongs in the environment'
    parts = re.split(r"[/?#]", url.partition(MARK)[2], maxsplit=1)
    protocol = url.partition(MARK)[0].lower()
    if "@" in unquote(parts[0]) and protocol not in ("abfs", "abfss"):
        return 'holds a user or a token (before "@"), which belongs in the environment'
    if name := secret_parameter(url):
        return f"holds a secret ({name}), which belongs in the environment"
    return None


def checked_url(url: str) -> str:
    """Return an allowed URL without a trailing slash.

    Raises
    ------
    ValueError
        If it is not allowed.
    """
    if fault := fault_of(url):
        raise ValueError(f"the URL {fault}")
    return url.removesuffix("/")


def joined(folder: str, name: str) -> str:
    """Return the URL of a file in a folder."""
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
