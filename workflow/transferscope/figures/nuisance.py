"""What stores know besides biology: scores of each target, and robustness indices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from transferscope.compare.nuisance import NuisanceTables
from transferscope.compare.tables import Store, matching
from transferscope.compare.wording import percent
from transferscope.config.results import CompareSettings, FigureSettings
from transferscope.figures.style import (
    GREY,
    MARKERS,
    OKABE_ITO,
    annotate,
    check_outputs,
    label_of,
    label_rows,
    legend_key,
    new_grid,
    note_that_nothing_is_shown,
    save,
    style,
)
from transferscope.probes.nuisance_scores import COLUMN, NUMBER

ROW_INCHES, SPREAD = 0.5, 0.6
PANELS = (
    (COLUMN, "names: balanced accuracy\nover its floor (0) to perfect (1)"),
    (NUMBER, "numbers: R2 (0 to 1)"),
)


def draw_nuisances(
    folder: Path, compared: CompareSettings, settings: FigureSettings, outputs: Sequence[Path]
) -> None:
    """Draw what is predicted, by target, and the robustness index, by store.

    Parameters
    ----------
    folder
        Where `compare_nuisances` wrote its tables.
    compared
        Coverage.
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
    tables = NuisanceTables.read(folder)
    with style():
        save(_draw(tables, compared), outputs, settings.dpi)


def _draw(tables: NuisanceTables, compared: CompareSettings) -> Figure:
    predicted = _labelled(tables.nuisance[tables.nuisance["value"].notna()])
    indices = _labelled(tables.robustness[tables.robustness["robustness_index"].notna()])
    datasets = sorted({*predicted["dataset"], *indices["dataset"]})
    if not datasets:
        return note_that_nothing_is_shown("Nothing besides biology could be predicted.")
    stores = list(dict.fromkeys([*predicted["store"], *indices["store"]]))
    looks = {
        store: (OKABE_ITO[n % len(OKABE_ITO)], MARKERS[n % len(MARKERS)])
        for n, store in enumerate(stores)
    }
    rows = max(predicted.groupby("dataset")["target"].nunique().max() if len(predicted) else 1, 3)
    height = 1.0 + ROW_INCHES * max(rows, len(stores))
    figure, grid = new_grid(13.5, 2.2 + height * len(datasets), len(datasets), 3, sharex="col")
    for axes, dataset in zip(grid, datasets, strict=True):
        own = matching(predicted, dataset=dataset)
        for panel, (kind, title) in zip(axes[:2], PANELS, strict=True):
            _targets(panel, matching(own, kind=kind), looks)
            panel.set_title(f"{label_of(dataset, 30, 1)}\n{title}" if kind == COLUMN else title)
        _indices(axes[2], matching(indices, dataset=dataset), looks)
        axes[2].set_title("robustness index\n(grey: batches shuffled)")
    handles = [
        legend_key(label_of(store, 34, 1), color=colour, marker=marker, linestyle="")
        for store, (colour, marker) in looks.items()
    ]
    grid[0, 0].legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0, 1.16), ncols=min(4, len(handles))
    )
    annotate(
        figure,
        "What embeddings know besides biology",
        f"{percent(compared.confidence)} intervals over groups. Left and middle: predicted from "
        "other groups; filled where it is shown to be above its floor. Right: of neighbours in "
        "other groups, do they share the class (1) or the batch (0); filled where the batch is "
        "shown to matter.",
    )
    return figure


def _labelled(table: pd.DataFrame) -> pd.DataFrame:
    pairs = zip(table["backbone"], table["channels"], strict=True)
    return table.assign(store=[str(Store(str(b), str(c))) for b, c in pairs])


def _targets(axes: Axes, rows: pd.DataFrame, looks: dict[str, tuple[str, str]]) -> None:
    targets = list(dict.fromkeys(rows["target"]))
    places = {target: place for place, target in enumerate(targets)}
    offsets = _offsets(looks)
    for row in rows.to_dict("records"):
        scale = 1 - row["floor"]
        value, low, high = ((row[n] - row["floor"]) / scale for n in ("value", "ci_low", "ci_high"))
        place = places[row["target"]] + offsets[row["store"]]
        _point(axes, (value, low, high), place, looks[row["store"]], filled=bool(row["shown"]))
    axes.axvline(0, color=GREY, linewidth=1, zorder=1)
    axes.set_xlim(-0.25, 1.05)
    label_rows(axes, targets, 26, 0.6)
    axes.grid(axis="x")


def _indices(axes: Axes, rows: pd.DataFrame, looks: dict[str, tuple[str, str]]) -> None:
    columns = list(dict.fromkeys(rows["column"]))
    places = {column: place for place, column in enumerate(columns)}
    offsets = _offsets(looks)
    for row in rows.to_dict("records"):
        place = places[row["column"]] + offsets[row["store"]]
        axes.plot([row["shuffled"]], [place], "|", color=GREY, markersize=9, zorder=2)
        values = row["robustness_index"], row["ci_low"], row["ci_high"]
        _point(axes, values, place, looks[row["store"]], filled=bool(row["shown"]))
    axes.axvline(0.5, color=GREY, linewidth=1, zorder=1)
    axes.set_xlim(-0.02, 1.02)
    label_rows(axes, columns, 26, 0.6)
    axes.grid(axis="x")


def _offsets(looks: dict[str, tuple[str, str]]) -> dict[str, float]:
    n = len(looks)
    offsets = np.linspace(-SPREAD / 2, SPREAD / 2, n) if n > 1 else np.zeros(n)
    return dict(zip(looks, offsets.tolist(), strict=True))


def _point(
    axes: Axes,
    values: tuple[float, float, float],
    place: float,
    look: tuple[str, str],
    *,
    filled: bool,
) -> None:
    value, low, high = values
    known = np.isfinite(low) and np.isfinite(high)
    axes.errorbar(
        [value],
        [place],
        xerr=[[max(value - low, 0)], [max(high - value, 0)]] if known else None,
        fmt=look[1],
        color=look[0],
        markerfacecolor=look[0] if filled else "white",
        markersize=5,
        elinewidth=1.2,
        capsize=2,
        zorder=3,
    )
