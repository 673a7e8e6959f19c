"""The figures of the comparison, in one list; the caption of each is next to its module.

A new figure is a module whose `draw` takes the results and the settings, its caption
(`<name>.rst`), and a line here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from transferscope.config.study import StudyConfig

BOTH = {"group", "image"}


@dataclass(frozen=True)
class ComparisonFigure:
    """A figure that is drawn from the tables of the comparison.

    Parameters
    ----------
    name
        Of its module, its caption and its files.
    shown
        Whether a study computes what it shows.
    """

    name: str
    shown: Callable[[StudyConfig], bool] = lambda _config: True

    @property
    def draw(self) -> Callable[..., Any]:
        """Import and return the function that draws it."""
        module = importlib.import_module(f"transferscope.figures.{self.name}")
        draw: Callable[..., Any] = module.draw
        return draw


def _labels_are_added(config: StudyConfig) -> bool:
    return config.transfer is not None and bool(config.transfer.few_shot)


FIGURES = {
    figure.name: figure
    for figure in (
        ComparisonFigure("strategies"),
        ComparisonFigure("scaling", lambda config: len(config.splits.fractions) > 1),
        ComparisonFigure("neighbours", lambda config: bool(config.knn.k)),
        ComparisonFigure("classes"),
        ComparisonFigure("confusion"),
        ComparisonFigure("pareto", lambda config: len(config.backbones) > 1),
        ComparisonFigure("split_gap", lambda config: set(config.splits.schemes) >= BOTH),
        ComparisonFigure("ladder", lambda config: bool(config.splits.columns)),
        ComparisonFigure("transfer", lambda config: config.transfer is not None),
        ComparisonFigure("few_shot", _labels_are_added),
    )
}
