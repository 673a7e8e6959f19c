"""Dumbbells: how much higher each store scores when groups are on both sides of the split."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from transferscope.compare.tables import Store
from transferscope.compare.wording import signed
from transferscope.config.results import FigureSettings
from transferscope.figures.results import Results, errors_of
from transferscope.figures.style import (
    GREY,
    SCHEME_COLOURS,
    SCHEME_LABELS,
    annotate,
    label_of,
    new_figure,
    note_that_nothing_is_shown,
)

ROW_INCHES = 0.3
OFFSET = 0.16
SCHEMES = ("group", "image")


def draw(results: Results, settings: FigureSettings) -> Figure:
    """Draw one panel a dataset that was split both ways.

    Parameters
    ----------
    results
        Tables of the comparison.
    settings
        Not used here.
    """
    del settings
    datasets = [d for d in results.datasets if set(SCHEMES) <= set(results.schemes(d))]
    if not datasets:
        return note_that_nothing_is_shown("One split scheme was run, so there is no gap to show.")
    heights = [0.7 + ROW_INCHES * len(results.full(d, "group")) for d in datasets]
    figure = new_figure(9.6, 1.7 + sum(heights))
    grid: Any = figure.subplots(len(datasets), 1, squeeze=False, sharex=True, height_ratios=heights)
    for axes, dataset in zip(grid[:, 0], datasets, strict=True):
        _panel(axes, results, dataset)
    grid[-1, 0].set_xlabel(f"{results.metric_name} (0 to 1)")
    handles = [
        Line2D([], [], color=SCHEME_COLOURS[s], marker="os"[i], label=SCHEME_LABELS[s])
        for i, s in enumerate(SCHEMES)
    ]
    grid[0, 0].legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1.09), ncols=2)
    annotate(
        figure,
        "What a split by image adds to the score",
        results.footnote(
            "Points: means over test folds, all training labels. Right: image minus group, with "
            "the paired interval; * where it is real after Holm's correction."
        ),
    )
    return figure


def _panel(axes: Axes, results: Results, dataset: str) -> None:
    by_group = results.full(dataset, "group").reset_index(drop=True)
    places = {store: i for i, store in enumerate(by_group["store"])}
    for index, scheme in enumerate(SCHEMES):
        rows = results.full(dataset, scheme)
        rows = rows[rows["store"].isin(places)]
        heights = rows["store"].map(places) + (index - 0.5) * 2 * OFFSET
        axes.errorbar(
            rows["mean"],
            heights,
            xerr=errors_of(rows),
            fmt="os"[index],
            color=SCHEME_COLOURS[scheme],
            markersize=5,
            elinewidth=1.3,
            capsize=2,
            zorder=3,
        )
    _connect(axes, by_group, results.full(dataset, "image"))
    gaps = _gaps(results, dataset)
    for store, place in places.items():
        if store in gaps:
            beside = axes.get_yaxis_transform()
            axes.text(1.015, place, gaps[store], transform=beside, va="center", fontsize=8)
    axes.set_yticks(list(places.values()), [label_of(s, 34) for s in places])
    axes.set_ylim(len(places) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.set_title(f"{label_of(dataset, 40, 1)}: {_what_is_seen(by_group, results, dataset)}")


def _connect(axes: Axes, by_group: pd.DataFrame, by_image: pd.DataFrame) -> None:
    images = by_image.set_index("store")["mean"]
    for place, row in by_group.iterrows():
        if row["store"] in images.index:
            ends = [row["mean"], images[row["store"]]]
            heights = [int(str(place)) - OFFSET, int(str(place)) + OFFSET]
            axes.plot(ends, heights, color=GREY, linewidth=1, zorder=2)


def _gap_rows(results: Results, dataset: str) -> pd.DataFrame:
    head, rows = results.head(dataset), results.differences
    return rows[
        (rows["kind"] == "scheme")
        & (rows["dataset"] == dataset)
        & (rows["head"] == head.kind)
        & (rows["k"].fillna(0) == head.k)
    ]


def _gaps(results: Results, dataset: str) -> dict[str, str]:
    return {
        str(Store(row["first_backbone"], row["first_channels"])): (
            f"{signed(row['difference'])} ({signed(row['ci_low'])} to {signed(row['ci_high'])})"
            f"{' *' if row['significant'] else ''}"
        )
        for _, row in _gap_rows(results, dataset).iterrows()
    }


def _what_is_seen(by_group: pd.DataFrame, results: Results, dataset: str) -> str:
    gaps = (
        results.full(dataset, "image").set_index("store")["mean"]
        - by_group.set_index("store")["mean"]
    )
    mean = float(np.nanmean(gaps)) if len(gaps) else float("nan")
    return f"by image minus by group is {signed(mean)} on average over {len(by_group)} stores"
