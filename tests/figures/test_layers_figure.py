"""The figure of score against depth."""

import pandas as pd
from test_layers import tables

from transferscope.compare.layers import layer_table
from transferscope.figures.layers import draw
from transferscope.figures.results import Results


def test_every_block_is_a_point_and_the_chosen_one_has_a_ring():
    summary, chosen, gaps = tables([0.4, 0.5, 0.3], [0.2, 0.6, 0.4])
    table = layer_table(summary, chosen, gaps, ["vit"], "macro_f1")
    chosen = chosen.assign(metric="macro_f1")
    results = Results(summary, chosen, *[pd.DataFrame()] * 5, layers=table)
    [panel] = draw(results).axes
    curve, ring = panel.lines
    assert list(curve.get_xdata()) == [1, 2, 3]
    assert list(ring.get_xdata()) == [2]
    assert panel.collections
    assert panel.get_legend().get_texts()[0].get_text() == "vit / map"
