"""Heat map: the F1 of each class for each store."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from transferscope.compare.tables import matching
from transferscope.figures.heatmap import CELL_HEIGHT, CELL_WIDTH, draw_cells, draw_matrices
from transferscope.figures.results import Results, with_labels
from transferscope.figures.style import (
    annotate,
    label_of,
    note_that_nothing_is_shown,
    panel_title,
)


def draw(results: Results) -> Figure:
    """Draw one heat map per dataset, by group where there is such a split.

    Parameters
    ----------
    results
        Tables of the comparison.
    """
    tables = {dataset: _table(results, dataset) for dataset in results.datasets}
    tables = {dataset: table for dataset, table in tables.items() if len(table)}
    if not tables:
        return note_that_nothing_is_shown("There are no predictions, so no scores of classes.")
    widest = max(table["class"].nunique() for table in tables.values())
    figure = draw_matrices(
        tables,
        partial(_panel, results),
        3.6 + CELL_WIDTH * widest,
        [1.5 + CELL_HEIGHT * max(table["store"].nunique(), 2) for table in tables.values()],
        1.3,
        "F1",
    )
    annotate(
        figure,
        "F1 of each class, every store: rare classes are uncertain",
        results.footnote(
            "Cells: F1 of all test folds; below it half the width of its interval. Stores: "
            "best first. Classes: most groups first; in brackets the groups that hold the class.",
            first_scheme_only=True,
        ),
    )
    return figure


def _table(results: Results, dataset: str) -> pd.DataFrame:
    """Return the class table of the chosen head and the more honest split scheme."""
    scheme = results.schemes(dataset)[0]
    return with_labels(
        matching(results.per_class, results.head(dataset), dataset=dataset, scheme=scheme)
    )


def _panel(results: Results, axes: Axes, dataset: str, table: pd.DataFrame) -> None:
    scheme = results.schemes(dataset)[0]
    ranked = [s for s in results.full(dataset, scheme)["store"] if s in set(table["store"])]
    groups = table.groupby("class", sort=True)["n_positive_groups"].max()
    order = groups.sort_values(ascending=False, kind="stable")

    def matrix(column: str) -> Any:
        wide = table.pivot(index="store", columns="class", values=column)
        return wide.loc[ranked, order.index].to_numpy(float)

    names = [f"{label_of(str(c), 22, 1)} ({int(n):,})" for c, n in order.items()]
    values = matrix("f1")
    rows = [label_of(s, 34) for s in ranked]
    draw_cells(axes, values, matrix("ci_low"), matrix("ci_high"), rows, names)
    axes.set_title(f"{panel_title(dataset, scheme)}{_hardest(values, order)}")
    axes.set_xlabel("Class (groups that hold it)")


def _hardest(values: Any, order: pd.Series) -> str:
    if np.isnan(values[0]).all():
        return ""
    hardest = str(order.index[int(np.nanargmin(values[0]))])
    return f": hardest for the best store is {label_of(hardest, 24, 1)}"
