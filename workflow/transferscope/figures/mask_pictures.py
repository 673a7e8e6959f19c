"""Predicted masks as outlines over their images, next to the true ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from transferscope.cards import DatasetCard
from transferscope.compare.wording import number
from transferscope.figures.style import annotate, label_of, legend_key, new_grid, save, style
from transferscope.segmentation.pictures import Picture
from transferscope.stores.tile_store import TileStore
from transferscope.tiles.contact_sheets import composite, display_limits

TRUE, PREDICTED, BOTH = "#56B4E9", "#E69F00", "#009E73"
NAMES = {"true": TRUE, "predicted": PREDICTED, "both": BOTH}
DPI = 150


def draw_pictures(
    pictures: Sequence[Picture], tiles: Path, card: DatasetCard, backbone: str, output: Path
) -> None:
    """Draw the pictures of each decoder (rows): best, median and worst.

    Parameters
    ----------
    pictures
        Three per decoder.
    tiles, card
        Manifest of the tile store, and the dataset.
    backbone
        Its name.
    output
        File to write, `.svg` or `.png`.
    """
    store = TileStore(tiles)
    limits, channels = display_limits(store, card), list(store.channels)
    heads = list(dict.fromkeys(picture.head for picture in pictures))
    with style():
        figure, grid = new_grid(9.0, 1.4 + 3.1 * len(heads), max(1, len(heads)), 3)
        for axes in grid.flat:
            axes.set_axis_off()
        for picture, axes in zip(pictures, grid.flat, strict=False):
            [tile] = store.read(picture.row, picture.row + 1)
            image = np.clip(composite(tile, limits, channels), 0, 1)
            for where, colour in (
                (picture.true, TRUE),
                (picture.predicted, PREDICTED),
                (picture.true & picture.predicted, BOTH),
            ):
                image[where] = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
            axes.imshow(image, interpolation="nearest")
            title = f"{picture.head}, {picture.which}: Dice {number(picture.dice)}"
            axes.set_title(f"{title}\n{label_of(picture.tile_id, 30, 1)}")
        handles = [legend_key(name, color=colour) for name, colour in NAMES.items()]
        figure.legend(handles=handles, loc="upper right", ncols=3)
        annotate(
            figure,
            f"Masks of {card.name} predicted from {backbone}",
            "The test tiles with the highest, the median and the lowest Dice coefficient, of all "
            "folds of the first seed, with all training labels. Outlines: one pixel within the "
            "objects.",
        )
        save(figure, [output], DPI)
