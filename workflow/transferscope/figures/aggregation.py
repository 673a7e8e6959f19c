"""Points: what averaging tiles into fields and groups gains, store by store."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from transferscope.compare.tables import matching
from transferscope.compare.wording import METRIC_NAMES, capitalised, percent, signed
from transferscope.config.results import CompareSettings, FigureSettings
from transferscope.config.schemes import scheme_order
from transferscope.figures.results import errors_of, with_labels
from transferscope.figures.style import (
    GREY,
    MARKERS,
    OKABE_ITO,
    annotate,
    check_outputs,
    label_rows,
    legend_key,
    legend_on_the_right,
    new_grid,
    panel_title,
    save,
    score_axis,
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
    """Draw the scores at every level, with intervals, and their differences from single tiles.

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
    scores = with_labels(matching(scores, head=HEAD))
    gaps = matching(gaps, head=HEAD, kind="tile")
    with style():
        save(_draw(scores, gaps, compared), outputs, settings.dpi)


def _draw(scores: pd.DataFrame, gaps: pd.DataFrame, compared: CompareSettings) -> Figure:
    datasets, schemes = (
        sorted(scores["dataset"].unique()),
        sorted(scores["scheme"].unique(), key=scheme_order),
    )
    looks = _looks(scores)
    best = scores.groupby(["dataset", "store"])["mean"].max()
    best = best.sort_values(ascending=False, kind="stable")
    stores = {dataset: list(best[dataset].index) for dataset in datasets}
    heights = [0.9 + ROW_INCHES * len(stores[d]) * len(looks) for d in datasets]
    figure, grid = new_grid(
        4.6 + 4.2 * len(schemes),
        1.6 + sum(heights),
        len(datasets),
        len(schemes),
        sharex=True,
        height_ratios=heights,
    )
    for (row, column), axes in np.ndenumerate(grid):
        dataset, scheme = datasets[row], schemes[column]
        own, of_gaps = (matching(t, dataset=dataset, scheme=scheme) for t in (scores, gaps))
        _panel(axes, own, of_gaps, stores[dataset], looks)
        axes.set_title(panel_title(dataset, scheme))
        axes.tick_params(labelleft=column == 0)
    name = capitalised(METRIC_NAMES[compared.metric])
    for axes in grid[-1]:
        axes.set_xlabel(f"{name} (0 to 1)")
    handles = [
        legend_key(str(variant), linestyle="", color=colour, marker=marker)
        for variant, (colour, marker) in looks.items()
    ]
    legend_on_the_right(grid[0, -1], handles, "What is scored")
    annotate(
        figure,
        f"{name} of logistic regression on tiles, fields and groups",
        _footnote(compared, int(scores["n_groups"].max())),
    )
    return figure


def _footnote(compared: CompareSettings, n_groups: int) -> str:
    return (
        "Points: scores of all test folds, all training labels; the same folds at every level. "
        f"Intervals: {percent(compared.confidence)} over groups, for training and for testing "
        f"({compared.bootstrap:,} draws; n = {n_groups:,} groups at most). Next to each point: its "
        "paired difference from single tiles; * where it is shown, after correction. "
        "Groups are scored by group alone: by image their tiles are on both sides."
    )


def _looks(scores: pd.DataFrame) -> dict[Variant, tuple[str, str]]:
    """Return colour and marker of each variant."""
    known = scores[VARIANT].drop_duplicates().itertuples(index=False)
    variants = [Variant.of(*names) for names in known]
    return dict(zip(variants, zip(cycle([GREY, *OKABE_ITO]), cycle(MARKERS)), strict=False))


def _panel(
    axes: Axes,
    scores: pd.DataFrame,
    gaps: pd.DataFrame,
    stores: list[str],
    looks: dict[Variant, tuple[str, str]],
) -> None:
    offsets = np.linspace(-SPREAD / 2, SPREAD / 2, len(looks))
    for offset, (variant, (colour, marker)) in zip(offsets, looks.items(), strict=True):
        own = matching(scores, **variant.columns)
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
        first = {f"first_{name}": value for name, value in variant.columns.items()}
        for place, (_, row) in zip(places, own.iterrows(), strict=True):
            own_gaps = matching(gaps, backbone=row["backbone"], channels=row["channels"], **first)
            for _, gap in own_gaps.iterrows():
                mark = " *" if gap["verdict"] in ("better", "worse") else ""
                text = f"{signed(gap['difference'])}{mark}"
                end = row["mean"] if np.isnan(row["ci_high"]) else row["ci_high"]
                axes.text(end + 0.012, place, text, va="center", fontsize=7)
    label_rows(axes, stores, 30, 0.55)
    score_axis(axes, 1.12)
    for boundary in range(1, len(stores)):
        axes.axhline(boundary - 0.5, color=GREY, linewidth=0.4)
