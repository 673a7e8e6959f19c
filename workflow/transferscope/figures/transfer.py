"""The transfer matrix: scores of heads from one dataset on another one, and what that costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from transferscope.compare.tables import matching
from transferscope.config.transfer import OWN, ZERO_SHOT
from transferscope.figures.heatmap import COLOURS, NAME_SIZE, SPREAD_SIZE, VALUE_SIZE
from transferscope.figures.results import Results, with_labels
from transferscope.figures.style import (
    annotate,
    label_of,
    new_grid,
    note_that_nothing_is_shown,
    text_colour,
)

CELL_WIDTH, CELL_HEIGHT, NAMES_INCHES = 1.2, 0.5, 3.4


def draw(results: Results) -> Figure:
    """Draw one matrix per dataset that is trained on: a row per store, a column per tested one.

    Parameters
    ----------
    results
        Tables of the comparison.
    """
    table = results.transfer
    if table.empty:
        return note_that_nothing_is_shown("No dataset was tested on another one.")
    sources = [name for name in results.datasets if name in set(table["source"])]
    rows = {source: _stores(results, source) for source in sources}
    tested = sorted({*sources, *table["dataset"]})
    heights = [0.5 + CELL_HEIGHT * max(len(stores), 1) for stores in rows.values()]
    figure, grid = new_grid(
        max(6.5, NAMES_INCHES + CELL_WIDTH * (len(tested) + 1)),
        2.2 + sum(heights),
        len(sources),
        1,
        height_ratios=heights,
    )
    for axes, source in zip(grid[:, 0], sources, strict=True):
        _matrix(axes, results, source, rows[source], tested)
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, 1), COLOURS),
        ax=grid[:, 0].tolist(),
        shrink=0.6,
        aspect=18,
        pad=0.015,
    )
    bar.set_label(f"{results.metric_name} (0 to 1)")
    bar.outline.set_visible(False)
    annotate(
        figure,
        "Trained on one dataset, tested on another",
        results.footnote(
            "Columns: what is tested. Under a score stands the cost: the score of heads with the "
            "tested dataset's own labels minus this one, on the same test groups; with a star "
            "where it is shown, after correction for all stores and pairs of datasets."
        ),
    )
    return figure


def _stores(results: Results, source: str) -> list[str]:
    """Return the stores that are trained on a dataset, the highest there first."""
    head = results.head(source)
    own = with_labels(matching(results.transfer, head, dataset=source, scheme=OWN))
    known = set(with_labels(matching(results.transfer, head, source=source))["store"])
    ranked = own.sort_values("mean", ascending=False, kind="stable")["store"]
    return [name for name in dict.fromkeys([*ranked, *sorted(known)]) if name in known]


def _matrix(
    axes: Axes, results: Results, source: str, stores: list[str], tested: list[str]
) -> None:
    values = np.full((max(len(stores), 1), len(tested)), np.nan)
    under = np.full(values.shape, "", dtype=object)
    for j, dataset in enumerate(tested):
        found = _column(results, source, dataset)
        for i, store in enumerate(stores):
            values[i, j], under[i, j] = found.get(store, (np.nan, ""))
    axes.imshow(np.ma.masked_invalid(values), cmap=COLOURS, vmin=0, vmax=1, aspect="auto")
    centred: dict[str, Any] = {"ha": "center", "va": "center"}
    for (i, j), value in np.ndenumerate(values):
        if np.isnan(value):
            axes.text(j, i, "-", fontsize=SPREAD_SIZE, **centred)
            continue
        colour = text_colour(colormaps[COLOURS](float(value)))
        axes.text(j, i - 0.17, f"{value:.2f}", fontsize=VALUE_SIZE, color=colour, **centred)
        axes.text(j, i + 0.24, str(under[i, j]), fontsize=SPREAD_SIZE, color=colour, **centred)
    axes.set_xticks(range(len(tested)), [label_of(name, 16, 2) for name in tested])
    axes.set_yticks(range(len(stores)), [label_of(name, 34, 2) for name in stores])
    axes.tick_params(length=0, labelsize=NAME_SIZE)
    axes.spines[:].set_visible(False)
    axes.set_title(f"trained on {label_of(source, 40, 1)}")


def _column(results: Results, source: str, dataset: str) -> dict[str, tuple[float, str]]:
    """Return the score of each store on a dataset, and what stands under it."""
    head = results.head(source)
    if dataset == source:
        # Trained with each of the others: of different classes, where these share different ones.
        own = with_labels(matching(results.transfer, head, dataset=source, scheme=OWN))
        means = own.groupby("store")["mean"].mean()
        return {str(store): (float(value), "own labels") for store, value in means.items()}
    named = {"source": source, "dataset": dataset}
    rows = with_labels(matching(results.transfer, head, scheme=ZERO_SHOT, **named))
    steps = {"better_with": OWN, "than": ZERO_SHOT}
    costs = with_labels(matching(results.transfer_costs, head, **named, **steps))
    told = {row["store"]: _told(row) for row in costs.to_dict("records")}
    return {
        row["store"]: (float(row["mean"]), told.get(row["store"], ""))
        for row in rows.to_dict("records")
    }


def _told(row: Mapping[Any, Any]) -> str:
    star = " *" if row["verdict"] in ("better", "worse") else ""
    return f"cost {row['difference']:+.2f}{star}".replace("-", "\N{MINUS SIGN}")
