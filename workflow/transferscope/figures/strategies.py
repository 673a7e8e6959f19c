"""Bars: each backbone under each channel strategy, with intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from transferscope.compare.tables import matching
from transferscope.config.channel_strategies import MAP_RANDOM
from transferscope.figures.results import Results, errors_of
from transferscope.figures.style import (
    BLACK,
    DASHES,
    FLOOR_LABEL,
    annotate,
    label_of,
    legend_key,
    legend_on_the_right,
    new_grid,
    panel_title,
    score_axis,
    strategy_colours,
    strategy_label,
)

BAR_INCHES = 0.2


def draw(results: Results) -> Figure:
    """Draw bars for all datasets (rows) and split schemes (columns), full fraction.

    Parameters
    ----------
    results
        Tables of the comparison.
    """
    schemes = results.all_schemes()
    order = {dataset: _positions(results, dataset) for dataset in results.datasets}
    heights = [max(1.3, 0.55 + BAR_INCHES * max(p.values(), default=0)) for p in order.values()]
    figure, grid = new_grid(
        4.6 + 3.1 * len(schemes),
        1.5 + sum(heights),
        len(order),
        len(schemes),
        sharex=True,
        height_ratios=heights,
    )
    for (row, column), axes in np.ndenumerate(grid):
        dataset = results.datasets[row]
        _bars(axes, results, dataset, schemes[column], order[dataset])
        axes.tick_params(labelleft=column == 0)
    for axes in grid[-1]:
        axes.set_xlabel(f"{results.metric_name} (0 to 1)")
    legend_on_the_right(grid[0, -1], _handles(results), "Channel strategy")
    annotate(
        figure,
        f"{results.metric_name} of every backbone and channel strategy, all training labels",
        results.footnote(
            "Bars: scores of all test folds, means of map-random over its orders."
            if (results.summary["channels"] == MAP_RANDOM).any()
            else "Bars: scores of all test folds."
        ),
    )
    return figure


def _positions(results: Results, dataset: str) -> dict[tuple[str, str], float]:
    """Return the height of each store's bar: backbones by their best score, a gap between them."""
    rows = pd.concat([results.full(dataset, s) for s in results.schemes(dataset)])
    rows = rows.drop_duplicates("store")
    strategies = list(strategy_colours(rows["channels"]))
    positions: dict[tuple[str, str], float] = {}
    height = 0.0
    for backbone in dict.fromkeys(rows["backbone"]):
        own = rows.loc[rows["backbone"] == backbone, "channels"]
        for channels in sorted(own, key=strategies.index):
            positions[backbone, channels] = height
            height += 1
        height += 0.6
    return positions


def _bars(
    axes: Axes,
    results: Results,
    dataset: str,
    scheme: str,
    positions: dict[tuple[str, str], float],
) -> None:
    rows = results.full(dataset, scheme)
    heights = [positions[key] for key in zip(rows["backbone"], rows["channels"], strict=True)]
    colour_of = strategy_colours(results.summary["channels"])
    colours = [colour_of[c] for c in rows["channels"]]
    axes.barh(
        heights,
        rows["mean"],
        xerr=errors_of(rows),
        height=0.86,
        color=colours,
        error_kw={"ecolor": BLACK, "elinewidth": 1, "capsize": 1.8},
    )
    on_white = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.4}
    for height, (_, row) in zip(heights, rows.iterrows(), strict=True):
        end = row["mean"] if np.isnan(row["ci_high"]) else row["ci_high"]
        axes.text(
            end + 0.012, height, f"{row['mean']:.2f}", va="center", fontsize=7.5, bbox=on_white
        )
    if not np.isnan(floor := results.floor(dataset, scheme)):
        axes.axvline(floor, color=BLACK, linestyle=DASHES, linewidth=1)
    _name_backbones(axes, positions)
    score_axis(axes, 1.08)
    best = rows.iloc[0]
    leaders = matching(results.leaderboard, results.head(dataset), dataset=dataset, scheme=scheme)
    n_leaders = int(leaders["may_be_best"].sum())
    others = f"\n{n_leaders} of {len(leaders)} may be the best" if n_leaders > 1 else ""
    axes.set_title(
        f"{panel_title(dataset, scheme)}\nhighest: {label_of(best['store'], 36)}{others}"
    )


def _name_backbones(axes: Axes, positions: dict[tuple[str, str], float]) -> None:
    middles: dict[str, list[float]] = {}
    for (backbone, _), height in positions.items():
        middles.setdefault(backbone, []).append(height)
    axes.set_yticks(
        [float(np.mean(h)) for h in middles.values()], [label_of(b, 26) for b in middles]
    )
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(max(positions.values(), default=0) + 0.7, -0.7)


def _handles(results: Results) -> list[Any]:
    colours = strategy_colours(results.summary["channels"])
    handles: list[Any] = [
        Patch(color=colour, label=strategy_label(channels)) for channels, colour in colours.items()
    ]
    if any(results.has_floor(dataset) for dataset in results.datasets):
        handles.append(legend_key(FLOOR_LABEL, color=BLACK, linestyle=DASHES))
    return handles
