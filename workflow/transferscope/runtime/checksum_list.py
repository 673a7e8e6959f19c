"""Lists of sha256 checksums, in the format of `sha256sum`."""

from __future__ import annotations

from collections.abc import Mapping

CHECKSUMS = "SHA256SUMS"


def as_list(sums: Mapping[str, str]) -> bytes:
    """Format a list of checksums, given by file name; the order is kept."""
    return "".join(f"{digest}  {name}\n" for name, digest in sums.items()).encode()


def read_list(content: bytes) -> dict[str, str]:
    """Parse a list into the checksum of each file.

    Examples
    --------
    >>> read_list(b"0a1b  tiles/cells.json")
    {'tiles/cells.json': '0a1b'}
    """
    lines = content.decode(errors="replace").split("\n")
    parts = (line.partition("  ") for line in lines if line)
    return {name: digest for digest, _, name in parts}
