"""Points: what putting tiles together to fields and groups is worth, store by store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from transferscope.compare.tables import Store
from transferscope.compare.wording import METRIC_NAMES, percent, signed
from transferscope.config.results import CompareSettings, FigureSettings
from transferscope.figures.results import errors_of, with_labels
from transferscope.figures.style import (
    GREY,
    MARKERS,
    OKABE_ITO,
    SCHEME_LABELS,
    annotate,
    check_outputs,
    label_of,
    legend_beside,
    new_figure,
    save,
    style,
)
from transferscope.probes.variants import VARIANT, Variant
from transferscope.stores.parquet import read_parquet

STYLE_VERSION = 1
HEAD = "logreg"
SPREAD = 0.7
ROW_INCHES = 0.22


def draw_aggregation(
    folder: Path, compared: CompareSettings, settings: FigureSettings, outputs: Sequence[Path]
) -> None:
    """Draw the scores at every level, with intervals, and what changes against single tiles.

    Parameters
    ----------
    folder
        Where `compare_levels` wrote its tables.
    compared
        Metric, coverage and draws.
    settings
        Resolution.
    outputs
        Files to write, `.svg` or `.png`.

    Raises
    ------
    UserError
        Where a table cannot be read or a format is not known.
    """
    check_outputs(outputs)
    scores, gaps = (
        read_parquet(folder / f"{name}.parquet") for name in ("aggregate", "aggregate_differences")
    )
    scores = with_labels(scores[scores["head"] == HEAD])
    gaps = gaps[(gaps["head"] == HEAD) & (gaps["kind"] == "tile")]
    with style():
        save(_draw(scores, gaps, compared), outputs, settings.dpi)


def _draw(scores: pd.DataFrame, gaps: pd.DataFrame, compared: CompareSettings) -> Figure:
    datasets, schemes = sorted(scores["dataset"].unique()), sorted(scores["scheme"].unique())
    looks = _looks(scores)
    stores = {d: _ranked(scores[scores["dataset"] == d]) for d in datasets}
    heights = [0.9 + ROW_INCHES * len(stores[d]) * len(looks) for d in datasets]
    figure = new_figure(4.6 + 4.2 * len(schemes), 1.6 + sum(heights))
    grid: Any = figure.subplots(
        len(datasets), len(schemes), squeeze=False, sharex=True, height_ratios=heights
    )
    for row, dataset in enumerate(datasets):
        for column, scheme in enumerate(schemes):
            own, of_gaps = (
                table[(table["dataset"] == dataset) & (table["scheme"] == scheme)]
                for table in (scores, gaps)
            )
            axes = grid[row, column]
            _panel(axes, own, of_gaps, stores[dataset], looks)
            axes.set_title(f"{label_of(dataset, 40, 1)}, {SCHEME_LABELS.get(scheme, scheme)}")
            axes.tick_params(labelleft=column == 0)
    name = METRIC_NAMES[compared.metric]
    for axes in grid[-1]:
        axes.set_xlabel(f"{name[:1].upper()}{name[1:]} (0 to 1)")
    legend_beside(grid[0, -1], _handles(grid[0, 0], looks), "What is scored")
    annotate(
        figure,
        f"{name[:1].upper()}{name[1:]} of logistic regression on tiles, fields and groups",
        _footnote(compared, int(scores["n_groups"].max())),
    )
    return figure


def _footnote(compared: CompareSettings, n_groups: int) -> str:
    return (
        "Points: means over test folds, all training labels; the same folds at every level. "
        f"Intervals: {percent(compared.confidence)} bootstrap over groups "
        f"({compared.bootstrap:,} draws; n = {n_groups:,} groups at most). Beside each point: its "
        "paired difference from single tiles; * where it is significant after Holm's correction. "
        "Groups are scored by group alone: by image their tiles are on both sides."
    )


def _looks(scores: pd.DataFrame) -> dict[Variant, tuple[str, str]]:
    """Return colour and marker of each variant."""
    known = scores[VARIANT].drop_duplicates().to_dict("records")
    variants = [Variant(r["source"], r["level"], r["aggregation"] or "mean") for r in known]
    colours = [GREY, *OKABE_ITO]
    return {
        variant: (colours[place % len(colours)], MARKERS[place % len(MARKERS)])
        for place, variant in enumerate(variants)
    }


def _ranked(scores: pd.DataFrame) -> list[str]:
    """Return the stores by their best score, the best first."""
    best = scores.groupby("store")["mean"].max().sort_values(ascending=False, kind="stable")
    return [str(store) for store in best.index]


def _panel(
    axes: Axes,
    scores: pd.DataFrame,
    gaps: pd.DataFrame,
    stores: list[str],
    looks: dict[Variant, tuple[str, str]],
) -> None:
    offsets = np.linspace(-SPREAD / 2, SPREAD / 2, len(looks))
    for offset, (variant, (colour, marker)) in zip(offsets, looks.items(), strict=True):
        own = scores[_is(scores, variant)].reset_index(drop=True)
        if own.empty:
            continue
        places = [stores.index(store) + offset for store in own["store"]]
        axes.errorbar(
            own["mean"],
            places,
            xerr=errors_of(own),
            fmt=marker,
            color=colour,
            markersize=5,
            elinewidth=1.2,
            capsize=1.8,
            label=str(variant),
        )
        for place, (_, row) in zip(places, own.iterrows(), strict=True):
            _note_gap(axes, row, gaps[_is(gaps, variant, "first_")], place)
    axes.set_yticks(range(len(stores)), [label_of(store, 30) for store in stores])
    axes.set_ylim(len(stores) - 0.45, -0.55)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 1.12)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.grid(axis="x")
    for boundary in range(1, len(stores)):
        axes.axhline(boundary - 0.5, color=GREY, linewidth=0.4)


def _note_gap(axes: Axes, row: pd.Series[Any], gaps: pd.DataFrame, place: float) -> None:
    store = gaps.apply(lambda gap: str(Store(gap["backbone"], gap["channels"])), axis=1)
    for _, gap in gaps[store == row["store"]].iterrows() if len(gaps) else []:
        text = f"{signed(gap['difference'])}{' *' if gap['significant'] else ''}"
        end = row["mean"] if np.isnan(row["ci_high"]) else row["ci_high"]
        axes.text(end + 0.012, place, text, va="center", fontsize=7)


def _is(table: pd.DataFrame, variant: Variant, side: str = "") -> Any:
    columns = variant.columns
    return np.logical_and.reduce([table[f"{side}{name}"] == columns[name] for name in VARIANT])


def _handles(axes: Axes, looks: dict[Variant, tuple[str, str]]) -> list[Any]:
    return [
        axes.plot([], [], linestyle="", color=colour, marker=marker, label=str(variant))[0]
        for variant, (colour, marker) in looks.items()
    ]
