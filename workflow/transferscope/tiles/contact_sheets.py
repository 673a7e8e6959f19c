"""One figure per class with some of its tiles, so that wrong labels and bad images are seen.

Colours can be told apart with every common colour vision: nucleus blue, protein yellow, a third
channel reddish purple, after Okabe and Ito (Wong, Nature Methods 8, 441, 2011). Further channels
are not drawn. Red, green and blue of a colour image are drawn as they are. All tiles of a dataset
are scaled alike, so that brightness can be compared.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from transferscope.cards import DatasetCard
from transferscope.raw.sheets import split_labels
from transferscope.runtime.arrays import Floats, Pixels
from transferscope.runtime.atomic_files import make_folder, replacing
from transferscope.runtime.progress import progress_bar
from transferscope.runtime.seeds import derive_rng
from transferscope.stores.origin import check_tiles
from transferscope.stores.parquet import read_tile_table
from transferscope.stores.tile_store import TileStore
from transferscope.tiles.store import SCALED_FROM

TILES_A_SHEET = 16
TILES_A_ROW = 4
TILE_INCHES = 1.6
DPI = 150
# Larger tiles are shrunk by whole numbers before they are drawn.
MOST_PIXELS = 300
SAMPLED_TILES = 64
DRAWN_PERCENTILES = (0.5, 99.8)
BLUE, YELLOW, PURPLE = (0.0, 0.45, 1.0), (1.0, 0.8, 0.0), (0.9, 0.35, 0.7)
PREFERRED_COLOURS = {"nucleus": BLUE, "protein": YELLOW}
TRUE_COLOURS = {"red": (1.0, 0.0, 0.0), "green": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0)}
Colour = tuple[float, float, float]  # red, green and blue, 0 to 1
BAR_STEPS = (1, 2, 5)
UNLABELLED = "unlabelled"
LONGEST_NAME = 80


def draw_contact_sheets(
    tiles: Path, tile_table: Path, card: DatasetCard, output: Path
) -> list[Path]:
    """Draw a contact sheet for each class, and one for unlabelled tiles if there are any.

    Parameters
    ----------
    tiles
        Manifest of the tile store.
    tile_table
        The tile table.
    card
        The dataset: its class list and intensity ranges.
    output
        Folder to write `<class>.png` into; what it held is removed.

    Returns
    -------
    list of Path
        The figures.

    Raises
    ------
    UserError
        Where store or table are missing or damaged.
    """
    store, table = TileStore(tiles), read_tile_table(tile_table)
    check_tiles(tile_table, table, store, card.name)
    emptied(output)
    labels = table["labels"].map(split_labels)
    rows_of = {c: np.flatnonzero(labels.map(lambda row, c=c: c in row)) for c in card.labels}
    rows_of[UNLABELLED] = np.flatnonzero(labels.map(len) == 0)
    present = {name: rows for name, rows in rows_of.items() if len(rows)}
    limits = display_limits(store, card)
    figures = []
    with progress_bar(f"Contact sheets of {card.name}", len(present), "classes") as bar:
        for number, (name, rows) in enumerate(present.items()):
            path = output / f"{number:02d}_{file_name(name, 'class')}.png"
            save_png(_draw(name, table.iloc[rows], store, limits), path, dpi=DPI)
            figures.append(path)
            bar.update()
    return figures


def choose_rows(table: pd.DataFrame, count: int) -> list[int]:
    """Return the tiles to show, as positions in the table: as many groups as possible first.

    Parameters
    ----------
    table
        Tile table of one class, with `group` and `tile_id`.
    count
        How many to show.
    """
    order = derive_rng("contact sheet", *table["tile_id"].iloc[:1]).permutation(len(table))
    shuffled = table["group"].iloc[order]
    turn = shuffled.groupby(shuffled).cumcount().to_numpy()
    return [int(row) for row in order[np.argsort(turn, kind="stable")][:count]]


def composite(tile: Pixels, limits: Floats, channels: list[str]) -> npt.NDArray[np.float32]:
    """Mix the drawn channels of a tile into colours by addition.

    Parameters
    ----------
    tile
        [C, H, W] in raw values.
    limits
        [C, 2], the raw values of black and white.
    channels
        Names of the channels.

    Returns
    -------
    ndarray
        [H, W, 3], 0 to 1.
    """
    scaled = scaled_to(limits, tile)
    mixed = np.zeros((*tile.shape[1:], 3), np.float32)
    for name, colour in drawn_channels(channels).items():
        mixed += scaled[channels.index(name), :, :, None] * np.array(colour, np.float32)
    return mixed.clip(0, 1)


def scaled_to(limits: Floats, tile: Pixels) -> Floats:
    """Return a tile [C, H, W] in shares, 0 to 1, of what is between its limits [C, 2]."""
    low, high = limits[:, 0, None, None], limits[:, 1, None, None]
    return np.asarray(((tile - low) / (high - low)).clip(0, 1))


def drawn_channels(channels: list[str]) -> dict[str, Colour]:
    """Return the colour of each channel that is drawn; a single channel is grey."""
    if len(channels) == 1:
        return {channels[0]: (1.0, 1.0, 1.0)}
    if in_true_colours(channels):
        return dict(TRUE_COLOURS)
    chosen = {name: PREFERRED_COLOURS[name] for name in channels if name in PREFERRED_COLOURS}
    free = [c for c in (YELLOW, BLUE, PURPLE) if c not in chosen.values()]
    others = [name for name in channels if name not in chosen]
    return {**chosen, **dict(zip(others, free, strict=False))}


def in_true_colours(channels: Sequence[str]) -> bool:
    """Return whether channels are those of a colour image, such as a stained section."""
    return set(TRUE_COLOURS) <= set(channels)


def bar_length_um(width_um: float) -> float:
    """Return a round length of a scale bar: 1, 2 or 5 times a power of ten, a third at most.

    Examples
    --------
    >>> bar_length_um(120.0)
    20.0
    """
    most = width_um / 3
    power = 10.0 ** np.floor(np.log10(most))
    return float(max(step * power for step in BAR_STEPS if step * power <= most))


def display_limits(store: TileStore, card: DatasetCard) -> Floats:
    """Return black and white of each channel, [C, 2]: the card's, or percentiles of some tiles.

    Parameters
    ----------
    store
        The tiles.
    card
        The dataset, whose `intensity_range` counts where it names a channel. A colour image
        without one is scaled to its type: percentiles would change the colours.
    """
    if in_true_colours(store.channels):
        return store.intensity_range.astype(np.float64)
    rows = np.linspace(0, len(store) - 1, min(SAMPLED_TILES, len(store))).astype(int)
    sample = np.concatenate([store.read(row, row + 1)[:, :, ::4, ::4] for row in rows])
    by_channel = sample.swapaxes(0, 1).reshape(sample.shape[1], -1)
    found = np.percentile(by_channel, DRAWN_PERCENTILES, axis=1).T
    given: Mapping[str, Sequence[float]] = card.given_ranges
    if SCALED_FROM in store.attributes or store.reduced_to is not None:
        given = dict(zip(store.channels, store.intensity_range.tolist(), strict=True))
    ranges = map(given.get, store.channels, found)
    low, high = np.array(list(ranges), np.float64).T
    return np.stack([low, np.maximum(high, low + 1)], axis=1)


def _draw(name: str, table: pd.DataFrame, store: TileStore, limits: Floats) -> Figure:
    chosen = choose_rows(table, TILES_A_SHEET)
    lines = -(-len(chosen) // TILES_A_ROW)
    figure = Figure(figsize=(TILES_A_ROW * TILE_INCHES, lines * (TILE_INCHES + 0.15) + 0.6))
    axes = figure.subplots(lines, TILES_A_ROW, squeeze=False).ravel()
    for cell in axes:
        cell.set_axis_off()
    for cell, position in zip(axes, chosen, strict=False):
        row = int(table.index[position])
        tile = shrunk(store.read(row, row + 1)[0])
        shown = (composite(tile, limits, store.channels) * 255).round().astype(np.uint8)
        cell.imshow(shown, interpolation="nearest")
        cell.set_title(str(table["group"].iloc[position])[:24], fontsize=6, pad=2)
    if pixel_size := store.attributes.get("pixel_size_um"):
        add_scale_bar(axes[0], float(pixel_size), store)
    groups = table["group"].nunique()
    top = 1 - 0.5 / figure.get_figheight()
    figure.suptitle(f"{name}: {len(table)} tiles, {groups} groups", fontsize=10, y=0.995)
    legend_y = top + 0.15 / figure.get_figheight()
    add_legend(figure, drawn_channels(store.channels), legend_y, fontsize=7, va="center")
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=top - 0.02, wspace=0.03)
    return figure


def shrunk(tile: Pixels) -> Pixels:
    """Return a tile [C, H, W] in means over whole blocks of pixels, small enough to draw."""
    step = -(-max(tile.shape[1:]) // MOST_PIXELS)
    height, width = (length // step * step for length in tile.shape[1:])
    if step == 1:
        return tile
    blocks = tile[:, :height, :width].reshape(len(tile), height // step, step, width // step, step)
    return np.asarray(blocks.mean(axis=(2, 4), dtype=np.float32))


def add_scale_bar(axes: Any, pixel_size_um: float, store: TileStore) -> None:
    """Draw a scale bar of a round length into an axes that shows a tile."""
    width_px = store.tile_size[1]
    # Fluorescence is dark between cells, a stained section is bright.
    colour = "black" if in_true_colours(store.channels) else "white"
    length_um = bar_length_um(pixel_size_um * width_px)
    share = length_um / (pixel_size_um * width_px)
    line = {"color": colour, "linewidth": 2, "solid_capstyle": "butt"}
    axes.plot([0.05, 0.05 + share], [0.05, 0.05], transform=axes.transAxes, **line)
    at = (0.05 + share / 2, 0.08)
    text = {"color": colour, "fontsize": 6, "ha": "center", "va": "bottom"}
    axes.text(*at, f"{length_um:g} µm", transform=axes.transAxes, **text)


def add_legend(figure: Figure, colours: Mapping[str, Colour], y: float, **style: Any) -> None:
    """Write names in their colours side by side, on black."""
    background = {"facecolor": "black", "edgecolor": "none", "pad": 1.5}
    for number, (name, colour) in enumerate(colours.items()):
        x = (number + 0.5) / len(colours)
        figure.text(x, y, name, color=colour, ha="center", bbox=background, **style)


def emptied(folder: Path) -> None:
    """Make a folder, or remove what it holds."""
    shutil.rmtree(folder, ignore_errors=True)
    make_folder(folder)


def save_png(figure: Figure, path: Path, **options: Any) -> None:
    """Write a figure, so that equal data give equal files: without name and version of software."""
    FigureCanvasAgg(figure)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None}, **options)


def file_name(text: str, default: str) -> str:
    """Return a text as a name that every file system takes."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", text)[:LONGEST_NAME].strip("_.") or default
