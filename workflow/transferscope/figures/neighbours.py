"""Curves: k-NN over the number of neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from transferscope.compare.tables import Head
from transferscope.config import FigureSettings
from transferscope.figures.curves import draw_curves, handles_of, highlighted, ticks_at
from transferscope.figures.results import Results
from transferscope.figures.style import (
    GREY,
    SCHEME_LABELS,
    annotate,
    label_of,
    legend_beside,
    new_figure,
    note_that_nothing_is_shown,
)


def draw(results: Results, settings: FigureSettings) -> Figure:
    """Draw k-NN curves for all datasets (rows) and split schemes (columns), full fraction.

    Parameters
    ----------
    results
        Tables of the comparison.
    settings
        Not used here.
    """
    del settings
    schemes = results.all_schemes()
    datasets = [d for d in results.datasets if len(_of_all_k(results, d, results.schemes(d)[0]))]
    if not datasets:
        return note_that_nothing_is_shown("k-NN was not run, so there is no curve over k.")
    figure = new_figure(3.2 + 3.7 * len(schemes), 1.5 + 3.3 * len(datasets))
    grid: Any = figure.subplots(len(datasets), len(schemes), squeeze=False, sharey="row")
    for row, dataset in enumerate(datasets):
        ranked = _ranked(_of_all_k(results, dataset, results.schemes(dataset)[0]))
        looks = highlighted(ranked)
        for column, scheme in enumerate(schemes):
            _panel(grid[row, column], results, dataset, scheme, looks)
        grid[row, 0].set_ylabel(results.metric_name)
        floor = any(not np.isnan(results.floor(dataset, s)) for s in schemes)
        legend_beside(grid[row, -1], handles_of(looks, len(ranked), floor), "Stores, best first")
    annotate(
        figure,
        f"{results.metric_name} of k nearest neighbours against k",
        results.footnote("Points: means over test folds, all training labels.", head=False),
    )
    return figure


def _of_all_k(results: Results, dataset: str, scheme: str) -> pd.DataFrame:
    known = sorted(results.summary.loc[results.summary["head"] == "knn", "k"].dropna().unique())
    parts = [results.full(dataset, scheme, Head("knn", int(k))) for k in known]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _ranked(rows: pd.DataFrame) -> pd.DataFrame:
    """Return each store at its best k, the best store first."""
    order = rows.sort_values(["mean", "store"], ascending=[False, True], kind="stable")
    return order.drop_duplicates("store")


def _panel(
    axes: Axes, results: Results, dataset: str, scheme: str, looks: dict[str, tuple[str, str]]
) -> None:
    rows = _of_all_k(results, dataset, scheme)
    axes.set_xlabel("Neighbours k")
    axes.set_title(f"{label_of(dataset, 40, 1)}, {SCHEME_LABELS.get(scheme, scheme)}")
    if rows.empty:
        return
    draw_curves(axes, rows, "k", looks)
    floor = results.floor(dataset, scheme)
    if not np.isnan(floor):
        axes.axhline(floor, color=GREY, linestyle=(0, (4, 2)))
    ticks_at(axes, rows["k"].astype(float).tolist())
    axes.grid()
    best = _ranked(rows).iloc[0]
    title = axes.get_title(loc="left")
    axes.set_title(f"{title}\nbest at k = {best['k']}: {label_of(best['store'], 34)}")
