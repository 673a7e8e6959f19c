"""The figure of curves over a grid shows every training once, with bands."""

import pytest

from grid_studies import FRACTIONS, SEEDS, WIDTHS, grid_study, of_grids
from transferscope.figures.grid_curves import draw


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return grid_study(tmp_path_factory.mktemp("grid"))[0]


def test_every_training_is_a_point_of_each_panel(tables):
    figure = draw(of_grids(tables))
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
    assert "width 128" in "".join(text.get_text() for text in panels[2].get_legend().get_texts())
