"""Curves: k-NN over the number of neighbours, one row of panels per kind of k-NN."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from transferscope.compare.tables import Head, matching
from transferscope.figures.curves import (
    Looks,
    draw_curves,
    floor_keys,
    highlighted,
    legend_of_stores,
    looks_of_study,
    ticks_at,
)
from transferscope.figures.results import Results
from transferscope.figures.style import (
    DASHES,
    FLOOR_LABEL,
    GREY,
    annotate,
    label_of,
    new_grid,
    note_that_nothing_is_shown,
    panel_title,
)
from transferscope.probes.score_table import KNN, knn_heads


def draw(results: Results) -> Figure:
    """Draw k-NN curves for all datasets and kinds of k-NN (rows) and split schemes (columns).

    Parameters
    ----------
    results
        Tables of the comparison.
    """
    schemes = results.all_schemes()
    kinds = [(d, kind) for d in results.datasets for kind in _kinds(results, d)]
    if not kinds:
        return note_that_nothing_is_shown("k-NN was not run, so there is no curve over k.")
    figure, grid = new_grid(
        3.2 + 3.7 * len(schemes), 1.5 + 3.3 * len(kinds), len(kinds), len(schemes), sharey="row"
    )
    for row, (dataset, kind) in enumerate(kinds):
        looks, n_stores = _looks(results, dataset)
        for column, scheme in enumerate(schemes):
            _panel(grid[row, column], results, dataset, scheme, kind, looks)
        grid[row, 0].set_ylabel(results.metric_name)
        floor = floor_keys(FLOOR_LABEL, known=results.has_floor(dataset))
        legend_of_stores(grid[row, -1], looks, n_stores, floor)
    # All kinds of k-NN of a dataset have one scale, so that they can be compared.
    for dataset in results.datasets:
        own = [grid[row, 0] for row, (name, _) in enumerate(kinds) if name == dataset]
        limits = [axes.get_ylim() for axes in own]
        for axes in own:
            axes.set_ylim(np.min(limits), np.max(limits))
    annotate(
        figure,
        f"{results.metric_name} of k nearest neighbours against k",
        results.footnote("Points: scores of all test folds, all training labels.", head=False),
    )
    return figure


def _kinds(results: Results, dataset: str) -> list[str]:
    """Return the kinds of k-NN that were run on a dataset."""
    run = set(matching(results.summary, dataset=dataset)["head"])
    return [kind for kind in knn_heads() if kind in run]


def _looks(results: Results, dataset: str) -> tuple[Looks, int]:
    """Return how the stores look in all panels of a dataset, and how many there are."""
    first = results.schemes(dataset)[0]
    parts = [_of_all_k(results, dataset, first, kind) for kind in _kinds(results, dataset)]
    ranked = _ranked(pd.concat(parts, ignore_index=True))
    return highlighted(ranked, looks_of_study(results)), len(ranked)


def _of_all_k(results: Results, dataset: str, scheme: str, kind: str) -> pd.DataFrame:
    known = sorted(results.summary.loc[results.summary["head"] == kind, "k"].dropna().unique())
    parts = [results.full(dataset, scheme, Head(kind, int(k))) for k in known]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _ranked(rows: pd.DataFrame) -> pd.DataFrame:
    """Return each store at its best k, the best store first."""
    order = rows.sort_values(["mean", "store"], ascending=[False, True], kind="stable")
    return order.drop_duplicates("store")


def _panel(
    axes: Axes,
    results: Results,
    dataset: str,
    scheme: str,
    kind: str,
    looks: Looks,
) -> None:
    rows = _of_all_k(results, dataset, scheme, kind)
    axes.set_xlabel("Neighbours k")
    title = panel_title(dataset, scheme)
    if kind != KNN:
        title = f"{title}\n{knn_heads()[kind]}"
    axes.set_title(title)
    if rows.empty:
        return
    draw_curves(axes, rows, "k", looks)
    if not np.isnan(floor := results.floor(dataset, scheme)):
        axes.axhline(floor, color=GREY, linestyle=DASHES)
    ticks_at(axes, rows["k"].astype(float).tolist())
    axes.grid()
    best = _ranked(rows).iloc[0]
    axes.set_title(f"{title}\nbest at k = {best['k']}: {label_of(best['store'], 34)}")
