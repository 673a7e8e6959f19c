"""The list of the checksums of many files, in the form of `sha256sum`."""

from __future__ import annotations

from collections.abc import Mapping

CHECKSUMS = "SHA256SUMS"


def as_list(sums: Mapping[str, str]) -> bytes:
    """Return the list of some files' sha256 by their names, in the order given."""
    return "".join(f"{digest}  {name}\n" for name, digest in sums.items()).encode()


def read_list(content: bytes) -> dict[str, str]:
    """Return the sha256 of each file by its name.

    Examples
    --------
    >>> read_list(b"0a1b  tiles/cells.json")
    {'tiles/cells.json': '0a1b'}
    """
    lines = content.decode("utf-8", errors="replace").splitlines()
    parts = (line.partition("  ") for line in lines)
    return {name: digest for digest, _, name in parts}
