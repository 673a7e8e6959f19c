"""Curves: how the Dice coefficient of predicted masks grows with the number of training groups."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from transferscope.compare.masks import MaskTables
from transferscope.compare.tables import matching
from transferscope.compare.wording import percent
from transferscope.config.results import CompareSettings, FigureSettings
from transferscope.figures.curves import (
    Looks,
    draw_curves,
    floor_keys,
    highlighted,
    legend_of_stores,
    looks_of_ranked,
    ticks_at,
)
from transferscope.figures.results import with_labels
from transferscope.figures.style import (
    DASHES,
    GREY,
    annotate,
    check_outputs,
    label_of,
    new_grid,
    save,
    style,
)
from transferscope.segmentation.table_names import DICE, is_tuned_decoder

FLOOR_KEY = "floor: all foreground"


def draw_dice(
    folder: Path, compared: CompareSettings, settings: FigureSettings, outputs: Sequence[Path]
) -> None:
    """Draw the curves of all datasets (rows) and decoders (columns).

    Parameters
    ----------
    folder
        Where `compare_masks` wrote its tables.
    compared
        Coverage and draws.
    settings
        Resolution.
    outputs
        Files to write, `.svg` or `.png`.

    Raises
    ------
    UserError
        If a table cannot be read or a format is not known.
    """
    check_outputs(outputs)
    scores = MaskTables.read(folder).scores
    shown = matching(scores, metric=DICE, **{"class": ""}).rename(columns={"value": "mean"})
    with style():
        save(_draw(with_labels(shown), compared), outputs, settings.dpi)


def _draw(shown: pd.DataFrame, compared: CompareSettings) -> Figure:
    datasets, decoders = (sorted(shown[column].unique()) for column in ("dataset", "head"))
    figure, grid = new_grid(
        3.2 + 3.7 * len(decoders),
        1.7 + 3.3 * len(datasets),
        len(datasets),
        len(decoders),
        sharey="row",
    )
    ranked = {dataset: _ranked(matching(shown, dataset=dataset)) for dataset in datasets}
    known = looks_of_ranked(list(ranked.values()))
    for panels, dataset in zip(grid, datasets, strict=True):
        own = matching(shown, dataset=dataset)
        looks = highlighted(ranked[dataset], known)
        for axes, decoder in zip(panels, decoders, strict=True):
            _panel(axes, matching(own, head=decoder), looks)
            axes.set_title(f"{label_of(dataset, 40, 1)}, {decoder}")
        panels[0].set_ylabel("Dice coefficient (0 to 1)")
        lowest = float(np.nanmin([*own["floor"], *own["mean"]]))
        panels[0].set_ylim(max(0.0, lowest - 0.1), 1)
        legend_of_stores(panels[-1], looks, len(ranked[dataset]), floor_keys(FLOOR_KEY))
    trained = "frozen and tuned" if any(is_tuned_decoder(name) for name in decoders) else "frozen"
    annotate(
        figure,
        f"Masks predicted from {trained} backbones, against the number of training groups",
        "Points: means over the tiles of a group, then over groups, folds and seeds; fractions "
        f"are nested, whole groups. Bands: {percent(compared.confidence)} intervals over groups "
        f"and trainings ({compared.bootstrap:,} draws; at most {int(shown['n_groups'].max()):,} "
        f"groups and {int(shown['n_trainings'].max()):,} trainings). Dashed: every pixel called "
        "foreground.",
    )
    return figure


def _ranked(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the stores of a dataset at the full fraction, the best first."""
    full = matching(scores, fraction=scores["fraction"].max())
    ordered = full.sort_values("mean", ascending=False, kind="stable")
    ranked: pd.DataFrame = ordered.drop_duplicates("store")
    return ranked


def _panel(axes: Axes, rows: pd.DataFrame, looks: Looks) -> None:
    if rows.empty:
        axes.set_axis_off()
        return
    draw_curves(axes, rows, "n_train_groups", looks)
    axes.axhline(float(rows["floor"].mean()), color=GREY, linestyle=DASHES, linewidth=1)
    ticks_at(axes, rows["n_train_groups"].round().tolist())
    axes.grid()
    axes.set_xlabel("Training groups (mean per fold)")
