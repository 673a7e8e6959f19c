"""Matrix: which classes the best store confuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from transferscope.compare.tables import Store, matching
from transferscope.figures.heatmap import CELL_HEIGHT, CELL_WIDTH, draw_cells, draw_matrices
from transferscope.figures.results import Results
from transferscope.figures.style import (
    annotate,
    label_of,
    note_that_nothing_is_shown,
    panel_title,
)


def draw(results: Results) -> Figure:
    """Draw one matrix per dataset, of the best store, by group where there is such a split.

    Parameters
    ----------
    results
        Tables of the comparison.
    """
    tables = {
        dataset: matching(results.confusion, dataset=dataset, scheme=results.schemes(dataset)[0])
        for dataset in results.datasets
    }
    tables = {dataset: table for dataset, table in tables.items() if len(table)}
    if not tables:
        return note_that_nothing_is_shown("There are no predictions, so no confusion matrix.")
    sizes = [table["true_class"].nunique() for table in tables.values()]
    figure = draw_matrices(
        tables,
        _panel,
        3.4 + CELL_WIDTH * max(sizes),
        [1.6 + CELL_HEIGHT * n for n in sizes],
        1.5,
        "Share of the true class",
    )
    annotate(
        figure,
        "What the best store predicts next to the true classes"
        if any(map(_several, tables.values()))
        else "What the best store takes for what",
        results.footnote(
            "Cells: of the tiles that truly show the row's class, the share for which the column's "
            "class is predicted; below it half the width of its interval. The diagonal is the "
            "recall. Where tiles have several classes, rows may sum to more than one, and classes "
            "that occur together are no mistake.",
            first_scheme_only=True,
        ),
    )
    return figure


def _panel(axes: Axes, dataset: str, table: pd.DataFrame) -> None:
    classes = list(dict.fromkeys(table["true_class"]))
    n = len(classes)
    share, low, high, also_true = (
        table[column].to_numpy(float).reshape(n, n)
        for column in ("share", "ci_low", "ci_high", "share_true")
    )
    counts = table["n_true"].to_numpy().reshape(n, n)[:, 0]
    rows = [f"{label_of(c, 26, 1)} ({int(t):,})" for c, t in zip(classes, counts, strict=True)]
    draw_cells(axes, share, low, high, rows, [label_of(c, 26, 1) for c in classes])
    axes.set_ylabel("True class (test tiles)")
    axes.set_xlabel("Predicted class" + " (co-occurrence)" * _several(table))
    first = table.iloc[0]
    store = label_of(str(Store(first["backbone"], first["channels"])), 40)
    seen = _largest(share, also_true, classes, _several(table))
    axes.set_title(f"{panel_title(dataset, first['scheme'])}: {store}{seen}")


def _several(table: pd.DataFrame) -> bool:
    """Return whether any tile has several classes: then predicted together is not confused."""
    others = table[table["true_class"] != table["predicted_class"]]
    return bool((others["share_true"] > 0).any())


def _largest(share: Any, also_true: Any, classes: list[str], several: bool) -> str:
    """Name the pair that is predicted most often beyond how often it is true."""
    excess = np.where(np.eye(len(share), dtype=bool), np.nan, share - also_true)
    if np.isnan(excess).all() or np.nanmax(excess) <= 0:
        return ""
    i, j = np.unravel_index(int(np.nanargmax(excess)), excess.shape)
    true, taken = (label_of(classes[c], 22, 1) for c in (int(i), int(j)))
    if several:
        return f"\nmost often predicted without being true: {taken} where {true} is"
    return f"\nmost often confused: {true} taken for {taken}"
