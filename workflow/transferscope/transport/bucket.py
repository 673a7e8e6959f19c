"""The listing of a public S3 bucket over plain HTTP, and its saved copy."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit
from xml.etree import ElementTree

from transferscope.runtime.atomic_files import write_atomically
from transferscope.runtime.json_text import parse_json
from transferscope.transport.checksums import Checksum
from transferscope.transport.download import Download, DownloadError, download
from transferscope.transport.patience import Patience
from transferscope.transport.urls import https_url

LISTING = "listing.json"


@dataclass(frozen=True)
class BucketFile:
    """A file of a bucket.

    Parameters
    ----------
    name
        Its key, without the prefix that was listed.
    url
        Its http(s):// address.
    size
        Its length in bytes.
    etag
        Its ETag; see `Checksum.from_etag`.
    """

    name: str
    url: str
    size: int
    etag: str

    def download_to(self, path: Path) -> Download:
        """Return the download of this file to a path, with its size and checksum."""
        return Download(self.url, path, self.size, Checksum.from_etag(self.etag))


def saved_listing(url: str, folder: Path) -> list[BucketFile] | None:
    """Return the listing of a bucket saved in a folder by an earlier run, or None."""
    try:
        saved = parse_json((folder / LISTING).read_text(encoding="utf-8"))
        if saved["url"] != url:
            return None
        return [BucketFile(**entry) for entry in saved["files"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def list_bucket(
    url: str, folder: Path, s3_endpoint: str | None = None, patience: Patience | None = None
) -> list[BucketFile]:
    """List the files of a public bucket below a prefix; the listing is saved and reused.

    Parameters
    ----------
    url
        `s3://bucket/prefix/`, or the https:// address of a bucket with the prefix as its path.
    folder
        Where the listing is saved; delete `listing.json` there to list the bucket again.
    s3_endpoint
        Server of an s3:// address; None: Amazon's.
    patience
        Retries and timeouts.

    Raises
    ------
    DownloadError
        If the bucket cannot be reached or the answer is not a listing.
    """
    saved = saved_listing(url, folder)
    if saved is not None:
        return saved
    parts = urlsplit(url)
    root = https_url(f"{parts.scheme}://{parts.netloc}", s3_endpoint).rstrip("/")
    prefix = parts.path.lstrip("/")
    files: list[BucketFile] = []
    query = {"list-type": "2", "prefix": prefix}
    while True:
        page = f"{root}/?{urlencode(query)}"
        found, token = _parse(page, _get(page, folder, patience), root, prefix)
        files += found
        if not token:
            break
        query["continuation-token"] = token
    if not files:
        raise DownloadError(url, "the bucket holds nothing there")
    saved_as = {"url": url, "files": [asdict(file) for file in files]}
    write_atomically(folder / LISTING, json.dumps(saved_as, indent=0) + "\n")
    return files


def _get(page: str, folder: Path, patience: Patience | None) -> bytes:
    """Return one page of the listing, with the same retries as for files."""
    path = folder / ".listing.xml"
    download(Download(page, path), patience)
    body = path.read_bytes()
    path.unlink()
    return body


def _parse(page: str, body: bytes, root: str, prefix: str) -> tuple[list[BucketFile], str]:
    """Return the files of a page, and the token of the next page; empty on the last page."""
    try:
        # Entities make untrusted XML dangerous. A listing declares none, so a document type is
        # refused; this parser never fetches external entities.
        if b"<!DOCTYPE" in body:
            raise ValueError("declares a document type")
        listing = ElementTree.fromstring(body)
        if not listing.tag.endswith("ListBucketResult"):
            raise ValueError(listing.tag)
        found = [_as_file(entry, root, prefix) for entry in listing.iterfind("{*}Contents")]
    except (ElementTree.ParseError, ValueError) as error:
        raise DownloadError(page, f"the answer is no listing of a bucket: {error}") from None
    files = [file for file in found if not file.url.endswith("/")]
    return files, listing.findtext("{*}NextContinuationToken", "")


def _as_file(entry: ElementTree.Element, root: str, prefix: str) -> BucketFile:
    key, size, etag = (entry.findtext(f"{{*}}{name}", "") for name in ("Key", "Size", "ETag"))
    return BucketFile(key.removeprefix(prefix), f"{root}/{quote(key)}", int(size), etag)
