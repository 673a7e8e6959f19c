"""What the scaling and the k-NN curves share: a line and a band per store, the best in colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from transferscope.config.channel_strategies import FEATURES
from transferscope.figures.style import (
    BLACK,
    DASHES,
    FLOOR_LABEL,
    GREY,
    MARKERS,
    OKABE_ITO,
    PALE,
    label_of,
    legend_key,
    legend_on_the_right,
)

# Name of a line -> its colour and marker.
Looks = dict[str, tuple[str, str]]
HIGHLIGHTED = 5
HANDCRAFTED_MARKER = "*"


def highlighted(ranked: pd.DataFrame) -> Looks:
    """Return colour and marker of the stores that stand out.

    The best stores take colours; the best hand-crafted features are black, wherever they rank.

    Parameters
    ----------
    ranked
        Stores at the full fraction, the best first.
    """
    networks = ranked[ranked["channels"] != FEATURES]["store"].head(HIGHLIGHTED)
    looks = dict(zip(dict.fromkeys(networks), zip(OKABE_ITO, MARKERS, strict=True), strict=False))
    baseline = ranked[ranked["channels"] == FEATURES]["store"].head(1)
    return {**looks, **dict.fromkeys(baseline, (BLACK, HANDCRAFTED_MARKER))}


def draw_curves(axes: Axes, rows: pd.DataFrame, x: str, looks: Looks) -> None:
    """Draw one line per store over a column, with bands for the stores that stand out.

    Parameters
    ----------
    axes
        Where to draw.
    rows
        Rows of the summary, with `store`.
    x
        The column on the horizontal axis.
    looks
        From `highlighted`.
    """
    for store, curve in rows.groupby("store", sort=True):
        if store in looks:
            draw_line(axes, curve, *looks[str(store)], x)
        else:
            curve = curve.sort_values(x)
            axes.plot(curve[x].to_numpy(float), curve["mean"], color=PALE, linewidth=0.9, zorder=1)


def draw_line(
    axes: Axes, curve: pd.DataFrame, colour: str, marker: str, x: str = "n_train_groups"
) -> None:
    """Draw one line with its band.

    Parameters
    ----------
    axes
        Where to draw.
    curve
        Rows of the summary, one per point.
    colour, marker
        How the line looks.
    x
        The column on the horizontal axis.
    """
    curve = curve.sort_values(x)
    places, low, high = (curve[column].to_numpy(float) for column in (x, "ci_low", "ci_high"))
    axes.plot(
        places, curve["mean"], color=colour, marker=marker, markersize=5, linewidth=1.6, zorder=3
    )
    axes.fill_between(places, low, high, color=colour, alpha=0.13, linewidth=0, zorder=2)


def legend_of_stores(axes: Axes, looks: Looks, n_stores: int, floor: bool) -> None:
    """Put the legend of curves next to an axes."""
    handles = [
        legend_key(label_of(store, 30), color=colour, marker=marker)
        for store, (colour, marker) in looks.items()
    ]
    if n_others := n_stores - len(looks):
        others = f"{n_others} other {'store' if n_others == 1 else 'stores'} (no band)"
        handles.append(legend_key(others, color=PALE))
    if floor:
        handles.append(legend_key(FLOOR_LABEL, color=GREY, linestyle=DASHES))
    legend_on_the_right(axes, handles, "Stores, best first")


def ticks_at(axes: Axes, values: Sequence[float]) -> None:
    """Put ticks at the values that were run, on a logarithmic axis where they span a factor of 5.

    Ticks that would touch are left out, the largest stays.
    """
    known = sorted({float(v) for v in values if not np.isnan(v)})
    logarithmic = bool(known) and known[0] > 0 and known[-1] / known[0] >= 5
    if logarithmic:
        axes.set_xscale("log")
    place: Any = np.log if logarithmic else np.asarray
    kept: list[float] = []
    span = float(place(known[-1]) - place(known[0])) if known else 0.0
    for value in reversed(known):
        if not kept or float(place(kept[-1]) - place(value)) > 0.09 * span:
            kept.append(value)
    axes.set_xticks(kept, [f"{v:,.0f}" for v in kept])
    axes.set_xticks([], minor=True)
