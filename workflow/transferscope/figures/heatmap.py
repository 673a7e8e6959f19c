"""A matrix of scores as coloured cells, each with its value and the half-width of its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from transferscope.figures.style import text_colour

COLOURS = "cividis"
CELL_WIDTH, CELL_HEIGHT = 0.5, 0.36
Floats = npt.NDArray[np.float64]


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
        if np.isnan(value):
            axes.text(j, i, "-", ha="center", va="center", fontsize=7)
            continue
        half = (high[i, j] - low[i, j]) / 2
        colour = text_colour(colours(float(value)))
        spread = "" if np.isnan(half) else f"±{half:.2f}"
        axes.text(j, i - 0.17, f"{value:.2f}", ha="center", va="center", fontsize=7.5, color=colour)
        axes.text(j, i + 0.24, spread, ha="center", va="center", fontsize=6, color=colour)
    axes.set_xticks(
        range(len(columns)), columns, rotation=40, ha="right", rotation_mode="anchor", fontsize=8
    )
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def colour_bar(figure: Figure, axes: Any, label: str) -> None:
    """Add the scale of the colours beside one axes or several."""
    scale = ScalarMappable(Normalize(0, 1), COLOURS)
    bar = figure.colorbar(scale, ax=axes, shrink=0.6, aspect=18, pad=0.015, anchor=(0, 1.0))
    bar.set_label(label)
    bar.outline.set_visible(False)
