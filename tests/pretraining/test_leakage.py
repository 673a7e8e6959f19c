"""Groups that are tested in any dataset are read in none."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transferscope.config.jobs import (
    EvaluatedDataset,
    HeldOutDivision,
    Leakage,
    LeakageByName,
    Pretraining,
    TrainingSource,
)
from transferscope.errors import UserError
from transferscope.pretraining.leakage import (
    confirmed,
    fraction_of,
    groups_left_out,
    groups_tested,
    numbered,
    visible_rows,
)
from transferscope.stores.parquet import write_parquet

HELD_OUT = HeldOutDivision(scheme="group", seed=0, fold=1)
# Names as gene names are: of mouse and human, and one within another.
NAMES = st.sampled_from(["ACTB", "Actb", "ACTB2", "TUBA", "Tuba", "LMNB1", "c"])


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
    left_out = groups_tested(table, split_table(tested), HELD_OUT)
    rows = visible_rows(table, left_out)
    groups = set(table["group"].iloc[tested])
    assert left_out == groups
    fields = set(table["fov"][table["group"].isin(groups)])
    left = table.iloc[rows]
    assert not set(left["group"]) & groups
    assert not set(left["fov"]) & fields
    # All others stay, labelled or not.
    others = table[~table["group"].isin(groups) & ~table["fov"].isin(fields)]
    assert rows.tolist() == others.index.tolist()


@st.composite
def datasets(draw):
    """Return tables of 2 to 4 datasets that share names, with rows tested in fold 1 or nothing."""
    found = []
    for _ in range(draw(st.integers(2, 4))):
        groups = draw(st.lists(NAMES, min_size=2, max_size=15))
        table = pd.DataFrame({"group": groups})
        table["fov"] = [f"{group}/{row % 3}" for row, group in table["group"].items()]
        rows = st.lists(st.integers(1, len(groups) - 1), min_size=1, unique=True)
        found.append((table, draw(st.none() | rows), draw(st.booleans())))
    return found


def write_tiles(table, path):
    """Write a tile table that says no more than the groups of its tiles."""
    ids = [f"t{row}" for row in range(len(table))]
    write_parquet(table.assign(tile_id=ids, labels=""), path, {})


@given(datasets())
def test_no_dataset_shows_a_group_that_any_dataset_tests(tmp_path_factory, found):
    """Whichever datasets are trained on: some are only evaluated, and some only trained on."""
    folder, sources, also = tmp_path_factory.mktemp("datasets"), [], []
    for number, (table, tested, trained_on) in enumerate(found):
        files = {"table": folder / f"{number}.parquet", "splits": None}
        write_tiles(table, files["table"])
        if tested:
            files["splits"] = folder / f"{number}.splits.parquet"
            write_parquet(split_table(tested).assign(share=0.0), files["splits"], {"classes": []})
        if trained_on or not tested:
            tiles = folder / f"{number}.json"
            sources.append(TrainingSource(dataset=f"d{number}", tiles=tiles, **files))
        else:
            also.append(EvaluatedDataset(**files))
    if not sources:
        return
    settings = Pretraining(sources=sources, held_out=HELD_OUT, also_evaluated=also)
    left_out = groups_left_out(settings)
    secret = {table["group"][row] for table, tested, _ in found for row in tested or []}
    assert left_out == secret
    for table, _, _ in found:
        visible = set(table["group"].iloc[visible_rows(table, left_out)])
        # A name is a name: others stay, those that differ in case included.
        assert visible == set(table["group"]) - secret
    assert groups_left_out(settings.model_copy(update={"held_out": None})) == set()


def test_without_a_held_out_division_all_is_seen():
    table = pd.DataFrame({"group": list("aab"), "fov": list("xyz")})
    assert visible_rows(table, set()).tolist() == [0, 1, 2]
    source = TrainingSource(dataset="d", tiles="d.json", table="d.parquet", splits="s.parquet")
    assert groups_left_out(Pretraining(sources=[source])) == set()


def test_what_depends_on_names_is_confirmed_by_names(tmp_path):
    table, splits = tmp_path / "table.parquet", tmp_path / "splits.parquet"
    write_tiles(pd.DataFrame({"group": list("abc")}), table)
    # Group c is tested in no division.
    write_parquet(split_table([1]).assign(share=0.0), splits, {"classes": []})
    others = {}
    for name, groups in {"same": "xb", "untested": "xc", "case": "AB"}.items():
        others[name] = tmp_path / f"{name}.parquet"
        write_tiles(pd.DataFrame({"group": list(groups)}), others[name])

    def known(*names, **said):
        leakage = LeakageByName(named_in=[others[name] for name in names], **said)
        return confirmed(leakage, table, splits)

    seen = {"seen_in_training": "in another dataset"}
    assert known("untested", "same", **seen) == Leakage(**seen)
    assert known("untested", "case", **seen) == Leakage()
    assert known("same", only=HELD_OUT) == Leakage(only=HELD_OUT)
    assert known("untested", only=HELD_OUT) == Leakage()
    others["gone"] = tmp_path / "gone.parquet"
    with pytest.raises(UserError, match="does not exist"):
        known("gone", **seen)
    # What does not depend on names reads nothing.
    plain = Leakage(seen_in_training="images")
    assert confirmed(plain, others["gone"], others["gone"]) is plain


def test_the_same_group_in_two_datasets_is_one():
    assert numbered(np.array(["b", "a", "b"])) == {"a": 0, "b": 1}


def test_fractions_of_groups_are_nested_and_drawn_by_the_seed():
    groups = [f"g{n % 40:02d}" for n in range(120)]
    parts = [fraction_of(groups, share, 0, "cells") for share in (0.02, 0.1, 0.25, 0.5, 1.0)]
    assert [len(part) for part in parts] == [1, 4, 10, 20, 40]
    assert all(small < large for small, large in itertools.pairwise(parts))
    assert fraction_of(groups, 0.25, 0, "cells") == parts[2]
    assert fraction_of(groups, 0.25, 1, "cells") != parts[2]
    assert len(fraction_of([f"g{n}" for n in range(100)], 0.07, 0, "cells")) == 7
