"""Heat map: what each class loses without each channel."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from transferscope.compare.tables import Store, head_of, matching
from transferscope.config.ablation import PERMUTED
from transferscope.figures.heatmap import CELL_HEIGHT, CELL_WIDTH, draw_cells, draw_matrices
from transferscope.figures.results import Results
from transferscope.figures.style import annotate, label_of, note_that_nothing_is_shown

KIND_TITLES = {"permuted": "exchanged between tiles", "zeroed": "black"}
ALL_CLASSES = "all classes"


def draw(results: Results) -> Figure:
    """Draw one matrix per dataset and kind of ablation, of the highest store that was ablated.

    Parameters
    ----------
    results
        Tables of the comparison.
    """
    tables: dict[str, pd.DataFrame] = {}
    for dataset in () if results.ablation.empty else results.datasets:
        own = _highest(results, dataset)
        for kind in sorted(own["kind"].unique(), key=lambda name: name != PERMUTED):
            tables[f"{dataset}, {KIND_TITLES.get(kind, kind)}"] = matching(own, kind=kind)
    if not tables:
        return note_that_nothing_is_shown("No channel was ablated.")
    carriers = results.ablation_carriers
    widest = max(table["channel"].nunique() for table in tables.values())

    def panel(axes: Axes, title: str, table: pd.DataFrame) -> None:
        _panel(axes, title, table, carriers)

    figure = draw_matrices(
        tables,
        panel,
        4.2 + 1.6 * CELL_WIDTH * widest,
        [1.5 + CELL_HEIGHT * max(table["class"].nunique(), 2) for table in tables.values()],
        1.5,
        "Loss (0 to 1)",
    )
    annotate(
        figure,
        "What trained heads lose without a channel",
        results.footnote(
            "Cells: F1 of a class, and the headline metric of all classes, on untouched test tiles "
            "minus the same without the column's channel; below it half the width of the "
            "interval. Framed: the channel is shown to cost the class most, after correction for "
            "channels and classes.",
            first_scheme_only=True,
        ),
    )
    return figure


def _highest(results: Results, dataset: str) -> pd.DataFrame:
    """Return the losses of the chosen head on the highest store of a dataset."""
    own = matching(results.ablation, results.head(dataset), dataset=dataset)
    overall = matching(own, **{"class": ""})
    if overall.empty:
        return own
    order = ["first_mean", "backbone", "channels"]
    best = overall.sort_values(order, ascending=[False, True, True], kind="stable").iloc[0]
    return matching(own, backbone=best["backbone"], channels=best["channels"])


def _panel(axes: Axes, title: str, table: pd.DataFrame, carriers: pd.DataFrame) -> None:
    channels = sorted(table["channel"].unique())
    classes = [name for name in dict.fromkeys(table["class"]) if name] + [""]
    shape = len(classes), len(channels)
    placed = table.set_index(["class", "channel"])
    values, low, high = (
        np.array([[placed.at[(c, x), column] for x in channels] for c in classes]).reshape(shape)
        for column in ("difference", "ci_low", "ci_high")
    )
    rows = [label_of(name, 26, 1) for name in classes[:-1]] + [ALL_CLASSES]
    draw_cells(axes, values, low, high, rows, [label_of(name, 20, 1) for name in channels])
    first = table.iloc[0]
    named = {key: first[key] for key in ("dataset", "backbone", "channels", "kind")}
    own = matching(carriers, head_of(first), **named)
    for row in own[own["carries"].astype(bool)].to_dict("records"):
        place = channels.index(row["channel"]) - 0.5, classes.index(row["class"]) - 0.5
        axes.add_patch(
            Rectangle(place, 1, 1, fill=False, edgecolor="#D55E00", linewidth=2.5, clip_on=False)
        )
    store = label_of(str(Store(first["backbone"], first["channels"])), 40, 1)
    axes.set_title(f"{title}: {store}")
