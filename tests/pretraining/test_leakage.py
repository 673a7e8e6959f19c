"""Test groups that are held out are never read."""

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from transferscope.config.jobs import HeldOutDivision
from transferscope.pretraining.leakage import numbered, visible_rows

HELD_OUT = HeldOutDivision(scheme="group", seed=0, fold=1)


def split_table(test_rows):
    """Return a split table in which some rows are tested in fold 1, and others elsewhere."""
    rows = [("group", 0, 1, row, "test") for row in test_rows]
    rows += [("group", 0, 0, 0, "test"), ("group", 1, 1, 0, "test"), ("image", 0, 1, 0, "test")]
    rows += [("group", 0, 1, 0, "train")]
    return pd.DataFrame(rows, columns=["scheme", "seed", "fold", "row", "role"])


@given(st.data())
def test_no_tile_of_a_tested_group_or_field_is_left(data):
    n = data.draw(st.integers(2, 30))
    names = st.lists(st.sampled_from("abcdef"), min_size=n, max_size=n)
    table = pd.DataFrame({"group": data.draw(names), "fov": data.draw(names)})
    tested = data.draw(st.lists(st.integers(1, n - 1), min_size=1, unique=True))
    rows = visible_rows(table, split_table(tested), HELD_OUT)
    groups = set(table["group"].iloc[tested])
    fields = set(table["fov"][table["group"].isin(groups)])
    left = table.iloc[rows]
    assert not set(left["group"]) & groups
    assert not set(left["fov"]) & fields
    # All others stay, labelled or not.
    others = table[~table["group"].isin(groups) & ~table["fov"].isin(fields)]
    assert rows.tolist() == others.index.tolist()


def test_without_a_held_out_division_all_is_seen():
    table = pd.DataFrame({"group": list("aab"), "fov": list("xyz")})
    assert visible_rows(table, None, HELD_OUT).tolist() == [0, 1, 2]
    assert visible_rows(table, split_table([1]), None).tolist() == [0, 1, 2]


def test_the_same_group_in_two_datasets_is_one():
    assert numbered(np.array(["b", "a", "b"])) == {"a": 0, "b": 1}
