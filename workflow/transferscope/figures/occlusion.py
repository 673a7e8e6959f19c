"""Maps over tiles: what a trained head loses where a patch covers them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from transferscope.cards import DatasetCard
from transferscope.compare.tables import Head, Store, matching
from transferscope.compare.wording import percent
from transferscope.config.results import FigureSettings
from transferscope.figures.gallery import colours_in_words, show_tile
from transferscope.figures.style import (
    BLACK,
    annotate,
    check_outputs,
    label_of,
    new_grid,
    note_that_nothing_is_shown,
    save,
    style,
)
from transferscope.runtime.arrays import Floats
from transferscope.stores.parquet import read_parquet
from transferscope.stores.tile_store import TileStore
from transferscope.tiles.contact_sheets import (
    add_scale_bar,
    display_limits,
    scaled_to,
)

TILE_INCHES = 1.55
# Gain, nothing, loss: blue and vermilion, between which the picture shows through.
GAIN, LOSS, MOST_OPAQUE = (0.0, 0.447, 0.698), (0.835, 0.369, 0.0), 0.8
COLOURS = LinearSegmentedColormap.from_list(
    "loss",
    [
        (0.0, (*GAIN, MOST_OPAQUE)),
        (0.5, (*GAIN, 0.0)),
        (0.5, (*LOSS, 0.0)),
        (1.0, (*LOSS, MOST_OPAQUE)),
    ],
)
NEEDS = ("row", "class", "found", "probability", "channel", "y", "x", "loss")


def draw_occlusion(
    table: Path, tiles: Path, card: DatasetCard, settings: FigureSettings, outputs: Sequence[Path]
) -> None:
    """Draw each tile next to its maps: of all channels covered at once, and of each alone.

    Parameters
    ----------
    table
        What `occlude` has written.
    tiles, card
        Manifest of the tile store, and the dataset.
    settings
        Resolution.
    outputs
        Files to write, `.svg` or `.png`.

    Raises
    ------
    UserError
        Where table or store cannot be read, or a format is not known.
    """
    check_outputs(outputs)
    losses = read_parquet(table, NEEDS)
    with style():
        if losses.empty:
            text = "No test tile of a class was found by the head: there is nothing to cover."
            figure = note_that_nothing_is_shown(text)
        else:
            figure = _draw(losses, TileStore(tiles), card)
        save(figure, outputs, settings.dpi)


def mean_loss(losses: pd.DataFrame, size: Sequence[int], side: int) -> Floats:
    """Return the mean loss of the patches that cover each pixel, [H, W].

    Parameters
    ----------
    losses
        Columns `y`, `x` and `loss` of one map.
    size
        Height and width of the tile in px.
    side
        Of the patch, in px.
    """
    total, count = np.zeros((2, *size))
    for y, x, loss in zip(losses["y"], losses["x"], losses["loss"], strict=True):
        own = slice(y, y + side), slice(x, x + side)
        total[own] += loss
        count[own] += 1
    return np.asarray(total / count)


def _draw(losses: pd.DataFrame, store: TileStore, card: DatasetCard) -> Figure:
    said, limits = losses.attrs, display_limits(store, card)
    shown = list(losses.groupby(["row", "class"], sort=False))
    channels = list(dict.fromkeys(losses["channel"]))
    figure, grid = new_grid(
        2.6 + TILE_INCHES * (1 + len(channels)),
        1.8 + TILE_INCHES * len(shown),
        len(shown),
        1 + len(channels),
        gridspec_kw={"wspace": 0.02, "hspace": 0.04},
    )
    for axes, ((_, name), own) in zip(grid, shown, strict=True):
        row = int(own["row"].iloc[0])
        show_tile(axes[0], store, limits, row)
        axes[0].set_ylabel(
            _row_label(str(name), own), rotation=0, ha="right", va="center", fontsize=8, color=BLACK
        )
        scaled = scaled_to(limits, store.read(row, row + 1)[0])
        maps = {c: matching(own, channel=c) for c in channels}
        values = {c: mean_loss(one, store.tile_size, said["side"]) for c, one in maps.items()}
        largest = max(float(np.abs(one).max()) for one in values.values()) or 1.0
        for cell, channel in zip(axes[1:], channels, strict=True):
            grey = scaled[store.channels.index(channel)] if channel else scaled.max(axis=0)
            _panel(cell, grey, values[channel] / largest, maps[channel], said["side"])
    if pixel_size := store.attributes.get("pixel_size_um"):
        add_scale_bar(grid[0, 0], float(pixel_size), store)
    titles = ["Tile", *(label_of(f"{c} covered" if c else "all covered", 20, 1) for c in channels)]
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=8.5, fontweight="bold")
    bar = figure.colorbar(
        ScalarMappable(Normalize(-1, 1), COLOURS),
        ax=grid,
        location="right",
        shrink=min(1.0, 2.2 / len(shown)),
        aspect=14,
        ticks=[-1, 0, 1],
        label="Log-odds lost where covered",
    )
    bar.ax.set_yticklabels(["− largest\nof the row", "0", "largest\nof the row"], fontsize=7)
    named = f"{Head(said['head'])} on {Store(said['backbone'], said['channels'])}"
    title = f"{card.name}: which parts of a tile the scores of {named} depend on"
    annotate(figure, title, _footnote(losses, store))
    return figure


def _row_label(name: str, own: pd.DataFrame) -> str:
    first = own.iloc[0]
    result = "found" if first["found"] else "missed"
    return f"{label_of(name, 18)}\n{result}, p = {first['probability']:.2f}"


def _panel(axes: Axes, grey: Floats, values: Floats, losses: pd.DataFrame, side: int) -> None:
    """Draw a map over a tile, with the patch that costs most, if any costs something."""
    axes.imshow(grey, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.imshow(values, cmap=COLOURS, vmin=-1, vmax=1, interpolation="nearest")
    peak = losses.iloc[int(losses["loss"].argmax())]
    if peak["loss"] > 0:
        place = peak["x"] - 0.5, peak["y"] - 0.5
        axes.add_patch(Rectangle(place, side, side, fill=False, edgecolor="white", linewidth=1.0))
        look: Any = {"color": "white", "fontsize": 7, "ha": "right", "va": "bottom"}
        dark: Any = {"facecolor": "black", "alpha": 0.6, "edgecolor": "none", "pad": 1}
        text = f"{peak['loss']:.1f}"
        axes.text(0.97, 0.03, text, transform=axes.transAxes, bbox=dark, **look)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _footnote(losses: pd.DataFrame, store: TileStore) -> str:
    share = round(losses.attrs["side"] / min(store.tile_size), 2)
    patches = losses.groupby(["row", "class", "channel"], sort=False).size().iloc[0]
    missed = "" if losses["found"].all() else " Missed: those whose class is held least likely."
    return (
        "Tiles: those whose class is most surely found when they are tested, the classes in turn, "
        f"each group once.{missed} A patch of {percent(share)} of the side, with the tile's own "
        f"median of each covered channel, lies at {patches} places; a colour is the mean loss of "
        "log-odds of the tile's class over the patches on a pixel. White: the patch that costs "
        "most, with its loss. The head is that of the fold in which the tile was tested: it has "
        "seen neither the tile nor its group. A map shows what this head's score depends on, not "
        "what a protein does; a flat patch is a change of its own. Colours: "
        f"{colours_in_words(store.channels)}."
    )
