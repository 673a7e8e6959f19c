"""The figures of the comparison, in one list; the caption of each is next to its module.

A new figure is a module whose `draw` takes the results, its caption
(`<name>.rst`), and a line here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from transferscope.cards.grid import Cell, spans_surface
from transferscope.cards.sweep import Swept
from transferscope.config.study import StudyConfig

BOTH = {"group", "image"}


GRID_TABLES = ("grid_cells", "grid_curves", "grid_bands", "grid_surfaces")
ABLATION_TABLES = ("ablation", "ablation_carriers")
TRANSFER_TABLES = ("transfer", "transfer_costs")


class Asked(Protocol):
    """What figures ask of a study."""

    @property
    def config(self) -> StudyConfig:
        """Its settings."""

    @property
    def cells(self) -> Mapping[str, Cell]:
        """Cells of its grids, by the name of the backbone."""

    @property
    def layered(self) -> Sequence[str]:
        """Backbones of which every block is evaluated."""

    @property
    def families(self) -> Mapping[str, str]:
        """Family of each backbone of which the study has several."""

    @property
    def swept(self) -> Mapping[str, Swept]:
        """Scales of its sweeps, by the name of the backbone."""


@dataclass(frozen=True)
class ComparisonFigure:
    """A figure that is drawn from the tables of the comparison.

    Parameters
    ----------
    name
        Of its module, its caption and its files.
    shown
        Whether a study computes what it shows.
    tables
        Tables of the comparison that not every study has, which it needs.
    """

    name: str
    shown: Callable[[Asked], bool] = lambda _study: True
    tables: tuple[str, ...] = ()

    @property
    def draw(self) -> Callable[..., Any]:
        """Import and return the function that draws it."""
        module = importlib.import_module(f"transferscope.figures.{self.name}")
        draw: Callable[..., Any] = module.draw
        return draw


def _labels_are_added(study: Asked) -> bool:
    settings = study.config.transfer
    return settings is not None and bool(settings.few_shot)


FIGURES = {
    figure.name: figure
    for figure in (
        ComparisonFigure("strategies"),
        ComparisonFigure("scaling", lambda study: len(study.config.splits.fractions) > 1),
        ComparisonFigure(
            "groups_per_class",
            lambda study: bool(study.config.splits.groups_per_class),
            ("groups_per_class",),
        ),
        ComparisonFigure("neighbours", lambda study: bool(study.config.knn.k)),
        ComparisonFigure("classes"),
        ComparisonFigure("confusion"),
        ComparisonFigure("pareto", lambda study: len(study.config.backbones) > 1),
        ComparisonFigure("split_gap", lambda study: set(study.config.splits.schemes) >= BOTH),
        ComparisonFigure("ladder", lambda study: bool(study.config.splits.columns), ("ladder",)),
        ComparisonFigure("grid_curves", lambda study: bool(study.cells), GRID_TABLES),
        ComparisonFigure(
            "grid_surfaces", lambda study: spans_surface(study.cells.values()), GRID_TABLES
        ),
        ComparisonFigure("layers", lambda study: bool(study.layered), ("layers",)),
        ComparisonFigure(
            "families", lambda study: bool(study.families or study.swept), ("families",)
        ),
        ComparisonFigure(
            "transfer", lambda study: study.config.transfer is not None, TRANSFER_TABLES
        ),
        ComparisonFigure("few_shot", _labels_are_added, TRANSFER_TABLES),
        ComparisonFigure(
            "ablation", lambda study: study.config.ablation is not None, ABLATION_TABLES
        ),
    )
}
