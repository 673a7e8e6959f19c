"""The HTML page for labelling tiles: a single file that needs only a browser.

Its text, style and program are `page.html`, `page.css` and `page.js` next to this module; the data
are JSON within the page. A content security policy allows only that program, and no loading of
other resources.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from transferscope.runtime.fingerprint import fingerprint
from transferscope.runtime.single_page import single_page

CLASS_KEYS = "123456789abdefghijklmopqrtvwxyABDEFGHIJKLMOPQRTVWXY"


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
    """A row of an earlier label table, which is included in the table that the page saves.

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
    """The content of the page.

    Parameters
    ----------
    dataset
        Name of the dataset.
    classes
        Classes to choose from.
    marks
        Entries that mean no label, such as `skip`.
    multiple
        Whether a tile can have several labels.
    channels
        Names of the channels, in the order of each tile's pictures.
    colours
        Red, green and blue of each channel, 0 to 255; None: not in the merged image.
    tiles
        Tiles to label.
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
        """Return the data for the program of the page."""
        keys = [*CLASS_KEYS, *[""] * len(self.classes)]
        classes = [{"name": n, "key": k} for n, k in zip(self.classes, keys, strict=False)]
        # Key of the draft in the browser's storage: one draft per set of tiles and classes.
        ids = [tile.id for tile in self.tiles]
        draft = fingerprint([self.dataset, list(self.classes), self.multiple, ids])
        return {**asdict(self), "classes": classes, "draft": draft}


def page_html(page: LabelPage) -> str:
    """Return the whole page.

    Parameters
    ----------
    page
        Its content. Texts cannot break the markup: they are inserted as JSON without angle
        brackets, or with HTML's special characters escaped.
    """
    return single_page(__package__, page.data(), {"dataset": html.escape(page.dataset)})
