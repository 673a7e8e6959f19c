"""Checksums of files: expected ones, from listings or cards, and computed ones."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

MD5_ETAG = re.compile(r'^"?([0-9a-f]{32})"?$')


@dataclass(frozen=True)
class Checksum:
    """A checksum and its algorithm.

    Parameters
    ----------
    algorithm
        Name of the algorithm.
    digest
        Lower-case hexadecimal digits.
    """

    algorithm: Literal["md5", "sha256"]
    digest: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.digest}"

    def of(self, path: Path) -> Checksum:
        """Return the checksum of a file, by the same algorithm."""
        with path.open("rb") as file:
            return Checksum(self.algorithm, hashlib.file_digest(file, self.algorithm).hexdigest())

    @classmethod
    def sha256(cls, digest: str | None) -> Checksum | None:
        """Return a sha256, or None if it is unknown."""
        return cls("sha256", digest.lower()) if digest else None

    @classmethod
    def from_etag(cls, etag: str) -> Checksum | None:
        """Return the md5 in a bucket's ETag, or None if the ETag is no md5.

        The ETag of an S3 object uploaded in one piece is its md5; that of a multipart upload ends
        in the number of parts and is no checksum of the content. (Objects encrypted with a key have
        other ETags, but are not public.)
        """
        found = MD5_ETAG.match(etag)
        return cls("md5", found.group(1)) if found else None
