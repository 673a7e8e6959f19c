"""What the scaling and the k-NN curves share: a line and a band per store, the best in colour."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from transferscope.config.channel_strategies import FEATURES
from transferscope.figures.results import Results
from transferscope.figures.style import (
    BLACK,
    DASHES,
    GREY,
    MANY_COLOURS,
    MARKERS,
    PALE,
    label_of,
    legend_key,
    legend_on_the_right,
)

# Name of a line -> its colour and marker.
Looks = dict[str, tuple[str, str]]
HIGHLIGHTED = 5
HANDCRAFTED_MARKER = "*"


def highlighted(ranked: pd.DataFrame, known: Looks) -> Looks:
    """Return colour and marker of the stores that stand out, in the order of their ranks.

    The best stores take colours; the best hand-crafted features are black, wherever they rank.

    Parameters
    ----------
    ranked
        Stores at the full fraction, the best first.
    known
        How stores look in all figures of the study, from `looks_of_study`.
    """
    networks = ranked[ranked["channels"] != FEATURES]["store"].head(HIGHLIGHTED)
    looks = {store: known[store] for store in networks if store in known}
    baseline = ranked[ranked["channels"] == FEATURES]["store"].head(1)
    looks |= dict.fromkeys(baseline, (BLACK, HANDCRAFTED_MARKER))
    return {store: looks[store] for store in ranked["store"] if store in looks}


def looks_of_study(results: Results) -> Looks:
    """Return one colour and marker per store, the same for all datasets and figures.

    The best stores of each dataset come first, so that colours repeat only among others.

    Parameters
    ----------
    results
        Tables of the comparison.
    """
    return looks_of_ranked([results.full(d, results.schemes(d)[0]) for d in results.datasets])


def looks_of_ranked(ranked: Sequence[pd.DataFrame]) -> Looks:
    """Return the same of stores at the full fraction, the best first, of each dataset."""
    networks = [rows[rows["channels"] != FEATURES]["store"] for rows in ranked]
    first = [store for stores in networks for store in stores.head(HIGHLIGHTED)]
    others = [store for stores in networks for store in stores]
    coloured = [colour for colour in MANY_COLOURS if colour != "#000000"]
    return dict(
        zip(dict.fromkeys(first + others), zip(cycle(coloured), cycle(MARKERS)), strict=False)
    )


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


def legend_of_stores(
    axes: Axes,
    looks: Looks,
    n_stores: int,
    further: Sequence[Line2D],
    *,
    as_points: bool = False,
) -> None:
    """Put the legend of stores next to an axes.

    Parameters
    ----------
    axes
        Next to what.
    looks
        From `highlighted`.
    n_stores
        Number of all stores that are shown.
    further
        Entries after those of stores.
    as_points
        Whether stores are points, not lines.
    """
    line = {"linestyle": ""} if as_points else {}
    handles = [
        legend_key(label_of(store, 30), color=colour, marker=marker, **line)
        for store, (colour, marker) in looks.items()
    ]
    if n_others := n_stores - len(looks):
        others = f"{n_others} other {'store' if n_others == 1 else 'stores'}"
        handles.append(legend_key(others, color=PALE, marker="o" if as_points else "", **line))
    legend_on_the_right(axes, [*handles, *further], "Stores, best first")


def floor_keys(label: str, *, known: bool = True) -> list[Line2D]:
    """Return the entry of a legend for the floor, if it is known."""
    return [legend_key(label, color=GREY, linestyle=DASHES)] if known else []


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
