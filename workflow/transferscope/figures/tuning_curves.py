"""Curves of one fine-tuned backbone next to those of its best frozen head."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from transferscope.compare.finetuning import best_frozen
from transferscope.compare.tables import Head, Store, matching
from transferscope.compare.wording import percent
from transferscope.config.modes import described, mode_of_head
from transferscope.figures.curves import Looks, draw_line, ticks_at
from transferscope.figures.results import Results
from transferscope.figures.style import BLACK, MARKERS, OKABE_ITO, label_of, legend_key

FROZEN_MARKER = "o"
DOTS = (0, (1, 2))


def tuned_stores(results: Results, dataset: str) -> list[Store]:
    """Return what was fine-tuned on a dataset."""
    rows = matching(results.finetuning, dataset=dataset)
    return sorted(set(map(Store, rows["backbone"], rows["channels"])))


def looks_of(results: Results) -> Looks:
    """Return colour and marker of each mode that was run, the same in every panel."""
    modes = sorted(results.finetuning["head"].unique())
    return {mode: (OKABE_ITO[i], MARKERS[i + 1]) for i, mode in enumerate(modes)}


def draw_tuning(
    axes: Axes,
    results: Results,
    dataset: str,
    scheme: str,
    store: Store,
    looks: Looks,
) -> None:
    """Draw the curves of a store, frozen and fine-tuned, and mark where the latter is worth it.

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
    rows = matching(results.finetuning, dataset=dataset, scheme=scheme, **store.columns)
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
            axes.axvline(place, color=colour, linestyle=DOTS, linewidth=1.2, zorder=1)
    frozen = rows.drop_duplicates("fraction")
    draw_line(axes, _with_intervals(results, frozen, None), BLACK, FROZEN_MARKER)
    ticks_at(axes, rows["n_train_groups"].round().tolist())
    axes.grid()
    axes.set_xlabel("Training groups (mean per fold)")
    axes.set_title("\n".join([label_of(str(store), 44, 1), *verdicts]))


def handles_of_modes(looks: Looks) -> list[Line2D]:
    """Return the legend: the frozen curve, then the modes."""
    frozen = legend_key("frozen, best head", color=BLACK, marker=FROZEN_MARKER)
    tuned = [
        legend_key(label_of(described(mode_of_head(m)), 30), color=colour, marker=marker)
        for m, (colour, marker) in looks.items()
    ]
    worth = legend_key("worth it from here on", color=BLACK, linestyle=DOTS)
    return [frozen, *tuned, worth]


def _with_intervals(results: Results, rows: pd.DataFrame, mode: str | None) -> pd.DataFrame:
    """Return scores with intervals at each fraction: of a mode, or of the best frozen head."""
    keys = ["dataset", "scheme", "backbone", "channels", "fraction"]
    return pd.concat(
        matching(
            results.summary,
            Head(mode) if mode else best_frozen(row),
            metric=results.metric,
            **row[keys],
        )
        for _, row in rows.iterrows()
    )


def _verdict(rows: pd.DataFrame) -> str:
    mode = described(mode_of_head(rows["head"].iloc[0]))
    first = rows["worth_from"].iloc[0]
    if np.isnan(first):
        return f"{mode}: not shown to be worth it"
    groups = round(rows.loc[rows["fraction"] == first, "n_train_groups"].iloc[0])
    return f"{mode}: worth it from {percent(first)} ({groups:,} groups)"
