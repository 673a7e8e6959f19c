"""Similarity map of complexes: one matrix of cosines per source."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from transferscope.figures.style import (
    BLACK,
    annotate,
    label_of,
    new_grid,
    note_that_nothing_is_shown,
)

COLOURS = "RdBu_r"
PANEL_INCHES, ABOVE_INCHES = 5.2, 1.5
NAME_POINTS = 5.5


def draw_complexes(table: pd.DataFrame) -> Figure:
    """Draw the cosines within and between complexes, in the map that recalls most.

    Parameters
    ----------
    table
        Similarity, as the step `relate` writes it.
    """
    if table.empty:
        return note_that_nothing_is_shown("No source lists all pairs of three entities or more.")
    sources = list(dict.fromkeys(table["source"]))
    figure, grid = new_grid(
        1 + PANEL_INCHES * len(sources), ABOVE_INCHES + PANEL_INCHES, 1, len(sources)
    )
    for axes, source in zip(grid[0], sources, strict=True):
        image = _panel(axes, table[table["source"] == source])
    bar = figure.colorbar(image, ax=grid[0].tolist(), shrink=0.5, aspect=20, pad=0.02)
    bar.set_label("cosine")
    bar.outline.set_visible(False)
    annotate(
        figure,
        "How similar complexes are within and between each other",
        "Entities of which a source lists every pair (outlined), in the map that recalls most "
        "pairs of that source; the most similar group first. Groups grow from the entities with "
        "the most known pairs, not from the most similar ones.",
    )
    return figure


def _panel(axes: Axes, table: pd.DataFrame) -> AxesImage:
    """Draw the matrix of one source."""
    groups = dict(zip(table["entity1"], table["group1"], strict=True))
    groups |= dict(zip(table["entity2"], table["group2"], strict=True))
    places = {name: place for place, name in enumerate(groups)}
    cosines = np.eye(len(places))
    first, second = (table[side].map(places).to_numpy() for side in ("entity1", "entity2"))
    cosines[first, second] = cosines[second, first] = table["cosine"]
    image = axes.imshow(cosines, cmap=COLOURS, vmin=-1, vmax=1, interpolation="nearest")
    numbers = np.array(list(groups.values()))
    for number in np.unique(numbers):
        own = np.flatnonzero(numbers == number)
        corner = own[0] - 0.5, own[0] - 0.5
        box = Rectangle(corner, len(own), len(own), fill=False, edgecolor=BLACK, linewidth=0.9)
        axes.add_patch(box)
    names = [label_of(name, 14, 1) for name in places]
    axes.set_yticks(range(len(names)), names, fontsize=NAME_POINTS)
    axes.set_xticks(range(len(names)), names, fontsize=NAME_POINTS, rotation=90)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    row = table.iloc[0]
    corrected = "" if row["correction"] == "none" else f", {row['correction']}"
    axes.set_title(label_of(f"{row['source']}: {row['map']}{corrected}", 44, 2))
    return image
