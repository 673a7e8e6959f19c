"""Figures by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transferscope.config.results import FigureSettings
from transferscope.errors import Problem, UserError, suggest
from transferscope.figures.registry import FIGURES
from transferscope.figures.results import Results
from transferscope.figures.style import (
    check_outputs,
    note_that_nothing_is_shown,
    save,
    style,
)


def draw_figure(
    name: str, summary: Path, folder: Path, settings: FigureSettings, outputs: Sequence[Path]
) -> None:
    """Draw one figure of a comparison.

    Parameters
    ----------
    name
        A key of `FIGURES`.
    summary, folder
        `summary.csv` and the folder of tables that `compare` wrote.
    settings
        Resolution.
    outputs
        Files to write, `.svg` or `.png`.

    Raises
    ------
    UserError
        Where the figure or a format is not known, or a table cannot be read.
    """
    if name not in FIGURES:
        raise UserError(Problem("figure", f'no figure "{name}"', suggest(name, sorted(FIGURES))))
    check_outputs(outputs)
    results = Results.read(summary, folder, FIGURES[name].tables)
    with style():
        if results.datasets:
            figure = FIGURES[name].draw(results)
        else:
            figure = note_that_nothing_is_shown("Only the floor was run: nothing to compare.")
        save(figure, outputs, settings.dpi)
