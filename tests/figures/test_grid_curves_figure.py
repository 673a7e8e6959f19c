"""The figure of curves over a grid shows every training once, with bands."""

import pytest

from grid_studies import FRACTIONS, SEEDS, WIDTHS, grid_study
from transferscope.cards.grid import GridSettings
from transferscope.config.results import FigureSettings
from transferscope.figures.grid_curves import draw, draw_grid_curves
from transferscope.stores.parquet import write_parquet


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return grid_study(tmp_path_factory.mktemp("grid"))[0]


def test_every_training_is_a_point_of_each_panel(tables):
    figure = draw(tables)
    panels = figure.axes
    assert [panel.get_xlabel() for panel in panels[-3:]] == [
        "Weights of the backbone",
        "Training images",
        "Operations of the training",
    ]
    n_trainings = len(WIDTHS) * len(FRACTIONS) * SEEDS
    for panel in panels[:3]:
        points = [line for line in panel.lines if line.get_linestyle() == "None"]
        assert sum(len(line.get_xdata()) for line in points) >= n_trainings
        assert panel.get_xscale() == "log"
    assert panels[1].collections


def test_a_figure_is_written_from_the_tables(tables, tmp_path):
    for name, table in tables.named().items():
        write_parquet(table, tmp_path / f"{name}.parquet", {})
    outputs = [tmp_path / "f.svg", tmp_path / "f.png"]
    draw_grid_curves(tmp_path, FigureSettings(dpi=50), outputs)
    assert all(path.stat().st_size > 1000 for path in outputs)
    assert "width 128" in outputs[0].read_text()


def test_nothing_to_show_is_said(tmp_path):
    alone, _ = grid_study(tmp_path, grid=GridSettings(fraction=[0.5], seeds=2))
    assert "No grid has two sizes" in draw(alone).texts[0].get_text().replace("\n", " ")
