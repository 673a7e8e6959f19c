"""How the training of a backbone went: loss, nearest neighbours, collapse, throughput."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from transferscope.backbones.trained import TrainedManifest, history_of
from transferscope.compare.wording import count
from transferscope.config.results import FigureSettings
from transferscope.figures.style import MARKERS, OKABE_ITO, annotate, new_grid, save, style
from transferscope.stores.parquet import read_parquet
from transferscope.training.history import CLOCK, timing_of

# Points per line: one per step would not be clearer.
POINTS = 400
PLAIN_COLUMNS = [
    "step",
    "epoch",
    "images",
    "loss",
    "learning_rate",
    "images_per_second",
    "data_wait",
]


@dataclass(frozen=True)
class Panel:
    """One axes: a title and the columns of the history that it shows."""

    title: str
    label: str
    columns: list[str]


def draw_training(manifest: Path, settings: FigureSettings, outputs: Sequence[Path]) -> None:
    """Draw the curves of one training.

    Parameters
    ----------
    manifest
        Manifest of the backbone; the history lies next to it.
    settings
        Resolution.
    outputs
        Files to write.
    """
    history = read_parquet(history_of(manifest))
    timing = timing_of(history_of(manifest))
    # Of an older version, the history has these columns itself.
    if timing.is_file() and CLOCK[0] not in history:
        history = history.merge(read_parquet(timing, ("step", *CLOCK)), on="step", how="left")
    with style():
        save(draw(history, TrainedManifest.read(manifest)), outputs, settings.dpi)


def draw(history: pd.DataFrame, trained: TrainedManifest) -> Figure:
    """Return the figure of a history, as `training.history.History` has it."""
    panels = panels_of(history)
    figure, grid = new_grid(7.4, 1.2 + 1.7 * len(panels), len(panels), 1, sharex=True)
    for axes, panel in zip(grid[:, 0], panels, strict=True):
        _draw_panel(axes, panel, history)
    grid[-1, 0].set_xlabel("Images seen")
    annotate(
        figure, f"Training of {trained.backbone} by {trained.method}", _footnote(history, trained)
    )
    return figure


def panels_of(history: pd.DataFrame) -> list[Panel]:
    """Return the panels for which a history has columns."""
    every_step = history.columns[history.notna().all()].difference(PLAIN_COLUMNS, sort=False)
    # If the loss has a single part, that part is the loss.
    parts = [c for c in every_step if not history[c].equals(history.loss)]
    shares = [c for c in parts if c.startswith("teacher_") or c == "accuracy"]
    losses = [c for c in parts if c not in shares]
    panels = [
        Panel("Loss", "loss", ["loss", *losses]),
        Panel("Nearest neighbours of other groups", "share right", ["knn_accuracy"]),
        Panel(
            "Signs of collapse: all go to 0, or entropy to 1",
            "share",
            ["embedding_spread", *shares],
        ),
        Panel("Learning rate", "rate", ["learning_rate"]),
        Panel("Throughput", "images/s", ["images_per_second"]),
    ]
    known = [replace(p, columns=[c for c in p.columns if c in history]) for p in panels]
    return [panel for panel in known if panel.columns]


def _draw_panel(axes: Axes, panel: Panel, history: pd.DataFrame) -> None:
    for number, name in enumerate(panel.columns):
        curve = history[["images", name]].dropna()
        marker = MARKERS[number % len(MARKERS)] if len(curve) < len(history) else ""
        shown = _thinned(curve)
        axes.plot(
            shown["images"],
            shown[name],
            color=OKABE_ITO[number % len(OKABE_ITO)],
            marker=marker,
            markersize=3,
            linewidth=1.2,
            label=name.replace("_", " "),
        )
    axes.set_title(panel.title)
    axes.set_ylabel(panel.label)
    axes.grid()
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0)


def _thinned(curve: pd.DataFrame) -> pd.DataFrame:
    """Average neighbouring steps where there are more than a plot can show."""
    size = -(-len(curve) // POINTS)
    if size <= 1:
        return curve
    return curve.groupby(pd.RangeIndex(len(curve)) // size).mean()


def _footnote(history: pd.DataFrame, trained: TrainedManifest) -> str:
    seen = ", ".join(_seen(name, found) for name, found in trained.datasets.items())
    kept = " without the test groups of one fold" if trained.held_out else ""
    speed = ""
    if CLOCK[0] in history:
        speed = (
            f"; median of {history['images_per_second'].median():,.0f} images/s, "
            f"{history['data_wait'].mean():.1%} of the time spent waiting for tiles"
        )
    return (
        f"{trained.epochs:,} epochs of {seen}{kept}{speed}. Nearest "
        "neighbours are among training tiles that have labels; the training sees no label."
    )


def _seen(dataset: str, found: Mapping[str, Any]) -> str:
    """Say how much of a dataset was seen."""
    # Manifests of older trainings have no number of groups left out.
    n_left_out = found.get("n_groups_left_out", 0)
    left_out = f", {count(n_left_out, 'group')} left out" if n_left_out else ""
    return f"{dataset} ({found['n_tiles']:,} tiles{left_out})"
