"""A digest of plain data, by which results are told apart."""

from __future__ import annotations

import hashlib
import json


def fingerprint(value: object) -> str:
    """Return a sha256 over the canonical JSON of a value, 64 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
