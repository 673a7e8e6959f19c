"""Score against computation: which store has the best score at its price."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from transferscope.compare.tables import matching
from transferscope.figures.curves import (
    Looks,
    floor_keys,
    highlighted,
    legend_of_stores,
    looks_of_study,
)
from transferscope.figures.results import Results, errors_of
from transferscope.figures.style import (
    BLACK,
    DASHES,
    FLOOR_LABEL,
    GREY,
    PALE,
    annotate,
    label_of,
    legend_key,
    new_grid,
    note_that_nothing_is_shown,
    panel_title,
)

PANEL_INCHES = 4.6
# Stores without a network stand to the left of the cheapest one, by this factor.
NO_NETWORK = 8.0
# Over a larger factor, only powers of ten are labelled.
MANY_DECADES = 100.0


def draw(results: Results) -> Figure:
    """Draw one panel per dataset.

    Parameters
    ----------
    results
        Tables of the comparison.
    """
    shown = {dataset: _stores(results, dataset) for dataset in results.datasets}
    shown = {dataset: rows for dataset, rows in shown.items() if len(rows) > 1}
    if not shown:
        return note_that_nothing_is_shown("The computation of fewer than two stores is known.")
    figure, grid = new_grid(9.6, 1.4 + PANEL_INCHES * len(shown), len(shown), 1)
    known = looks_of_study(results)
    for axes, (dataset, rows) in zip(grid[:, 0], shown.items(), strict=True):
        looks = highlighted(rows, known)
        _panel(axes, results, dataset, rows, looks)
        handles = [
            legend_key("ruled out as the best", color=GREY, marker="o", mfc="white", linestyle=""),
            legend_key("highest so far", color=BLACK, drawstyle="steps-post"),
            *floor_keys(FLOOR_LABEL, known=results.has_floor(dataset)),
        ]
        legend_of_stores(axes, looks, len(rows), handles, as_points=True)
    grid[-1, 0].set_xlabel("GFLOP of the network per tile")
    annotate(
        figure,
        f"{results.metric_name} against computation, all training labels",
        results.footnote(
            "Points: scores of all test folds. The line joins stores with the highest score at "
            "their price or below; a step up is not shown to be one: see the intervals.",
            first_scheme_only=True,
        ),
    )
    return figure


def front(operations: Any, scores: Any) -> list[int]:
    """Return the places of stores that have a higher score than all that cost as much or less.

    Parameters
    ----------
    operations, scores
        One value per store.

    Returns
    -------
    list of int
        From the cheapest to the most expensive.
    """
    found: list[int] = []
    for place in np.lexsort((-np.asarray(scores), np.asarray(operations))):
        if not found or scores[place] > scores[found[-1]]:
            found.append(int(place))
    return found


def _stores(results: Results, dataset: str) -> pd.DataFrame:
    """Return the stores of known cost, by the split that says most."""
    scheme = results.schemes(dataset)[0]
    keys = ["backbone", "channels"]
    leaders = matching(results.leaderboard, results.head(dataset), dataset=dataset, scheme=scheme)
    known = leaders[[*keys, "may_be_best", "operations"]].dropna()
    return results.full(dataset, scheme).merge(known, on=keys)


def _panel(axes: Axes, results: Results, dataset: str, rows: pd.DataFrame, looks: Looks) -> None:
    scheme = results.schemes(dataset)[0]
    cost = rows["operations"].to_numpy(float) / 1e9
    free = cost == 0
    cheapest = cost[~free].min(initial=np.inf)
    place = np.where(free, cheapest / NO_NETWORK if np.isfinite(cheapest) else 1.0, cost)
    for x, error, (_, row) in zip(
        place, np.transpose(errors_of(rows)), rows.iterrows(), strict=True
    ):
        colour, marker = looks.get(row["store"], (PALE, "o"))
        axes.errorbar(
            x,
            row["mean"],
            yerr=error[:, None],
            fmt=marker,
            color=colour,
            markersize=6 if row["store"] in looks else 4,
            markerfacecolor=colour if row["may_be_best"] else "white",
            elinewidth=1,
            capsize=2,
            zorder=3 if row["store"] in looks else 2,
        )
    best = front(cost, rows["mean"].to_numpy())
    axes.plot(place[best], rows["mean"].to_numpy()[best], drawstyle="steps-post", color=BLACK)
    for i in best:
        if rows["store"].iloc[i] in looks:
            continue
        axes.annotate(
            label_of(rows["store"].iloc[i], 30),
            (place[i], rows["mean"].iloc[i]),
            xytext=(6, 6),
            textcoords="offset points",
            fontsize=7.5,
        )
    axes.set_xscale("log")
    ticks = {place[free][0]: "no\nnetwork"} if free.any() else {}
    if not free.all():
        lowest, highest = cheapest / 1.5, cost.max() * 3
        subs = (1.0,) if highest / lowest > MANY_DECADES else (1.0, 2.0, 5.0)
        known = LogLocator(subs=subs).tick_values(lowest, highest)
        ticks |= {tick: f"{tick:g}" for tick in known if lowest <= tick <= highest}
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.minorticks_off()
    axes.set_xlim(place.min() / 2, place.max() * 4)
    if not np.isnan(floor := results.floor(dataset, scheme)):
        axes.axhline(floor, color=GREY, linestyle=DASHES, linewidth=1)
    axes.set_ylabel(f"{results.metric_name} (0 to 1)")
    axes.grid(axis="y")
    axes.set_title(panel_title(dataset, scheme))
