"""Curves: how the score grows with the number of labelled training groups of each class."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

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
    legend_key,
    new_grid,
    note_that_nothing_is_shown,
    panel_title,
)

X, DOTTED = "groups_per_class", ":"


def draw(results: Results) -> Figure:
    """Draw curves for all datasets (rows) and split schemes (columns).

    Parameters
    ----------
    results
        Tables of the comparison.
    """
    if results.groups_per_class.empty:
        return note_that_nothing_is_shown("No heads were trained with few groups of each class.")
    schemes, datasets = results.all_schemes(), results.datasets
    figure, grid = new_grid(
        3.2 + 3.7 * len(schemes),
        1.5 + 3.3 * len(datasets),
        len(datasets),
        len(schemes),
        sharey="row",
    )
    for row, dataset in zip(grid, datasets, strict=True):
        ranked = results.full(dataset, results.schemes(dataset)[0])
        looks = highlighted(ranked, looks_of_study(results))
        for axes, scheme in zip(row, schemes, strict=True):
            _panel(axes, results, dataset, scheme, looks)
        row[0].set_ylabel(results.metric_name)
        floor = floor_keys(FLOOR_LABEL, known=results.has_floor(dataset))
        full = legend_key("all training groups", color=GREY, linestyle=DOTTED)
        legend_of_stores(row[-1], looks, len(ranked), [full, *floor])
    annotate(
        figure,
        f"{results.metric_name} against the number of labelled training groups per class",
        results.footnote(
            "Points: scores of all test folds; nested, whole groups, none for validation; all of a "
            "class that has fewer. Dotted: each store in colour with all training groups."
        ),
    )
    return figure


def _panel(axes: Axes, results: Results, dataset: str, scheme: str, looks: Looks) -> None:
    rows = results.few_groups(dataset, scheme)
    draw_curves(axes, rows, X, looks)
    for row in results.full(dataset, scheme).to_dict("records"):
        if row["store"] in looks:
            axes.axhline(row["mean"], color=looks[row["store"]][0], linestyle=DOTTED, linewidth=1)
    if results.has_floor(dataset):
        axes.axhline(results.floor(dataset, scheme), color=GREY, linestyle=DASHES)
    ticks_at(axes, rows[X].tolist())
    axes.grid()
    axes.set_xlabel("Training groups per class")
    axes.set_title(panel_title(dataset, scheme))
