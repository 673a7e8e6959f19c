"""Score over the sizes of model and data at once, with lines of equal computation."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from transferscope.cards.grid import DATA_AXES
from transferscope.compare.grid_surfaces import KEYS
from transferscope.figures.grid_curves import LABELS, short
from transferscope.figures.results import Results
from transferscope.figures.style import (
    BLACK,
    annotate,
    label_of,
    new_grid,
    note_that_nothing_is_shown,
    panel_title,
    text_colour,
)

PANEL_INCHES = 4.4
N_COLUMNS = 2
# More do not fit a figure.
MOST_PANELS = 8
COLOURS = "viridis"


def draw(results: Results) -> Figure:
    """Return a figure with one panel per surface.

    Parameters
    ----------
    results
        Tables of the comparison.
    """
    surfaces = results.grid_surfaces
    if surfaces.empty:
        return note_that_nothing_is_shown("No grid has three sizes of model and of data.")
    shown = surfaces.sort_values("is_headline", ascending=False, kind="stable").head(MOST_PANELS)
    n_columns = min(N_COLUMNS, len(shown))
    n_rows = -(-len(shown) // n_columns)
    figure, grid = new_grid(0.8 + PANEL_INCHES * n_columns, 1.7 + 3.5 * n_rows, n_rows, n_columns)
    panels = list(grid.ravel())
    for panel, (_, surface) in zip(panels, shown.iterrows(), strict=False):
        measured = results.measured(surface["measure"])
        _panel(panel, _cells_of(results.grid_cells, surface), surface, measured)
    for panel in panels[len(shown) :]:
        panel.set_axis_off()
    annotate(
        figure,
        "Score over the sizes of backbone and data",
        "Numbers and colours: mean score of the trainings of a cell; colours are of each panel by "
        "itself. Lines: equal operations of the training.",
    )
    return figure


def _cells_of(cells: pd.DataFrame, surface: Any) -> pd.DataFrame:
    """Return the mean of each cell of a surface, with its place in the order of both sizes."""
    keys = [key for key in KEYS if key in cells]
    own = cells[(cells[keys] == surface[keys]).all(axis=1)].dropna(subset=["score"])
    axis = surface["data_axis"]
    values = [json.loads(text) for text in own["values"]]
    data = [" ".join(str(v.get(name)) for name in DATA_AXES[axis]) for v in values]
    own = own.assign(data=own.groupby(data)[axis].transform("mean"))
    found = own.groupby(["parameters", "data"], as_index=False)[["score", "operations"]].mean()
    ranks = {
        f"at_{name}": found[name].rank(method="dense").astype(int) - 1
        for name in ("parameters", "data")
    }
    placed: pd.DataFrame = found.assign(**ranks)
    return placed


def _panel(axes: Axes, cells: pd.DataFrame, surface: Any, measured: str) -> None:
    table = cells.pivot_table(index="at_data", columns="at_parameters", values="score")
    image = axes.imshow(table.to_numpy(), origin="lower", aspect="auto", cmap=COLOURS)
    for row in cells.to_dict("records"):
        rgba = image.cmap(image.norm(row["score"]))
        place = row["at_parameters"], row["at_data"]
        axes.text(
            *place, f"{row['score']:.3f}", ha="center", va="center", color=text_colour(tuple(rgba))
        )
    cost = cells.pivot_table(index="at_data", columns="at_parameters", values="operations")
    logs = np.log10(cost.to_numpy(float))
    if np.isfinite(logs).all() and np.ptp(logs) > 0 and min(logs.shape) > 1:
        levels = np.linspace(logs.min(), logs.max(), 5)[1:-1]
        lines = axes.contour(logs, levels=levels, colors=BLACK, linewidths=1, linestyles="--")
        texts = axes.clabel(lines, fmt=lambda level: short(10**level), fontsize=7)
        # Readable on any colour.
        for drawn in (lines, *texts):
            drawn.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
    for name, set_ticks in (("parameters", axes.set_xticks), ("data", axes.set_yticks)):
        sizes = cells.groupby(f"at_{name}")[name].mean()
        set_ticks(list(sizes.index), [short(size) for size in sizes])
    axes.set_xlabel(LABELS["parameters"])
    axes.set_ylabel(LABELS[surface["data_axis"]])
    held = f", {surface['held']}" if surface["held"] else ""
    what = f"{measured}\n{label_of(surface['store'], 40)}{held}"
    axes.set_title(f"{panel_title(surface['dataset'], surface['scheme'])}\n{what}", fontsize=9)
