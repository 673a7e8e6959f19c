"""Bars: each backbone under each channel strategy, with intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from transferscope.config.channel_strategies import MAP_RANDOM
from transferscope.config.results import FigureSettings
from transferscope.figures.results import Results, errors_of
from transferscope.figures.style import (
    BLACK,
    SCHEME_LABELS,
    annotate,
    label_of,
    legend_beside,
    new_figure,
    strategy_colours,
    strategy_label,
)

BAR_INCHES = 0.2


def draw(results: Results, settings: FigureSettings) -> Figure:
    """Draw bars for all datasets (rows) and split schemes (columns), full fraction.

    Parameters
    ----------
    results
        Tables of the comparison.
    settings
        Not used here.
    """
    del settings
    schemes = results.all_schemes()
    order = {dataset: _positions(results, dataset) for dataset in results.datasets}
    heights = [max(1.3, 0.55 + BAR_INCHES * max(p.values(), default=0)) for p in order.values()]
    figure = new_figure(4.6 + 3.1 * len(schemes), 1.5 + sum(heights))
    grid: Any = figure.subplots(
        len(order), len(schemes), squeeze=False, sharex=True, height_ratios=heights
    )
    for row, (dataset, positions) in enumerate(order.items()):
        for column, scheme in enumerate(schemes):
            _bars(grid[row, column], results, dataset, scheme, positions)
            grid[row, column].tick_params(labelleft=column == 0)
    for axes in grid[-1]:
        axes.set_xlabel(f"{results.metric_name} (0 to 1)")
    legend_beside(grid[0, -1], _handles(results), "Channel strategy")
    annotate(
        figure,
        f"{results.metric_name} of every backbone and channel strategy, all training labels",
        results.footnote(_what_bars_show(results)),
    )
    return figure


def _what_bars_show(results: Results) -> str:
    if (results.summary["channels"] == MAP_RANDOM).any():
        return "Bars: means over test folds, of map-random over its orders, too."
    return "Bars: means over test folds."


def _positions(results: Results, dataset: str) -> dict[tuple[str, str], float]:
    """Return the height of each store's bar: backbones by their best score, a gap between them."""
    ranked = results.full(dataset, results.schemes(dataset)[0])
    others = [results.full(dataset, s) for s in results.schemes(dataset)[1:]]
    rows = pd.concat([ranked, *others]).drop_duplicates(["backbone", "channels"])
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
    floor = results.floor(dataset, scheme)
    if not np.isnan(floor):
        axes.axvline(floor, color=BLACK, linestyle=(0, (4, 2)), linewidth=1)
    _name_backbones(axes, positions)
    axes.set_xlim(0, 1.08)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.grid(axis="x")
    best = rows.iloc[0]
    title = f"{label_of(dataset, 40, 1)}, {SCHEME_LABELS.get(scheme, scheme)}"
    axes.set_title(f"{title}\nbest: {label_of(best['store'], 36)}")


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
    floors = [results.floor(d, s) for d in results.datasets for s in results.schemes(d)]
    if not np.isnan(floors).all():
        line = Line2D([], [], color=BLACK, linestyle=(0, (4, 2)), label="floor: labels alone")
        handles.append(line)
    return handles
