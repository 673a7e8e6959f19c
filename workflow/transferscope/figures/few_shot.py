"""How many labels of another dataset its heads need, with and without those of the first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from transferscope.compare.tables import matching
from transferscope.config.transfer import ALONE, FEW_SHOT, OWN, ZERO_SHOT, n_labelled
from transferscope.figures.results import Results, errors_of, with_labels
from transferscope.figures.style import (
    GREY,
    OKABE_ITO,
    annotate,
    label_of,
    legend_key,
    new_grid,
    note_that_nothing_is_shown,
)

PANEL_WIDTH, PANEL_HEIGHT, MOST_STORES = 3.2, 2.3, 4
LOOKS: Mapping[str, dict[str, Any]] = {
    FEW_SHOT: {"color": OKABE_ITO[0], "marker": "o"},
    ALONE: {"color": OKABE_ITO[1], "marker": "s", "linestyle": "--"},
}


def draw(results: Results) -> Figure:
    """Draw one row of panels per pair of datasets: the stores that are highest without labels.

    Parameters
    ----------
    results
        Tables of the comparison.
    """
    table = results.transfer
    if table.empty or not table["scheme"].map(n_labelled).any():
        return note_that_nothing_is_shown("No labels of another dataset were added.")
    named = table[["source", "dataset"]].drop_duplicates().itertuples(index=False, name=None)
    panels = {
        pair: with_labels(matching(table, results.head(pair[0]), source=pair[0], dataset=pair[1]))
        for pair in sorted(named)
        if pair[0] in results.datasets
    }
    n_columns = min(MOST_STORES, max(each["store"].nunique() for each in panels.values()))
    figure, grid = new_grid(
        max(6.5, 1 + PANEL_WIDTH * n_columns),
        1.8 + PANEL_HEIGHT * len(panels),
        len(panels),
        n_columns,
        sharex=True,
        sharey=True,
    )
    for row, ((source, dataset), own) in zip(grid, panels.items(), strict=True):
        ranked = matching(own, scheme=ZERO_SHOT).sort_values("mean", ascending=False)
        stores = list(ranked["store"])[:n_columns]
        for axes in row[len(stores) :]:
            axes.set_visible(False)
        for axes, store in zip(row, stores, strict=False):
            _panel(axes, own[own["store"] == store])
            axes.set_title(label_of(store, 30, 2))
        row[0].set_ylabel(f"{label_of(source, 18, 1)}\nto {label_of(dataset, 18, 1)}")
    for axes in grid[-1]:
        axes.set_xlabel("labelled groups per class")
    handles = [
        legend_key("with the first dataset", **LOOKS[FEW_SHOT]),
        legend_key("these labels alone", **LOOKS[ALONE]),
        legend_key("all labels of the tested dataset", color=GREY),
    ]
    grid[0, 0].legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1.14))
    annotate(
        figure,
        "How many labels another dataset needs",
        results.footnote(
            f"{results.metric_name} on the second dataset (0 to 1); at 0, heads of the first "
            "alone. Grey: heads with all training groups of the second, on the same test groups."
        ),
    )
    return figure


def _panel(axes: Axes, rows: pd.DataFrame) -> None:
    for kind, look in LOOKS.items():
        is_own = rows["scheme"].str.startswith(f"{kind}-")
        if kind == FEW_SHOT:
            is_own |= rows["scheme"] == ZERO_SHOT
        own = rows[is_own].assign(k=rows["scheme"].map(n_labelled)).sort_values("k")
        axes.errorbar(
            own["k"],
            own["mean"],
            yerr=errors_of(own),
            markersize=4.5,
            elinewidth=1.2,
            capsize=2,
            **look,
        )
    for row in matching(rows, scheme=OWN).to_dict("records"):
        axes.axhline(row["mean"], color=GREY, linewidth=1.2)
        axes.axhspan(row["ci_low"], row["ci_high"], color=GREY, alpha=0.15, linewidth=0)
    axes.set_ylim(0, 1)
    axes.grid(axis="y")
