"""A matrix of scores as coloured cells, each with its value and the half-width of its interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from transferscope.figures.style import new_grid, text_colour

COLOURS = "cividis"
CELL_WIDTH, CELL_HEIGHT = 0.5, 0.38
# In points: twelve classes take nine inches, and are still read where a page has seven.
NAME_SIZE, VALUE_SIZE, SPREAD_SIZE = 10, 9.5, 7.5
Floats = npt.NDArray[np.float64]


def draw_matrices(
    tables: Mapping[str, pd.DataFrame],
    draw: Callable[[Axes, str, pd.DataFrame], None],
    width: float,
    heights: Sequence[float],
    above: float,
    label: str,
) -> Figure:
    """Draw one matrix per dataset, one below the other, with one scale of colours.

    Parameters
    ----------
    tables
        Dataset -> rows of its matrix.
    draw
        Draws the matrix of a dataset.
    width, heights
        Of the figure, and of each matrix, in inches.
    above
        Inches for title and footnote.
    label
        Of the scale.
    """
    figure, grid = new_grid(
        max(6.5, width), above + sum(heights), len(tables), 1, height_ratios=heights
    )
    for axes, (dataset, table) in zip(grid[:, 0], tables.items(), strict=True):
        draw(axes, dataset, table)
    scale = ScalarMappable(Normalize(0, 1), COLOURS)
    bar = figure.colorbar(
        scale, ax=grid[:, 0].tolist(), shrink=0.6, aspect=18, pad=0.015, anchor=(0, 1.0)
    )
    bar.set_label(label)
    bar.outline.set_visible(False)
    return figure


def draw_cells(
    axes: Axes,
    values: Floats,
    low: Floats,
    high: Floats,
    rows: Sequence[str],
    columns: Sequence[str],
) -> None:
    """Draw a matrix of values between 0 and 1.

    Parameters
    ----------
    axes
        Where to draw.
    values, low, high
        Values and the bounds of their intervals, [rows, columns]; NaN is left blank.
    rows, columns
        Names, as they are to be shown.
    """
    colours = colormaps[COLOURS]
    axes.imshow(np.ma.masked_invalid(values), cmap=colours, vmin=0, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        centred: Any = {"ha": "center", "va": "center"}
        if np.isnan(value):
            axes.text(j, i, "-", fontsize=SPREAD_SIZE, **centred)
            continue
        half = (high[i, j] - low[i, j]) / 2
        centred["color"] = text_colour(colours(float(value)))
        spread = "" if np.isnan(half) else f"±{half:.2f}"
        axes.text(j, i - 0.17, f"{value:.2f}", fontsize=VALUE_SIZE, **centred)
        axes.text(j, i + 0.24, spread, fontsize=SPREAD_SIZE, **centred)
    axes.set_xticks(
        range(len(columns)),
        columns,
        rotation=40,
        ha="right",
        rotation_mode="anchor",
        fontsize=NAME_SIZE,
    )
    axes.set_yticks(range(len(rows)), rows, fontsize=NAME_SIZE)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
