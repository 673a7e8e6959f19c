"""The patterns of texts in configs and cards, in words: nobody is shown a regular expression."""

from __future__ import annotations

import re

_HEX = "64 hexadecimal digits, as `sha256sum` prints them"
_MODES = "last-1, last-2 and so on"
IN_WORDS = {
    r"^[A-Za-z0-9][A-Za-z0-9._-]*$": (
        "letters, digits, dots, hyphens and underscores, with a letter or digit first"
    ),
    r"^[a-z0-9][a-z0-9._-]*$": (
        "small letters, digits, dots, hyphens and underscores, with a letter or digit first"
    ),
    r"^[a-z0-9][a-z0-9_-]*$": (
        "small letters, digits, hyphens and underscores, with a letter or digit first"
    ),
    r"^[^;]*$": "any text without a semicolon, which separates labels",
    r"^[^\x00-\x1f\x7f]+$": "text in one line, without control characters",
    r"^[^\x00-\x1f\x7f;]+$": "text in one line, without a semicolon, which separates labels",
    r"^[0-9a-f]{64}$": _HEX,
    r"^[0-9a-fA-F]{64}$": _HEX,
    r"^https?://": "an address that begins with https:// or http://",
    r"^[\w.-]+/[\w.-]+$": "a repository as owner/name",
    r"^[A-Za-z_]\w*$": "the name by which Python imports a package",
    r"^(full|lora|head|last-([1-9]\d*))$": f"full, lora, head, {_MODES}",
    r"^(full|lora|last-[1-9]\d*)$": f"full, lora, {_MODES}",
}


def near_text(text: str, pattern: str) -> str | None:
    """Return a text that is written as a pattern asks, and near to another; None: not known.

    Examples
    --------
    >>> near_text("My screen (2)", r"^[a-z0-9][a-z0-9_-]*$")
    'my-screen-2'
    """
    for cased in (text, text.lower()):
        found = re.sub(r"[^A-Za-z0-9._-]+", "-", cased.strip()).strip("-._")
        if found and re.search(pattern, found):
            return found
    return None
