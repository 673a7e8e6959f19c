"""Small label pages, with names that would do harm on a careless page."""

from pathlib import Path

import numpy as np

from transferscope.labelling.page import EarlierRow, LabelPage, PageTile, page_html
from transferscope.labelling.thumbnails import grey_pictures

CLASSES = ["er", "golgi", "nucleus"]
SCRIPT = "</script><script>window.harm=1</script>"
IMAGE = '"><img src=x onerror=window.harm=1>'
COMMENT = "<!--<script>"
LIMITS = np.array([[0.0, 1000.0], [0.0, 1000.0]])
COLOURS = [(0, 115, 255), (255, 204, 0)]


def tile_of(number: int, size: int = 24) -> np.ndarray:
    """Return a tile [2, size, size]: a disk, and a bar whose place tells the number."""
    y, x = np.mgrid[:size, :size]
    disk = np.hypot(y - size / 2, x - size / 2) < size / 4
    bar = abs(x - 3 * (number + 1)) < 2
    return (np.stack([disk, bar]) * 800).astype(np.uint16)


def label_page(**changes: object) -> LabelPage:
    """Return a page of five tiles in two channels."""
    tiles = [PageTile(f"t{i}", grey_pictures(tile_of(i), LIMITS, 64)) for i in range(5)]
    given = {
        "dataset": "demo",
        "classes": CLASSES,
        "marks": ["skip", "unsure"],
        "multiple": False,
        "channels": ["nucleus", "protein"],
        "colours": COLOURS,
        "tiles": tiles,
        "earlier": [],
    }
    return LabelPage(**{**given, **changes})


def nasty_page() -> LabelPage:
    """Return a page all of whose names are harmful."""
    pictures = grey_pictures(tile_of(0), LIMITS, 64)
    ids = [SCRIPT, IMAGE, COMMENT, '=1+1,"a"', "{{ program }}"]
    return label_page(
        classes=[SCRIPT, IMAGE, COMMENT, 'a,"b"', "{{ data }}", "$&"],
        channels=["nucleus", SCRIPT],
        tiles=[PageTile(tile_id, pictures) for tile_id in ids],
        earlier=[EarlierRow(SCRIPT + "2", IMAGE)],
    )


def write_page(path: Path, page: LabelPage) -> Path:
    """Write a page; return its path."""
    path.write_text(page_html(page), encoding="utf-8")
    return path
