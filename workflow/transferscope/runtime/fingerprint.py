"""A digest of plain data, which identifies settings and inputs."""

from __future__ import annotations

import hashlib
import json


def fingerprint(value: object) -> str:
    """Return the sha256 of the canonical JSON of a value, 64 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
