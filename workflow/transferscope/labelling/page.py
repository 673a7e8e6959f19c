"""The page on which a person labels tiles: one file that needs nothing but a browser.

Its text, style and program are `page.html`, `page.css` and `page.js` next to this module; the data
are JSON within the page. A content security policy lets run that program alone, and lets the page
load nothing from anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files

from transferscope.runtime.fingerprint import fingerprint

CLASS_KEYS = "123456789abdefghijklmopqrtvwxyABDEFGHIJKLMOPQRTVWXY"
PLACEHOLDER = re.compile(r"\{\{ (\w+) \}\}")


@dataclass(frozen=True)
class PageTile:
    """A tile to label.

    Parameters
    ----------
    id
        Its tile id.
    pictures
        One PNG per channel, as data URIs.
    """

    id: str
    pictures: list[str]


@dataclass(frozen=True)
class EarlierRow:
    """A row of an earlier label table, which the page writes again into what it saves.

    Parameters
    ----------
    tile_id, labels, labeller, time
        Its cells.
    """

    tile_id: str
    labels: str
    labeller: str = ""
    time: str = ""


@dataclass(frozen=True)
class LabelPage:
    """What the page shows.

    Parameters
    ----------
    dataset
        Name of the dataset.
    classes
        What a tile may be labelled.
    marks
        What may replace a label, such as `skip`.
    multiple
        May a tile have several labels?
    channels
        Names of the channels, in the order of each tile's pictures.
    colours
        Of each channel, red, green and blue, 0 to 255; None: it is not in the mixed picture.
    tiles
        What to label.
    earlier
        Rows of tiles that were labelled before.
    """

    dataset: str
    classes: Sequence[str]
    marks: Sequence[str]
    multiple: bool
    channels: Sequence[str]
    colours: Sequence[tuple[int, int, int] | None]
    tiles: Sequence[PageTile]
    earlier: Sequence[EarlierRow] = ()

    def data(self) -> dict[str, object]:
        """Return what the program of the page reads, as plain data."""
        keys = [*CLASS_KEYS, *[""] * len(self.classes)]
        classes = [{"name": n, "key": k} for n, k in zip(self.classes, keys, strict=False)]
        # Names the draft in the browser's storage: other tiles or classes, another draft.
        ids = [tile.id for tile in self.tiles]
        draft = fingerprint([self.dataset, list(self.classes), self.multiple, ids])
        return {**asdict(self), "classes": classes, "draft": draft}


def page_html(page: LabelPage) -> str:
    """Return the whole page.

    Parameters
    ----------
    page
        What it shows. No text of it can end its place in the page: it stands there as JSON without
        angle brackets, or with HTML's special characters escaped.
    """
    style, program = _part("page.css"), _part("page.js")
    data = json.dumps(page.data(), separators=(",", ":"))
    for character in "<>&":
        data = data.replace(character, f"\\u{ord(character):04x}")
    texts = {
        "style": style,
        "style_hash": _source_hash(style),
        "program": program,
        "program_hash": _source_hash(program),
        "dataset": html.escape(page.dataset),
        "data": data,
    }
    # In one pass, so that a text that looks like a placeholder stays what it is.
    return PLACEHOLDER.sub(lambda match: texts[match.group(1)], _part("page.html"))


def _part(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _source_hash(text: str) -> str:
    """Return a source of a content security policy that allows just this inline text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
