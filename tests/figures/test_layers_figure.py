"""The figure of score against depth."""

import pandas as pd
from test_layers import tables

from transferscope.compare.layers import COLUMNS, layer_table
from transferscope.config.results import FigureSettings
from transferscope.figures.layers import draw, draw_layers
from transferscope.stores.parquet import write_parquet


def test_every_block_is_a_point_and_the_chosen_one_has_a_ring(tmp_path):
    table = layer_table(*tables([0.4, 0.5, 0.3], [0.2, 0.6, 0.4]), ["vit"], "macro_f1")
    [panel] = draw(table).axes
    curve, ring = panel.lines
    assert list(curve.get_xdata()) == [1, 2, 3]
    assert list(ring.get_xdata()) == [2]
    assert panel.collections
    write_parquet(table, tmp_path / "layers.parquet", {})
    outputs = [tmp_path / "f.svg", tmp_path / "f.png"]
    draw_layers(tmp_path / "layers.parquet", FigureSettings(dpi=50), outputs)
    assert "vit / map" in outputs[0].read_text()


def test_nothing_to_show_is_said():
    text = draw(pd.DataFrame(columns=COLUMNS)).texts[0].get_text().replace("\n", " ")
    assert "No backbone was scored block by block" in text
