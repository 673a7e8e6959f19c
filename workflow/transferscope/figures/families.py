"""Score against size and cost of families of backbones that were trained elsewhere."""

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

AXES = {"parameters": "Weights of the backbone", "operations": "Operations per tile"}
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
    """Return a figure with one panel per dataset and split scheme (rows) and axis (columns).

    Parameters
    ----------
    families
        From `family_table`.
    """
    if families.empty:
        return note_that_nothing_is_shown("No family has two members of which the size is known.")
    named = families.assign(
        line=families["family"] + families["representation"] + " / " + families["channels"]
    )
    rows = named[["dataset", "scheme"]].drop_duplicates().to_dict("records")
    width = PANEL_INCHES * len(AXES) + LEGEND_INCHES
    figure, grid = new_grid(width, 1.6 + 2.8 * len(rows), len(rows), len(AXES), sharey="row")
    looks: Looks = {
        name: (OKABE_ITO[n % len(OKABE_ITO)], MARKERS[n % len(MARKERS)])
        for n, name in enumerate(named["line"].unique()[:MOST_LINES])
    }
    for panels, row in zip(grid, rows, strict=True):
        own = named[(named[list(row)] == pd.Series(row)).all(axis=1)]
        for panel, axis in zip(panels, AXES, strict=True):
            _panel(panel, own, axis, looks)
        panels[0].set_title(panel_title(row["dataset"], row["scheme"]))
        panels[0].set_ylabel("Score (0 to 1)")
    for panel, label in zip(grid[-1], AXES.values(), strict=True):
        panel.set_xlabel(label)
    handles = [
        legend_key(label_of(name, 34, 3), color=colour, marker=marker)
        for name, (colour, marker) in looks.items()
    ]
    legend_on_the_right(grid[0, -1], handles, "Family / channels")
    annotate(
        figure,
        "Score against the size of backbones of one family",
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
        places = np.geomspace(known[axis].min(), known[axis].max(), 3)
        axes.set_xticks(places, [short(place) for place in places])
        axes.minorticks_off()
    axes.grid()
