"""Where a file comes from and where it may go: the forms of a URL, and safe destinations."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote, urlsplit
from urllib.request import url2pathname

from transferscope.errors import Problem, UserError

S3_ENDPOINT = "https://{bucket}.s3.amazonaws.com"
REMOTE_SCHEMES = ("http", "https", "s3")


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
        return Path(url2pathname(parts.path))
    if "://" in address:
        mend = "Give an https://, http://, s3:// or file:// URL, or a path."
        raise UserError(Problem(address, f'the scheme "{parts.scheme}" is not supported', mend))
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
    return f"{bucket_url(parts.netloc, s3_endpoint)}/{quote(parts.path.lstrip('/'))}"


def bucket_url(bucket: str, s3_endpoint: str | None = None) -> str:
    """Return the address of a public bucket, without a slash at its end."""
    if s3_endpoint:
        return f"{s3_endpoint.rstrip('/')}/{bucket}"
    return S3_ENDPOINT.format(bucket=bucket)


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
        mend = "The source names files that must not be written: tell those who run it."
        raise UserError(Problem(repr(name), f"not a file name below {folder}", mend))
    return folder.joinpath(*parts)
