"""Score against size and cost: of families of backbones, and of the scales of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from transferscope.compare.families import LINE
from transferscope.config.results import FigureSettings
from transferscope.figures.grid_curves import short
from transferscope.figures.results import errors_of
from transferscope.figures.style import (
    MARKERS,
    OKABE_ITO,
    annotate,
    check_outputs,
    label_of,
    legend_key,
    legend_on_the_right,
    new_grid,
    note_that_nothing_is_shown,
    panel_title,
    save,
    style,
)
from transferscope.stores.parquet import read_parquet

AXES = {
    "parameters": "Weights of the backbone",
    "input_size": "Side of the input (px)",
    "pixel_size_um": "Size of a pixel (um)",
}
PANELS = ("size", "operations")
PANEL_INCHES, LEGEND_INCHES = 3.6, 3.2
# More lines cannot be told apart.
MOST_LINES = 12
Looks = dict[str, tuple[str, str]]


def draw_families(table: Path, settings: FigureSettings, outputs: Sequence[Path]) -> None:
    """Draw the scores of families.

    Parameters
    ----------
    table
        The table `families`.
    settings
        Resolution.
    outputs
        Files to write, `.svg` or `.png`.

    Raises
    ------
    UserError
        If the table or a format is not as it should be.
    """
    check_outputs(outputs)
    families = read_parquet(table)
    with style():
        save(draw(families), outputs, settings.dpi)


def draw(families: pd.DataFrame) -> Figure:
    """Return a figure with one row per dataset, split scheme and axis: against size, and cost.

    Parameters
    ----------
    families
        From `family_table`.
    """
    if families.empty:
        return note_that_nothing_is_shown(
            "No family and no sweep has two members of which the size is known."
        )
    named = families.assign(
        line=families["family"] + families["representation"] + " / " + families["channels"]
    )
    rows = named[["dataset", "scheme", "axis"]].drop_duplicates().to_dict("records")
    width = PANEL_INCHES * len(PANELS) + LEGEND_INCHES
    figure, grid = new_grid(width, 1.6 + 2.8 * len(rows), len(rows), len(PANELS), sharey="row")
    looks: Looks = {
        name: (OKABE_ITO[n % len(OKABE_ITO)], MARKERS[n % len(MARKERS)])
        for n, name in enumerate(named["line"].unique()[:MOST_LINES])
    }
    for panels, row in zip(grid, rows, strict=True):
        own = named[(named[list(row)] == pd.Series(row)).all(axis=1)]
        for panel, column in zip(panels, PANELS, strict=True):
            _panel(panel, own, column, looks)
        panels[0].set_title(panel_title(row["dataset"], row["scheme"]))
        panels[0].set_ylabel("Score (0 to 1)")
        panels[0].set_xlabel(AXES[row["axis"]])
    grid[-1, -1].set_xlabel("Operations per tile")
    handles = [
        legend_key(label_of(name, 34, 3), color=colour, marker=marker)
        for name, (colour, marker) in looks.items()
    ]
    legend_on_the_right(grid[0, -1], handles, "Family or backbone / channels")
    annotate(
        figure,
        "Score against size and cost",
        "Points: scores of all test folds, all training labels, with the head that stands for all "
        "stores; bars: intervals over groups, for training and for testing, of each member by "
        "itself. Weights that were trained elsewhere exist once.",
    )
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, axis: str, looks: Looks) -> None:
    known = rows.dropna(subset=[axis])
    known = known[known[axis] > 0]
    for _, line in known.groupby(LINE, sort=False):
        if line["line"].iloc[0] not in looks:
            continue
        colour, marker = looks[line["line"].iloc[0]]
        line = line.sort_values(axis)
        axes.errorbar(
            line[axis].to_numpy(float),
            line["mean"].to_numpy(float),
            yerr=errors_of(line),
            color=colour,
            marker=marker,
            markersize=5,
            linewidth=1.2,
            elinewidth=0.8,
            capsize=2,
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
