"""Score against depth: every block of a backbone."""

from __future__ import annotations

from itertools import cycle

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from transferscope.compare.tables import Store
from transferscope.figures.results import Results, errors_of
from transferscope.figures.style import (
    BLACK,
    MARKERS,
    OKABE_ITO,
    annotate,
    label_of,
    legend_key,
    legend_on_the_right,
    new_grid,
    note_that_nothing_is_shown,
    panel_title,
)

PANEL_INCHES, LEGEND_INCHES = 3.8, 3.0
# More lines cannot be told apart.
MOST_CURVES = 12


def draw(results: Results) -> Figure:
    """Return a figure with one panel per dataset (rows) and split scheme (columns).

    Parameters
    ----------
    results
        Tables of the comparison.
    """
    layers = results.layers
    if layers.empty:
        return note_that_nothing_is_shown("No backbone was scored block by block.")
    datasets, schemes = (sorted(layers[key].unique()) for key in ("dataset", "scheme"))
    figure, grid = new_grid(
        PANEL_INCHES * len(schemes) + LEGEND_INCHES,
        1.6 + 2.9 * len(datasets),
        len(datasets),
        len(schemes),
        sharey="row",
    )
    pairs = zip(layers["backbone"], layers["channels"], strict=True)
    named = layers.assign(store=[str(Store(*pair)) for pair in pairs])
    looks = dict(zip(named["store"].unique()[:MOST_CURVES], _looks(), strict=False))
    for panels, dataset in zip(grid, datasets, strict=True):
        for panel, scheme in zip(panels, schemes, strict=True):
            own = named[(named["dataset"] == dataset) & (named["scheme"] == scheme)]
            _panel(panel, own, looks)
            panel.set_title(panel_title(dataset, scheme))
        panels[0].set_ylabel(f"{results.metric_name} (0 to 1)")
    for panel in grid[-1]:
        panel.set_xlabel("Block (1: the first)")
    handles = [
        legend_key(label_of(name, 34, 3), color=colour, marker=marker)
        for name, (colour, marker) in looks.items()
    ]
    chosen = legend_key(
        "preferred by validation", color=BLACK, marker="o", mfc="none", markersize=10, linestyle=""
    )
    legend_on_the_right(grid[0, -1], [*handles, chosen], "Store")
    annotate(
        figure,
        f"{results.metric_name} against the depth at which a backbone is read out",
        "Points: scores of all test folds, all training labels, with the head that stands for all "
        "stores. Bands: intervals over groups, for training and for testing, of each block by "
        "itself. Rings: the block with the highest score on validation tiles.",
    )
    return figure


def _looks() -> cycle[tuple[str, str]]:
    return cycle(zip(OKABE_ITO * len(MARKERS), MARKERS * len(OKABE_ITO), strict=True))


def _panel(axes: Axes, rows: pd.DataFrame, looks: dict[str, tuple[str, str]]) -> None:
    for store, blocks in rows.groupby("store", sort=False):
        if store not in looks:
            continue
        colour, marker = looks[str(store)]
        x, y = blocks["block"].to_numpy(), blocks["mean"].to_numpy(float)
        below, above = errors_of(blocks)
        axes.plot(x, y, color=colour, marker=marker, markersize=4, linewidth=1.5)
        axes.fill_between(x, y - below, y + above, color=colour, alpha=0.12, linewidth=0)
        best = blocks["is_chosen"].to_numpy(bool)
        axes.plot(x[best], y[best], "o", color=colour, mfc="none", markersize=10)
    if len(rows):
        first, last = int(rows["block"].min()), int(rows["block"].max())
        axes.set_xticks(range(first, last + 1, max(1, (last - first) // 8)))
    axes.grid()
