"""The ladder of split schemes: scores from the easiest to the hardest, and what each step costs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from transferscope.compare.ladder import steps
from transferscope.compare.tables import matching
from transferscope.config.schemes import GROUP, IMAGE, is_column
from transferscope.figures.results import Results, errors_of, with_labels
from transferscope.figures.style import (
    GREY,
    MARKERS,
    OKABE_ITO,
    annotate,
    label_of,
    label_rows,
    legend_key,
    new_grid,
    note_that_nothing_is_shown,
)

ROW_INCHES, PANEL_INCHES, SCORES_INCHES = 0.36, 2.3, 5.6
SPREAD = 0.5


def draw(results: Results) -> Figure:
    """Draw one row of panels per dataset: the scores of each store, then the cost of each step.

    Parameters
    ----------
    results
        Tables of the comparison.
    """
    if results.ladder.empty:
        return note_that_nothing_is_shown("No store was tested on other values of a column.")
    tables = {
        dataset: with_labels(matching(results.ladder, results.head(dataset), dataset=dataset))
        for dataset in sorted(results.ladder["dataset"].unique())
    }
    columns = list(dict.fromkeys(results.ladder["harder"]))
    made = {pair for table in tables.values() for pair in _pairs(table)}
    shown = [step for step in steps(list(filter(is_column, columns))) if step in made]
    heights = [0.8 + ROW_INCHES * table["store"].nunique() for table in tables.values()]
    figure, grid = new_grid(
        SCORES_INCHES + PANEL_INCHES * len(shown),
        2.0 + sum(heights),
        len(tables),
        1 + len(shown),
        height_ratios=heights,
        width_ratios=[1.5, *[1] * len(shown)],
        sharex="col",
    )
    schemes = results.all_schemes()
    rungs = [name for name in (IMAGE, GROUP) if name in schemes]
    rungs += [name for name in schemes if is_column(name)]
    for row, (dataset, table) in zip(grid, tables.items(), strict=True):
        stores = _stores(results, dataset, table)
        _scores(row[0], results, dataset, stores, rungs)
        for axes, step in zip(row[1:], shown, strict=True):
            _costs(axes, table, stores, step)
    for axes, step in zip(grid[0, 1:], shown, strict=True):
        axes.set_title(_title(*step))
    grid[-1, 0].set_xlabel(f"{results.metric_name} (0 to 1)")
    for axes in grid[-1, 1:]:
        axes.set_xlabel("cost")
    handles = [
        legend_key(f"split by {label_of(name, 20, 1)}", color=colour, marker=marker)
        for name, (colour, marker) in _looks(rungs).items()
    ]
    grid[0, 0].legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0, 1.12), ncols=min(2, len(handles))
    )
    annotate(
        figure,
        "What new groups, batches or sites cost",
        results.footnote(
            "Left: scores of all test folds, all training labels. Right: what a step costs, with "
            "its interval: a new value of a column against the same split with the column "
            "shuffled, which trains on as many groups; filled where it is shown, after correction "
            "for all stores."
        ),
    )
    return figure


def _pairs(table: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(table["easier"], table["harder"], strict=True))


def _title(easier: str, harder: str) -> str:
    if easier == IMAGE:
        return "new groups"
    if easier == GROUP:
        return f"new {label_of(harder, 18, 1)}"
    return f"new {label_of(harder, 14, 1)},\nmore than new {label_of(easier, 14, 1)}"


def _stores(results: Results, dataset: str, table: pd.DataFrame) -> list[str]:
    """Return the stores that have a cost, the highest by the first scheme first."""
    ranked = results.full(dataset, results.schemes(dataset)[0])["store"]
    own = set(table["store"])
    return [store for store in ranked if store in own]


def _looks(rungs: Sequence[str]) -> dict[str, tuple[str, str]]:
    looks = zip(cycle(OKABE_ITO), cycle(MARKERS), strict=False)
    return dict(zip(rungs, looks, strict=False))


def _scores(
    axes: Axes, results: Results, dataset: str, stores: Sequence[str], rungs: Sequence[str]
) -> None:
    places = {store: place for place, store in enumerate(stores)}
    offsets = np.linspace(-SPREAD / 2, SPREAD / 2, len(rungs)) if len(rungs) > 1 else [0.0]
    looks = _looks(rungs)
    for scheme, offset in zip(rungs, offsets, strict=True):
        rows = results.full(dataset, scheme)
        rows = rows[rows["store"].isin(places)]
        if rows.empty:
            continue
        colour, marker = looks[scheme]
        axes.errorbar(
            rows["mean"],
            rows["store"].map(places) + offset,
            xerr=errors_of(rows),
            fmt=marker,
            color=colour,
            markersize=4.5,
            elinewidth=1.2,
            capsize=2,
        )
    label_rows(axes, list(places), 34, 0.6)
    axes.grid(axis="x")
    axes.set_title(label_of(dataset, 40, 1))


def _costs(axes: Axes, table: pd.DataFrame, stores: Sequence[str], step: tuple[str, str]) -> None:
    places = {store: place for place, store in enumerate(stores)}
    rows = matching(table, easier=step[0], harder=step[1])
    for row in rows[rows["store"].isin(places)].to_dict("records"):
        value = row["difference"]
        axes.errorbar(
            [value],
            [places[row["store"]]],
            xerr=[[value - row["ci_low"]], [row["ci_high"] - value]],
            fmt="o",
            color=OKABE_ITO[0],
            markerfacecolor=OKABE_ITO[0] if row["verdict"] in ("better", "worse") else "white",
            markersize=5,
            elinewidth=1.3,
            capsize=2,
            zorder=3,
        )
    axes.axvline(0, color=GREY, linewidth=1, zorder=1)
    axes.set_ylim(len(stores) - 0.4, -0.6)
    axes.set_yticks([])
    axes.grid(axis="x")
