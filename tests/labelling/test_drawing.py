"""The draw is balanced, spread over groups, repeatable, and leaves out what is done."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transferscope.labelling.drawing import draw_tiles

CLASSES = ["er", "golgi", "nucleus"]


def tile_table(sizes: dict[str, dict[str, int]]) -> pd.DataFrame:
    """Return tiles by labels and group: {labels: {group: count}}."""
    rows = [
        (f"{group}_{labels}_{number}", group, labels)
        for labels, groups in sizes.items()
        for group, count in groups.items()
        for number in range(count)
    ]
    return pd.DataFrame(rows, columns=["tile_id", "group", "labels"])


UNEVEN = tile_table(
    {
        "er": {"big": 900, **{f"e{i}": 3 for i in range(20)}},
        "golgi": {f"g{i}": 5 for i in range(6)},
        "nucleus": {"n0": 2, "n1": 40},
        "": {f"u{i}": 10 for i in range(10)},
    }
)


def test_each_present_label_and_unlabelled_come_alike():
    rows = draw_tiles(UNEVEN, [*CLASSES, "absent"], 80)
    assert len(set(rows)) == 80
    assert Counter(UNEVEN["labels"].iloc[rows]) == {"er": 20, "golgi": 20, "nucleus": 20, "": 20}


def test_no_group_dominates():
    rows = draw_tiles(UNEVEN, CLASSES, 80)
    drawn = UNEVEN.iloc[rows]
    per_group = Counter(drawn["group"])
    assert per_group["big"] <= 1
    assert max(per_group[f"g{i}"] for i in range(6)) == 4
    assert max(per_group[f"u{i}"] for i in range(10)) == 2
    # A group that has no more tiles leaves its turn to the others.
    assert (per_group["n0"], per_group["n1"]) == (2, 18)
    without = UNEVEN.iloc[draw_tiles(UNEVEN, CLASSES, 80, balance="none")]
    assert Counter(without["group"]).most_common(1)[0][1] <= 3


def test_without_balance_classes_come_as_their_groups_do():
    drawn = UNEVEN.iloc[draw_tiles(UNEVEN, CLASSES, 39, balance="none")]
    assert drawn["group"].nunique() == 39
    assert Counter(drawn["labels"]) == {"er": 21, "golgi": 6, "nucleus": 2, "": 10}


def test_a_rare_class_is_drawn_whole():
    table = tile_table({"er": {"a": 50, "b": 50}, "golgi": {"c": 3}})
    drawn = table.iloc[draw_tiles(table, CLASSES, 20)]
    assert Counter(drawn["labels"]) == {"er": 17, "golgi": 3}


def test_a_tile_with_two_labels_counts_for_both():
    table = tile_table({"er;golgi": {"a": 40}, "er": {"b": 40}, "golgi": {"c": 40}})
    drawn = table.iloc[draw_tiles(table, CLASSES, 30)]
    has = {name: drawn["labels"].str.contains(name).sum() for name in ("er", "golgi")}
    assert abs(has["er"] - has["golgi"]) <= 1


def test_the_place_in_the_draw_tells_nothing_of_the_class():
    drawn = UNEVEN["labels"].iloc[draw_tiles(UNEVEN, CLASSES, 80)].tolist()
    turns = [drawn[i : i + 4] for i in range(0, 80, 4)]
    assert any(len(set(turn)) < 4 for turn in turns)


def test_equal_seeds_draw_alike_and_others_do_not():
    def ids(table, **options):
        return table["tile_id"].iloc[draw_tiles(table, CLASSES, 40, **options)].tolist()

    assert ids(UNEVEN) == ids(UNEVEN)
    assert ids(UNEVEN) == ids(UNEVEN.sample(frac=1, random_state=1))
    assert ids(UNEVEN) != ids(UNEVEN, seed=1)


def test_what_is_done_is_not_drawn_again():
    first = set(UNEVEN["tile_id"].iloc[draw_tiles(UNEVEN, CLASSES, 60)])
    second = set(UNEVEN["tile_id"].iloc[draw_tiles(UNEVEN, CLASSES, 60, exclude=first)])
    assert len(second) == 60
    assert not first & second


@settings(max_examples=60, deadline=None)
@given(
    labels=st.lists(st.sampled_from(["", "er", "golgi", "er;nucleus"]), min_size=1, max_size=60),
    n_groups=st.integers(1, 8),
    count=st.integers(1, 70),
    balance=st.sampled_from(["labels", "none"]),
    n_done=st.integers(0, 10),
)
def test_a_draw_has_as_many_tiles_as_there_are(labels, n_groups, count, balance, n_done):
    ids = [f"t{i}" for i in range(len(labels))]
    groups = np.arange(len(labels)) % n_groups
    table = pd.DataFrame({"tile_id": ids, "group": groups, "labels": labels})
    done = set(ids[:n_done])
    rows = draw_tiles(table, CLASSES, count, balance=balance, exclude=done)
    assert len(rows) == len(set(rows)) == min(count, len(labels) - len(done))
    assert not done & set(table["tile_id"].iloc[rows])
    if balance == "none" and not done:
        per_group = Counter(table["group"].iloc[rows])
        whole = Counter(groups)
        most = max(per_group.values())
        assert all(per_group[g] >= min(most - 1, whole[g]) for g in whole)


def test_large_tables_are_drawn_from_in_little_time():
    n = 100_000
    table = pd.DataFrame(
        {
            "tile_id": [f"t{i}" for i in range(n)],
            "group": [f"g{i % 5000}" for i in range(n)],
            "labels": [CLASSES[i % 3] for i in range(n)],
        }
    )
    drawn = table.iloc[draw_tiles(table, CLASSES, 3000)]
    assert drawn["group"].nunique() == 3000
    assert drawn["labels"].value_counts().to_dict() == pytest.approx(
        dict.fromkeys(CLASSES, 1000), abs=1
    )
