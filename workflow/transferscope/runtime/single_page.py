"""HTML pages that are a single file: text, style, program and data, and nothing from elsewhere.

The text is `page.html` of a package, with the placeholders `{{ style }}`, `{{ program }}`,
`{{ data }}` and those that the package fills itself; style and program are its `page.css` and
`page.js`. `{{ style_hash }}` and `{{ program_hash }}` are for a content security policy that allows
only these.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

PLACEHOLDER = re.compile(r"\{\{ (\w+) \}\}")


def single_page(
    package: str, data: Any, markup: Mapping[str, str], programs: Sequence[str] = ("page.js",)
) -> str:
    """Return the whole page.

    Parameters
    ----------
    package
        The package that has the parts.
    data
        What the program reads, as JSON; no text in it can break the markup.
    markup
        HTML of the other placeholders, in which texts are escaped.
    programs
        Files of the program, in order.
    """
    style = part(package, "page.css")
    program = "".join(part(package, name) for name in programs)
    texts = {
        **markup,
        "style": style,
        "style_hash": _source_hash(style),
        "program": program,
        "program_hash": _source_hash(program),
        "data": _inert(json.dumps(data, separators=(",", ":"))),
    }
    # In one pass, so that a text that looks like a placeholder is not replaced.
    return PLACEHOLDER.sub(lambda match: texts[match.group(1)], part(package, "page.html"))


def part(package: str, name: str) -> str:
    """Return the text of a file of a package."""
    return files(package).joinpath(name).read_text(encoding="utf-8")


def _inert(text: str) -> str:
    """Write the characters of markup in JSON as escapes."""
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _source_hash(text: str) -> str:
    """Return the source of a content security policy that allows only this inline text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
