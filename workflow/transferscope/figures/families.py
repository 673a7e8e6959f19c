"""Score against size and cost of families of backbones that were trained elsewhere."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from transferscope.compare.families import LINE
from transferscope.compare.tables import Store, matching
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

AXES = {"parameters": "Weights of the backbone", "operations": "Operations per tile"}
PANEL_INCHES, LEGEND_INCHES = 3.6, 3.2
# More do not fit the legend.
MOST_STORES = 20


def draw(results: Results) -> Figure:
    """Return a figure with one panel per dataset and split scheme (rows) and axis (columns).

    Parameters
    ----------
    results
        Tables of the comparison.
    """
    families = results.families
    if families.empty:
        return note_that_nothing_is_shown("No family has two members of which the size is known.")
    stores = families[["backbone", "representation"]].sum(axis=1)
    pairs = zip(stores, families["channels"], strict=True)
    named = families.assign(store=[str(Store(*pair)) for pair in pairs])
    rows = named[["dataset", "scheme"]].drop_duplicates().to_dict("records")
    width = PANEL_INCHES * len(AXES) + LEGEND_INCHES
    figure, grid = new_grid(width, 1.6 + 2.8 * len(rows), len(rows), len(AXES), sharey="row")
    known = looks_of_study(results)
    looks = {store: known[store] for store in named["store"]}
    for panels, row in zip(grid, rows, strict=True):
        own = matching(named, dataset=row["dataset"], scheme=row["scheme"])
        for panel, axis in zip(panels, AXES, strict=True):
            _panel(panel, own, axis, looks)
        panels[0].set_title(panel_title(row["dataset"], row["scheme"]))
        panels[0].set_ylabel(f"{results.metric_name} (0 to 1)")
    for panel, label in zip(grid[-1], AXES.values(), strict=True):
        panel.set_xlabel(label)
    handles = [
        legend_key(label_of(store, 34, 3), color=colour, marker=marker, linestyle="")
        for store, (colour, marker) in looks.items()
    ]
    legend_on_the_right(grid[0, -1], handles[:MOST_STORES], "Stores, by family and size")
    annotate(
        figure,
        f"{results.metric_name} against the size of backbones of one family",
        "Points: scores of all test folds, all training labels, with the head that stands for all "
        "stores; bars: intervals over groups, for training and for testing, of each member by "
        "itself. Lines join members of one family. Weights that were trained elsewhere exist once.",
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
        places = np.geomspace(known[axis].min(), known[axis].max(), 3)
        axes.set_xticks(places, [short(place) for place in places])
        axes.minorticks_off()
    axes.grid()
