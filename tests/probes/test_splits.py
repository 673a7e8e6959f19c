from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transferscope.cards import DatasetCard
from transferscope.config.probes import SplitSettings
from transferscope.errors import UserError
from transferscope.probes.splits import (
    COLUMNS,
    check_splits,
    make_splits,
    read_splits,
    write_splits,
)

CLASSES = ["er", "golgi", "nucleus", "vesicles"]


def card(task: str = "multi-label") -> DatasetCard:
    return DatasetCard(name="d", sheet="s.tsv", channels=["nucleus"], task=task, labels=CLASSES)


def tile_table(
    n_groups: int = 30,
    fovs_per_group: int = 3,
    tiles_per_fov: int = 2,
    task: str = "multi-label",
    seed: int = 0,
) -> pd.DataFrame:
    """Return tiles whose groups have the classes in turn, with more of them at random."""
    rng = np.random.default_rng(seed)
    rows = []
    for group in range(n_groups):
        labels = {CLASSES[group % len(CLASSES)]}
        if task == "multi-label" and rng.random() < 0.4:
            labels.add(CLASSES[rng.integers(len(CLASSES))])
        for fov, tile in product(range(fovs_per_group), range(tiles_per_fov)):
            name = f"g{group:03d}-f{fov}"
            rows.append((f"{name}-t{tile}", f"g{group:03d}", ";".join(sorted(labels)), name))
    table = pd.DataFrame(rows, columns=["tile_id", "group", "labels", "fov"])
    unlabelled = pd.DataFrame(
        [("free", "free", "", "free")], columns=["tile_id", "group", "labels", "fov"]
    )
    return pd.concat([table, unlabelled], ignore_index=True)


def split_settings(**changes: object) -> SplitSettings:
    return SplitSettings(**{"folds": {"group": 3, "image": 3}, "seeds": [0, 1], **changes})


def named(splits: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Replace row numbers by tile ids and sort, so that tables of other orders compare."""
    tile_id = table["tile_id"].to_numpy()[splits["row"]]
    return (
        splits.drop(columns="row")
        .assign(tile_id=tile_id)
        .sort_values(["scheme", "seed", "fold", "tile_id"], ignore_index=True)
    )


def assert_sound(splits: pd.DataFrame, table: pd.DataFrame) -> None:
    """Check all that a split must never break."""
    labelled = np.flatnonzero(table["labels"] != "")
    for (scheme, _), repeat in splits.groupby(["scheme", "seed"]):
        tests = repeat.loc[repeat["role"] == "test", "row"]
        assert sorted(tests) == labelled.tolist()
        for _, fold in repeat.groupby("fold"):
            assert sorted(fold["row"]) == labelled.tolist()
            columns = table.loc[fold["row"], ["group", "fov"]].reset_index(drop=True)
            columns["role"] = fold["role"].to_numpy()
            assert (columns.groupby("fov")["role"].nunique() == 1).all()
            if scheme == "group":
                is_test = columns["role"] == "test"
                assert not set(columns["group"][is_test]) & set(columns["group"][~is_test])


@settings(max_examples=20, deadline=None)
@given(
    n_groups=st.integers(16, 40),
    fovs=st.integers(1, 3),
    tiles=st.integers(1, 2),
    folds=st.integers(2, 3),
    task=st.sampled_from(["multi-label", "single-label"]),
    seed=st.integers(0, 5),
)
def test_nothing_leaks_and_every_labelled_tile_is_tested_once(
    n_groups: int, fovs: int, tiles: int, folds: int, task: str, seed: int
) -> None:
    table = tile_table(n_groups, fovs, tiles, task, seed)
    chosen = split_settings(folds={"group": folds, "image": folds}, seeds=[seed])
    splits = make_splits(table, card(task), chosen)
    assert_sound(splits, table)
    assert set(splits.attrs["validation_unit"].values()) <= {"group", "fov"}


@settings(max_examples=10, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(random) -> None:
    table = tile_table()
    order = list(range(len(table)))
    random.shuffle(order)
    shuffled = table.iloc[order].reset_index(drop=True)
    first = make_splits(table, card(), split_settings())
    second = make_splits(shuffled, card(), split_settings())
    pd.testing.assert_frame_equal(named(first, table), named(second, shuffled))


def test_another_seed_or_scheme_changes_no_other() -> None:
    table = tile_table()
    few = make_splits(table, card(), split_settings(seeds=[1], schemes=["image"]))
    many = make_splits(table, card(), split_settings(seeds=[0, 1, 2]))
    same = many[(many["seed"] == 1) & (many["scheme"] == "image")].reset_index(drop=True)
    pd.testing.assert_frame_equal(few, same)
    other = many[(many["seed"] == 2) & (many["scheme"] == "image")].reset_index(drop=True)
    assert not few.equals(other.assign(seed=1))


def test_validation_groups_are_not_training_groups() -> None:
    table = tile_table()
    splits = make_splits(table, card(), split_settings())
    splits["group"] = table["group"].to_numpy()[splits["row"]]
    for _, fold in splits[splits["scheme"] == "group"].groupby(["seed", "fold"]):
        groups = {role: set(part["group"]) for role, part in fold.groupby("role")}
        assert not groups["train"] & groups["validation"]
        assert 2 <= len(groups["validation"]) <= 6  # a fifth of 20


@pytest.mark.parametrize("scheme", ["group", "image"])
def test_fractions_are_nested_and_count_groups(scheme: str) -> None:
    table = tile_table()
    splits = make_splits(table, card(), split_settings())
    splits["group"] = table["group"].to_numpy()[splits["row"]]
    chosen = splits[(splits["scheme"] == scheme) & (splits["role"] != "test")]
    for _, part in chosen.groupby(["seed", "fold", "role"]):
        n = part["group"].nunique()
        inside = {f: set(part["group"][part["share"] < f]) for f in (0.01, 0.1, 0.5, 1.0)}
        assert inside[0.01] <= inside[0.1] <= inside[0.5] <= inside[1.0]
        assert [len(inside[f]) for f in (0.01, 0.1, 0.5, 1.0)] == [
            1,
            np.ceil(0.1 * n),
            np.ceil(0.5 * n),
            n,
        ]
        assert (part.groupby("group")["share"].nunique() == 1).all()
    assert (splits["share"][splits["role"] == "test"] == 0).all()


def test_under_the_image_scheme_a_fraction_takes_the_same_groups_in_both_roles() -> None:
    table = tile_table(fovs_per_group=10)
    splits = make_splits(table, card(), split_settings(seeds=[0], schemes=["image"]))
    splits["group"] = table["group"].to_numpy()[splits["row"]]
    inside = splits[(splits["share"] < 0.5) & (splits["fold"] == 0)]
    groups = {role: set(part["group"]) for role, part in inside.groupby("role")}
    assert len(groups["train"] | groups["validation"]) <= len(groups["train"]) + 3


def test_folds_are_stratified() -> None:
    table = tile_table(n_groups=60, task="single-label")
    splits = make_splits(table, card("single-label"), split_settings())
    tests = splits[splits["role"] == "test"].copy()
    tests["labels"] = table["labels"].to_numpy()[tests["row"]]
    counts = tests.groupby(["scheme", "seed", "fold", "labels"]).size()
    assert counts.loc["group"].eq(5 * 6).all()
    assert counts.loc["image"].between(2 * 14, 2 * 16).all()


def test_too_few_groups_for_validation_falls_back_to_fields() -> None:
    table = tile_table(n_groups=2, fovs_per_group=6)
    table["labels"] = np.where(table["labels"] == "", "", "er;golgi")
    two = card().model_copy(update={"labels": ["er", "golgi"]})
    splits = make_splits(table, two, split_settings(folds={"group": 2, "image": 2}))
    assert_sound(splits, table)
    units = splits.attrs["validation_unit"]
    assert {name.split("/")[0]: unit for name, unit in units.items()} == {
        "group": "fov",
        "image": "fov",
    }
    assert (splits["role"] == "validation").any()


def test_validation_leaves_a_training_group_of_every_class() -> None:
    table = tile_table(n_groups=8, fovs_per_group=4, task="single-label")
    chosen = split_settings(folds={"group": 2, "image": 2}, seeds=list(range(8)))
    splits = make_splits(table, card("single-label"), chosen)
    splits["labels"] = table["labels"].to_numpy()[splits["row"]]
    training = splits[splits["role"] == "train"]
    assert (training.groupby(["scheme", "seed", "fold"])["labels"].nunique() == 4).all()


def problems_of(table: pd.DataFrame, **changes: object) -> str:
    found = check_splits(table, card(), split_settings(**changes), "sheet.tsv")
    return "\n".join(map(str, found))


def test_a_sound_table_has_no_problem() -> None:
    assert problems_of(tile_table()) == ""
    assert problems_of(tile_table()[["group", "labels"]]) == ""


def test_rare_classes_are_named_with_their_number_of_groups() -> None:
    text = problems_of(only_two_groups_of_er())
    assert 'class "er" has 2 groups, fewer than the 3 folds' in text
    assert "Lower splits.folds.group to 2" in text
    assert "rare_classes: drop" in text


def only_two_groups_of_er() -> pd.DataFrame:
    table = tile_table(task="single-label")
    table.loc[(table["labels"] == "er") & (table["group"] > "g004"), "labels"] = "golgi"
    return table


def test_dropped_classes_are_recorded_and_their_tiles_left_out() -> None:
    table = only_two_groups_of_er()
    with pytest.raises(UserError, match='class "er" has 2 groups'):
        make_splits(table, card(), split_settings())
    splits = make_splits(table, card(), split_settings(rare_classes="drop"))
    assert splits.attrs["classes"] == CLASSES[1:]
    assert splits.attrs["dropped_classes"] == ["er"]
    assert not set(splits["row"]) & set(np.flatnonzero(table["labels"] == "er"))


def test_all_problems_come_at_once() -> None:
    table = tile_table(n_groups=4)
    table["fov"] = "same"
    text = problems_of(table, folds={"group": 6, "image": 3})
    assert text.count("fewer than the 6 folds") == 1 + len(CLASSES)
    assert "belong to several groups: same" in text
    assert "1 labelled fields of view" in text


def test_nothing_labelled_is_a_problem() -> None:
    table = tile_table().assign(labels="")
    assert "no tile has a label" in problems_of(table)


def test_too_few_remaining_classes_are_a_problem() -> None:
    table = tile_table().assign(labels="er")
    assert "1 of 4 classes are left" in problems_of(table, rare_classes="drop")


def test_writing_and_reading_keeps_table_and_metadata(tmp_path: Path) -> None:
    splits = make_splits(tile_table(), card(), split_settings())
    path = tmp_path / "deep" / "d.parquet"
    write_splits(splits, path)
    first = path.read_bytes()
    again = read_splits(path, tile_table())
    pd.testing.assert_frame_equal(again, splits)
    assert again.attrs == splits.attrs
    assert list(again.columns) == COLUMNS
    write_splits(make_splits(tile_table(), card(), split_settings()), path)
    assert path.read_bytes() == first
    assert [p.name for p in path.parent.iterdir()] == ["d.parquet"]


def test_reading_something_else_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_splits(tmp_path / "none.parquet", tile_table())
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(UserError, match=r"text\.parquet"):
        read_splits(tmp_path / "text.parquet", tile_table())
