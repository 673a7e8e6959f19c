"""Score against size and cost: of families of backbones, and of the scales of a sweep."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from transferscope.compare.families import LINE
from transferscope.compare.tables import Store
from transferscope.figures.curves import Looks, looks_of_study
from transferscope.figures.grid_curves import short
from transferscope.figures.results import Results, errors_of
from transferscope.figures.style import (
    GREY,
    annotate,
    label_of,
    legend_key,
    legend_on_the_right,
    new_grid,
    note_that_nothing_is_shown,
    panel_title,
)

AXES = {
    "parameters": "Weights of the backbone",
    "input_size": "Side of the input (px)",
    "pixel_size_um": "Size of a pixel (um)",
}
PANELS = ("size", "operations")
PANEL_INCHES, LEGEND_INCHES = 3.6, 3.2
# More do not fit the legend.
MOST_STORES = 20


def draw(results: Results) -> Figure:
    """Return a figure with one row per dataset, split scheme and axis: against size, and cost.

    Parameters
    ----------
    results
        Tables of the comparison.
    """
    families = results.families
    if families.empty:
        return note_that_nothing_is_shown(
            "No family and no sweep has two members of which the size is known."
        )
    stores = families[["backbone", "representation"]].sum(axis=1)
    pairs = zip(stores, families["channels"], strict=True)
    named = families.assign(store=[str(Store(*pair)) for pair in pairs])
    rows = named[["dataset", "scheme", "axis"]].drop_duplicates().to_dict("records")
    width = PANEL_INCHES * len(PANELS) + LEGEND_INCHES
    figure, grid = new_grid(width, 1.6 + 2.8 * len(rows), len(rows), len(PANELS), sharey="row")
    known = looks_of_study(results)
    looks = {store: known[store] for store in named["store"]}
    for panels, row in zip(grid, rows, strict=True):
        own = named[(named[list(row)] == pd.Series(row)).all(axis=1)]
        for panel, column in zip(panels, PANELS, strict=True):
            _panel(panel, own, column, looks)
        panels[0].set_title(panel_title(row["dataset"], row["scheme"]))
        panels[0].set_ylabel(f"{results.metric_name} (0 to 1)")
        panels[0].set_xlabel(AXES[row["axis"]])
    grid[-1, -1].set_xlabel("Operations per tile")
    handles = [
        legend_key(label_of(store, 34, 3), color=colour, marker=marker, linestyle="")
        for store, (colour, marker) in looks.items()
    ]
    legend_on_the_right(grid[0, -1], handles[:MOST_STORES], "Stores, by size")
    annotate(
        figure,
        f"{results.metric_name} against size and cost",
        "Points: scores of all test folds, all training labels, with the head that stands for all "
        "stores; bars: intervals over groups, for training and for testing, of each member by "
        "itself. Lines join what differs in size alone. Weights trained elsewhere exist once.",
    )
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, axis: str, looks: Looks) -> None:
    known = rows.dropna(subset=[axis])
    known = known[known[axis] > 0].sort_values(axis, kind="stable")
    for _, line in known.groupby(LINE, sort=False):
        axes.plot(line[axis], line["mean"], color=GREY, linewidth=1)
        errors = np.transpose(errors_of(line))
        for error, (_, member) in zip(errors, line.iterrows(), strict=True):
            colour, marker = looks[member["store"]]
            axes.errorbar(
                member[axis],
                member["mean"],
                yerr=error[:, None],
                color=colour,
                marker=marker,
                markersize=5,
                elinewidth=0.8,
                capsize=2,
                linestyle="",
            )
    if len(known):
        axes.set_xscale("log")
        is_scale = axis == "size" and known["axis"].iloc[0] != "parameters"
        places = np.geomspace(known[axis].min(), known[axis].max(), 3)
        if is_scale:
            places = np.unique(known[axis].to_numpy(float))
        axes.set_xticks(places, [f"{v:g}" if is_scale else short(v) for v in places])
        axes.minorticks_off()
    axes.grid()
