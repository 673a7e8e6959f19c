"""Tiles of which the labels are the most doubtful."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transferscope.errors import UserError
from transferscope.labelling.doubtful import doubtful_tiles
from transferscope.prediction.table import write_label_table

IDS = [f"{sign}t{n}" for n, sign in enumerate(["", "=", "'", "'="] * 5)]
TILES = pd.DataFrame({"tile_id": IDS})
doubt = st.none() | st.floats(0, 1).map(lambda value: float(f"{value:.4g}"))


@settings(max_examples=40, deadline=None)
@given(
    doubts=st.lists(doubt, min_size=len(IDS), max_size=len(IDS)),
    count=st.integers(1, 25),
    excluded=st.sets(st.sampled_from(IDS)),
    order=st.permutations(range(len(IDS))),
)
def test_no_tile_left_out_is_more_doubtful(tmp_path_factory, doubts, count, excluded, order):
    path = tmp_path_factory.mktemp("d") / "labels.csv"
    table = TILES.assign(doubt=np.array(doubts, dtype=float))
    write_label_table(table.iloc[list(order)], path)
    rows = doubtful_tiles(path, TILES, count, exclude=excluded)
    able = [n for n, one in enumerate(doubts) if one is not None and IDS[n] not in excluded]
    assert len(rows) == len(set(rows)) == min(count, len(able))
    assert set(rows) <= set(able)
    left = [doubts[n] for n in able if n not in rows]
    assert not left or not rows or max(left) <= min(doubts[n] for n in rows)
    assert rows == doubtful_tiles(path, TILES, count, exclude=excluded)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tile_id,given\n=t1,a\n", "has no column doubt"),
        ("tile_id,doubt\nt0,much\n", 'row 2, column doubt: "much" is no number'),
        ("tile_id,doubt\nt0,0.5\nother,0.2\n", 'row 3: the dataset has no tile "other"'),
    ],
)
def test_what_cannot_be_used_is_told(tmp_path, text, said):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UserError, match=said):
        doubtful_tiles(tmp_path / "labels.csv", TILES, 5)
