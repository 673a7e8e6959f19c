"""The figure of where the time and the memory of a study went."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from transferscope.figures.style import OKABE_ITO, annotate, new_grid

PANELS = {"minutes": "minutes of all its jobs", "peak_mib": "highest memory of a job, MiB"}


def draw_costs(rules: pd.DataFrame) -> Figure:
    """Draw a bar per rule: summed minutes on the left, highest memory of one job on the right.

    Parameters
    ----------
    rules
        What `upkeep.costs.rule_costs` returns.
    """
    shown = rules.assign(minutes=rules["seconds"] / 60)[::-1]
    names = [f"{rule} ({jobs})" for rule, jobs in zip(shown["rule"], shown["jobs"], strict=True)]
    figure, grid = new_grid(8.0, 1.6 + 0.3 * len(shown), 1, len(PANELS), sharey=True)
    for axes, colour, (column, label) in zip(grid[0], OKABE_ITO, PANELS.items(), strict=False):
        bars = axes.barh(names, shown[column], color=colour)
        axes.bar_label(bars, fmt="{:,.1f}" if column == "minutes" else "{:,.0f}", padding=3)
        axes.set_xlabel(label)
        axes.margins(x=0.15)
    annotate(
        figure,
        "Where time and memory went",
        "Number of jobs in brackets. Jobs run side by side, so that minutes add up to more than "
        "the run took.",
    )
    return figure
