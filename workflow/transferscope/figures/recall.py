"""Recall of known pairs: one panel per source, one row per map, with intervals and chance."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from transferscope.figures.style import (
    GREY,
    OKABE_ITO,
    PALE,
    annotate,
    label_of,
    label_rows,
    legend_key,
    new_grid,
    note_that_nothing_is_shown,
)
from transferscope.relations.table_names import ALL_PAIRS, SAME_STRATUM, SCORED, TWO_SIDED

ROW_INCHES, PANEL_INCHES, LABEL_INCHES = 0.32, 2.3, 2.6
OFFSET = 0.14
# Which pairs are compared: marker, colour and name.
NULLS = {
    ALL_PAIRS: ("o", OKABE_ITO[0], "all pairs"),
    SAME_STRATUM: ("s", OKABE_ITO[1], "pairs that share a label"),
}


def draw_recall(table: pd.DataFrame) -> Figure:
    """Draw two-sided recall at the first threshold.

    Parameters
    ----------
    table
        Recall, as the step `relate` writes it.
    """
    shown = table[(table["measure"] == TWO_SIDED) & (table["status"] == SCORED)]
    if shown.empty:
        return note_that_nothing_is_shown("No map was scored: recall.csv says why.")
    threshold = shown["threshold"].iloc[0]
    shown = shown[shown["threshold"] == threshold]
    names = zip(shown["map"], shown["correction"], strict=True)
    shown = shown.assign(row=[_label(*name) for name in names])
    rows, sources = list(dict.fromkeys(shown["row"])), list(dict.fromkeys(shown["source"]))
    width = LABEL_INCHES + PANEL_INCHES * len(sources)
    height = 1.9 + ROW_INCHES * len(rows)
    figure, grid = new_grid(width, height, 1, len(sources), sharex=True, sharey=True)
    for axes, source in zip(grid[0], sources, strict=True):
        _panel(axes, shown[shown["source"] == source], rows)
        axes.set_title(label_of(source, 24, 1))
    label_rows(grid[0, 0], rows, 34, 0.6)
    grid[0, 0].set_xlabel("recall (0 to 1)")
    kinds = [kind for kind in NULLS if (shown["null"] == kind).any()]
    handles = [
        legend_key(NULLS[kind][2], color=NULLS[kind][1], marker=NULLS[kind][0]) for kind in kinds
    ]
    grid[0, 0].legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1.12), ncols=2)
    annotate(
        figure,
        "How many known pairs are among the most similar or opposite",
        f"Share of known pairs among the {threshold:.0%} of all pairs at either end. Lines: "
        "intervals by drawing entities. Grey: chance, by permuting their names; dashed: its "
        "expected value.",
    )
    return figure


def _label(name: str, correction: str) -> str:
    return name if correction == "none" else f"{name}, {correction}"


def _panel(axes: Axes, shown: pd.DataFrame, rows: list[str]) -> None:
    places = {row: place for place, row in enumerate(rows)}
    both = shown["null"].nunique() > 1
    for sign, (kind, (marker, colour, _)) in zip((-1, 1), NULLS.items(), strict=True):
        own = shown[shown["null"] == kind]
        if own.empty:
            continue
        heights = own["row"].map(places).to_numpy(dtype=float) + sign * OFFSET * both
        values = own["value"].to_numpy(dtype=float)
        errors = np.stack([values - own["low"], own["high"] - values]).clip(min=0)
        axes.errorbar(
            values,
            heights,
            xerr=errors,
            fmt=marker,
            color=colour,
            markersize=5,
            elinewidth=1.3,
            capsize=2,
            zorder=3,
        )
        known = own["chance_low"].notna().to_numpy()
        bands = own[known]
        axes.barh(
            heights[known],
            (bands["chance_high"] - bands["chance_low"]).to_numpy(dtype=float),
            left=bands["chance_low"].to_numpy(dtype=float),
            height=0.5,
            color=PALE,
            zorder=1,
        )
    axes.axvline(shown["chance"].iloc[0], color=GREY, linewidth=1, linestyle=(0, (4, 2)), zorder=2)
    axes.grid(axis="x")
