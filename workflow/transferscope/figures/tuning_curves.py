"""Curves of one fine-tuned backbone beside its best frozen head."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from transferscope.compare.finetuning import best_frozen
from transferscope.compare.tables import Store
from transferscope.compare.wording import percent
from transferscope.config.modes import described, mode_of_head
from transferscope.figures.curves import draw_line, ticks_at
from transferscope.figures.results import Results
from transferscope.figures.style import BLACK, MARKERS, OKABE_ITO, label_of

FROZEN_MARKER = "o"


def tuned_stores(results: Results, dataset: str) -> list[Store]:
    """Return what was fine-tuned on a dataset."""
    rows = _of_dataset(results, dataset)[["backbone", "channels"]].drop_duplicates()
    return sorted(Store(*row) for row in rows.itertuples(index=False, name=None))


def looks_of(results: Results) -> dict[str, tuple[str, str]]:
    """Return colour and marker of each mode that was run, the same in every panel."""
    modes = sorted(results.finetuning["head"].unique())
    return {mode: (OKABE_ITO[i], MARKERS[i + 1]) for i, mode in enumerate(modes)}


def draw_tuning(
    axes: Axes,
    results: Results,
    dataset: str,
    scheme: str,
    store: Store,
    looks: dict[str, tuple[str, str]],
) -> None:
    """Draw the curves of a store, frozen and fine-tuned, and from where on the latter is worth it.

    Parameters
    ----------
    axes
        Where to draw.
    results
        Tables of the comparison.
    dataset, scheme, store
        What is shown.
    looks
        From `looks_of`.
    """
    rows = _of_dataset(results, dataset)
    rows = rows[
        (rows["scheme"] == scheme)
        & (rows["backbone"] == store.backbone)
        & (rows["channels"] == store.channels)
    ]
    if rows.empty:
        axes.set_axis_off()
        axes.set_title(f"{label_of(str(store), 44, 1)}\nnot fine-tuned with this split")
        return
    verdicts = []
    for mode, part in rows.groupby("head", sort=True):
        colour, marker = looks[str(mode)]
        draw_line(axes, _with_intervals(results, part, str(mode)), colour, marker)
        verdicts.append(_verdict(part))
        worth = part[part["fraction"] == part["worth_from"]]["n_train_groups"]
        for place in worth:
            axes.axvline(place, color=colour, linestyle=(0, (1, 2)), linewidth=1.2, zorder=1)
    frozen = rows.drop_duplicates("fraction")
    draw_line(axes, _with_intervals(results, frozen, None), BLACK, FROZEN_MARKER)
    ticks_at(axes, rows["n_train_groups"].round().tolist())
    axes.grid()
    axes.set_xlabel("Training groups (mean a fold)")
    axes.set_title("\n".join([label_of(str(store), 44, 1), *verdicts]))


def handles_of_modes(looks: dict[str, tuple[str, str]]) -> list[Line2D]:
    """Return the legend: the frozen curve, then the modes."""
    frozen = Line2D([], [], color=BLACK, marker=FROZEN_MARKER, label="frozen, best head")
    tuned = [
        Line2D([], [], color=colour, marker=marker, label=label_of(described(mode_of_head(m)), 30))
        for m, (colour, marker) in looks.items()
    ]
    worth = Line2D([], [], color=BLACK, linestyle=(0, (1, 2)), label="worth it from here on")
    return [frozen, *tuned, worth]


def _of_dataset(results: Results, dataset: str) -> pd.DataFrame:
    return results.finetuning[results.finetuning["dataset"] == dataset]


def _with_intervals(results: Results, rows: pd.DataFrame, mode: str | None) -> pd.DataFrame:
    """Return scores with intervals at each fraction: of a mode, or of the best frozen head."""
    found: list[Any] = []
    for _, row in rows.iterrows():
        head = best_frozen(row) if mode is None else None
        summary = results.summary[
            (results.summary["metric"] == results.metric)
            & (results.summary["head"] == (head.kind if head else mode))
            & (results.summary["k"].fillna(0) == (head.k if head else 0))
        ]
        for key in ("dataset", "scheme", "backbone", "channels", "fraction"):
            summary = summary[summary[key] == row[key]]
        found.append(summary)
    return pd.concat(found) if found else rows


def _verdict(rows: pd.DataFrame) -> str:
    mode = described(mode_of_head(rows["head"].iloc[0]))
    first = rows["worth_from"].iloc[0]
    if np.isnan(first):
        return f"{mode}: not shown to be worth it"
    groups = round(rows.loc[rows["fraction"] == first, "n_train_groups"].iloc[0])
    return f"{mode}: worth it from {percent(first)} ({groups:,} groups)"
