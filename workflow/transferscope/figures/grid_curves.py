"""How scores grow over the grids of a study: against weights, images and operations."""

from __future__ import annotations

import json
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from transferscope.compare.curve_fits import JOINED
from transferscope.compare.grid_curves import FAMILY, MOVED_BY
from transferscope.figures.results import Results
from transferscope.figures.style import (
    DASHES,
    GREY,
    MARKERS,
    OKABE_ITO,
    annotate,
    label_of,
    legend_key,
    legend_on_the_right,
    new_grid,
    note_that_nothing_is_shown,
    panel_title,
)

LABELS = {
    "parameters": "Weights of the backbone",
    "images": "Training images",
    "images_seen": "Images seen in training",
    "operations": "Operations of the training",
}
PANEL_INCHES, LEGEND_INCHES = 3.4, 3.0
# Of a panel: more curves cannot be told apart.
MOST_CURVES = 14


def draw(results: Results) -> Figure:
    """Return a figure with one panel per axis (columns), and per dataset and measure (rows).

    Parameters
    ----------
    results
        Tables of the comparison.
    """
    curves = results.grid_curves
    if curves.empty:
        return note_that_nothing_is_shown("No grid has two sizes that were scored.")
    axes_shown = [axis for axis in MOVED_BY if (curves["axis"] == axis).any()]
    rows = curves[["dataset", "scheme", "measure"]].drop_duplicates().to_dict("records")
    width = PANEL_INCHES * len(axes_shown) + LEGEND_INCHES
    figure, grid = new_grid(
        width, 1.6 + 2.7 * len(rows), len(rows), len(axes_shown), sharey="row", sharex="col"
    )
    looks = _looks(curves)
    for panels, row in zip(grid, rows, strict=True):
        for panel, axis in zip(panels, axes_shown, strict=True):
            same = (curves[list(row)] == pd.Series(row)).all(axis=1) & (curves["axis"] == axis)
            _panel(panel, results, curves[same].head(MOST_CURVES), axis, looks)
            panel.grid()
        panels[0].set_ylabel(f"{label_of(results.measured(row['measure']), 30)}\n(0 to 1)")
        panels[0].set_title(panel_title(row["dataset"], row["scheme"]))
    for panel, axis in zip(grid[-1], axes_shown, strict=True):
        panel.set_xlabel(LABELS[axis])
        own = curves[curves["axis"] == axis]
        _ticks(panel, own["smallest"].min(), own["largest"].max(), int(own["n_sizes"].max()))
    handles = [legend_key(label_of(name, 34, 3), **look) for name, look in looks.items()]
    legend_on_the_right(grid[0, -1], handles[:MOST_CURVES], "Same for a curve")
    annotate(
        figure,
        "Score against the size of backbone and data",
        "Small points: single trainings; lines and bands: the fitted curve that predicts left-out "
        "sizes best, and its interval over trainings, with the spread of repeats pooled over the "
        "grid; the test groups are the same throughout. Dashed, with bars: means at each size, "
        "where no fitted curve agrees with the repeats or there are two sizes only.",
    )
    return figure


def _ticks(axes: Axes, smallest: float, largest: float, n_sizes: int) -> None:
    """Label a log axis with a few numbers; math text is off, which powers of ten would need."""
    n_ticks = min(4, max(2, n_sizes))
    places = np.geomspace(smallest, largest, n_ticks)
    axes.set_xticks(places, [short(place) for place in places])
    axes.minorticks_off()


def short(value: float) -> str:
    """Return a number with two digits and the letter of its thousands.

    Examples
    --------
    >>> short(64), short(12_288), short(3.2e13)
    ('64', '12k', '32T')
    """
    for factor, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{float(f'{value / factor:.2g}'):g}{letter}"
    return f"{float(f'{value:.2g}'):g}"


def _name(curve: Any) -> str:
    return f"{curve['store']}, {curve['held']}" if curve["held"] else str(curve["store"])


def _looks(curves: pd.DataFrame) -> dict[str, dict[str, Any]]:
    names = dict.fromkeys(_name(curve) for curve in curves.to_dict("records"))
    # Seven colours and six markers, so that 42 curves differ in one or both.
    looks = zip(cycle(OKABE_ITO), cycle(MARKERS[:-1]), strict=False)
    return {
        name: {"color": colour, "marker": marker, "markersize": 4}
        for name, (colour, marker) in zip(names, looks, strict=False)
    }


def _panel(
    axes: Axes, results: Results, curves: pd.DataFrame, axis: str, looks: dict[str, Any]
) -> None:
    axes.set_xscale("log")
    for place, curve in curves.iterrows():
        look = looks[_name(curve)]
        colour = look["color"]
        cells = _cells_of(results.grid_cells, curve)
        axes.plot(
            cells[axis],
            cells["score"],
            linestyle="",
            marker=look["marker"],
            color=colour,
            markersize=3.5,
            alpha=0.65,
            markeredgewidth=0,
        )
        band = results.grid_bands[results.grid_bands["curve"] == place]
        x, y = band["size"].to_numpy(float), band["value"].to_numpy(float)
        low, high = band["low"].to_numpy(float), band["high"].to_numpy(float)
        if curve["family"] == JOINED:
            axes.errorbar(
                x,
                y,
                yerr=[y - low, high - y],
                color=colour,
                linestyle=DASHES,
                linewidth=1,
                capsize=3,
            )
            continue
        axes.plot(x, y, color=colour, linewidth=1.5)
        axes.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)
    if curves.empty:
        axes.text(0.5, 0.5, "not varied", transform=axes.transAxes, color=GREY, ha="center")


def _cells_of(cells: pd.DataFrame, curve: Any) -> pd.DataFrame:
    """Return the trainings of a curve."""
    own = cells[(cells[FAMILY] == curve[FAMILY]).all(axis=1)]
    held = [part.split(" ", 1) for part in curve["held"].split(", ")] if curve["held"] else []

    def fits(text: str) -> bool:
        values = json.loads(text)
        return all(_same(values.get(name), value) for name, value in held)

    found: pd.DataFrame = own[own["values"].map(fits)]
    return found


def _same(value: Any, text: str) -> bool:
    return str(value) == text if isinstance(value, str) else float(value) == float(text)
