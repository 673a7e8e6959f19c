"""Curves: how the score grows with the number of training groups."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from transferscope.compare.plateau import SATURATED
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
    legend_on_the_right,
    new_grid,
    panel_title,
)
from transferscope.figures.tuning_curves import (
    draw_tuning,
    handles_of_modes,
    looks_of,
    tuned_stores,
)
from transferscope.probes.score_table import FLOOR


def draw(results: Results) -> Figure:
    """Draw curves for all datasets (rows) and split schemes (columns).

    Parameters
    ----------
    results
        Tables of the comparison.
    """
    schemes, datasets = results.all_schemes(), results.datasets
    tuned = [(d, store) for d in datasets for store in tuned_stores(results, d)]
    n_rows = len(datasets) + len(tuned)
    figure, grid = new_grid(
        3.2 + 3.7 * len(schemes), 1.5 + 3.3 * n_rows, n_rows, len(schemes), sharey="row"
    )
    for row, dataset in enumerate(datasets):
        _row_of_stores(grid[row], results, dataset, schemes)
    looks = looks_of(results)
    for row, (dataset, store) in enumerate(tuned, len(datasets)):
        for axes, scheme in zip(grid[row], schemes, strict=True):
            draw_tuning(axes, results, dataset, scheme, store, looks)
        grid[row, 0].set_ylabel(results.metric_name)
        legend_on_the_right(
            grid[row, -1], handles_of_modes(looks), f"Fine-tuned, {label_of(dataset)}"
        )
    annotate(
        figure,
        f"{results.metric_name} against the number of labelled training groups",
        results.footnote(_note(bool(tuned))),
    )
    return figure


def _row_of_stores(panels: Any, results: Results, dataset: str, schemes: list[str]) -> None:
    """Draw one row: all stores of a dataset, frozen, with the head that stands for them."""
    ranked = results.full(dataset, results.schemes(dataset)[0])
    looks = highlighted(ranked, looks_of_study(results))
    for axes, scheme in zip(panels, schemes, strict=True):
        _panel(axes, results, dataset, scheme, looks)
    panels[0].set_ylabel(results.metric_name)
    floor = floor_keys(FLOOR_LABEL, known=results.has_floor(dataset))
    legend_of_stores(panels[-1], looks, len(ranked), floor)


def _note(tuned: bool) -> str:
    text = (
        "Points: scores of all test folds; fractions are nested, whole groups, validation included "
        "in the budget."
    )
    if not tuned:
        return text
    return (
        f"{text} Fine-tuned: black is the best head on the frozen backbone, chosen at each "
        "fraction; fine-tuning is worth it from the first fraction from which the interval of "
        "the paired difference stays above zero."
    )


def _panel(axes: Axes, results: Results, dataset: str, scheme: str, looks: Looks) -> None:
    rows = results.curve(dataset, scheme)
    draw_curves(axes, rows, "n_train_groups", looks)
    floor = results.curve(dataset, scheme, Head(FLOOR)).groupby("fraction")
    line = floor[["n_train_groups", "mean"]].mean().sort_index()
    axes.plot(line["n_train_groups"], line["mean"], color=GREY, linestyle=DASHES)
    ticks_at(axes, rows["n_train_groups"].round().tolist())
    axes.grid()
    axes.set_xlabel("Training groups (mean per fold)")
    axes.set_title(f"{panel_title(dataset, scheme)}\n{_what_is_shown(results, dataset, scheme)}")


def _what_is_shown(results: Results, dataset: str, scheme: str) -> str:
    """Say from how many groups on the highest store is shown to be near its full score."""
    best = results.full(dataset, scheme).iloc[0]
    rows = results.curve(dataset, scheme)
    curve = rows[rows["store"] == best["store"]]
    if len(curve) < 2 or best["mean"] <= 0:
        return f"highest: {label_of(best['store'], 34)}"
    chosen = matching(results.chosen, dataset=dataset, scheme=scheme).iloc[0]
    enough = curve[curve["fraction"] == chosen["enough_from"]]
    if enough.empty:
        return "no smaller number of groups is shown to be enough"
    groups = round(enough.iloc[0]["n_train_groups"])
    return f"highest store: {SATURATED:.0%} of its score shown from {groups:,} groups on"
