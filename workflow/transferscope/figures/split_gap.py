"""Dumbbells: how much higher each store scores when groups are on both sides of the split."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from transferscope.compare.tables import Store, matching
from transferscope.compare.wording import gap, signed
from transferscope.figures.results import Results, errors_of
from transferscope.figures.style import (
    GREY,
    SCHEME_COLOURS,
    SCHEME_LABELS,
    annotate,
    label_of,
    label_rows,
    legend_key,
    new_grid,
    note_that_nothing_is_shown,
)

ROW_INCHES = 0.3
OFFSET = 0.16
# Split schemes and their markers.
SCHEMES = {"group": "o", "image": "s"}


def draw(results: Results) -> Figure:
    """Draw one panel per dataset that was split both ways.

    Parameters
    ----------
    results
        Tables of the comparison.
    """
    datasets = [d for d in results.datasets if set(SCHEMES) <= set(results.schemes(d))]
    if not datasets:
        return note_that_nothing_is_shown("One split scheme was run, so there is no gap to show.")
    heights = [0.7 + ROW_INCHES * len(results.full(d, "group")) for d in datasets]
    figure, grid = new_grid(
        9.6, 1.7 + sum(heights), len(datasets), 1, sharex=True, height_ratios=heights
    )
    for axes, dataset in zip(grid[:, 0], datasets, strict=True):
        _panel(axes, results, dataset)
    grid[-1, 0].set_xlabel(f"{results.metric_name} (0 to 1)")
    handles = [
        legend_key(SCHEME_LABELS[s], color=SCHEME_COLOURS[s], marker=SCHEMES[s]) for s in SCHEMES
    ]
    grid[0, 0].legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1.09), ncols=2)
    annotate(
        figure,
        "What a split by image adds to the score",
        results.footnote(
            "Points: scores of all test folds, all training labels. Right: image minus group, with "
            "the paired interval; * where it is shown, after correction for all stores."
        ),
    )
    return figure


def _panel(axes: Axes, results: Results, dataset: str) -> None:
    by_group, by_image = (results.full(dataset, scheme) for scheme in SCHEMES)
    places = {store: i for i, store in enumerate(by_group["store"])}
    offsets = (-OFFSET, OFFSET)
    for rows, scheme, offset in zip((by_group, by_image), SCHEMES, offsets, strict=True):
        rows = rows[rows["store"].isin(places)]
        axes.errorbar(
            rows["mean"],
            rows["store"].map(places) + offset,
            xerr=errors_of(rows),
            fmt=SCHEMES[scheme],
            color=SCHEME_COLOURS[scheme],
            markersize=5,
            elinewidth=1.3,
            capsize=2,
            zorder=3,
        )
    both = by_group.merge(by_image, on="store", suffixes=("", "_image"))
    for store, *ends in zip(both["store"], both["mean"], both["mean_image"], strict=True):
        heights = [places[store] + offset for offset in offsets]
        axes.plot(ends, heights, color=GREY, linewidth=1, zorder=2)
    right: Any = {"transform": axes.get_yaxis_transform(), "va": "center", "fontsize": 8}
    gaps = _gaps(results, dataset)
    for store, place in places.items():
        if store in gaps:
            axes.text(1.015, place, gaps[store], **right)
    label_rows(axes, list(places), 34, 0.6)
    axes.grid(axis="x")
    mean = (both["mean_image"] - both["mean"]).mean()
    seen = f"by image minus by group is {signed(mean)} on average over {len(by_group)} stores"
    axes.set_title(f"{label_of(dataset, 40, 1)}: {seen}")


def _gaps(results: Results, dataset: str) -> dict[str, str]:
    rows = matching(results.differences, results.head(dataset), kind="scheme", dataset=dataset)
    return {
        str(Store(row["first_backbone"], row["first_channels"])): (
            f"{gap(row)}{' *' if row['verdict'] in ('better', 'worse') else ''}"
        )
        for _, row in rows.iterrows()
    }
