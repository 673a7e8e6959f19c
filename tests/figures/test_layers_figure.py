"""The figure of score against depth."""

import pandas as pd
from test_layers import tables

from transferscope.compare.layers import layer_table
from transferscope.figures.layers import draw
from transferscope.figures.results import Results


def test_every_block_is_a_point_and_the_chosen_one_has_a_ring():
    table = layer_table(*tables([0.4, 0.5, 0.3], [0.2, 0.6, 0.4]), ["vit"], "macro_f1")
    results = Results(*[pd.DataFrame()] * 7, layers=table)
    [panel] = draw(results).axes
    curve, ring = panel.lines
    assert list(curve.get_xdata()) == [1, 2, 3]
    assert list(ring.get_xdata()) == [2]
    assert panel.collections
    assert panel.get_legend().get_texts()[0].get_text() == "vit / map"
