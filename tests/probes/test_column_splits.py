"""Splits by a column of the sheet: nothing on both sides, equal controls, and what is refused."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transferscope.cards import DatasetCard
from transferscope.config.probes import SplitSettings
from transferscope.errors import UserError
from transferscope.probes.evaluation import read_divisions
from transferscope.probes.halves import half_divisions
from transferscope.probes.labels import LabelledTiles
from transferscope.probes.splits import check_splits, make_splits

CLASSES = ["a", "b", "c"]


def card(task: str = "single-label") -> DatasetCard:
    return DatasetCard(name="d", sheet="s.tsv", channels=["x"], task=task, labels=CLASSES)


def chosen(**changes: object) -> SplitSettings:
    given_values = {"schemes": ["group", "image", "batch"], "folds": {"group": 3, "image": 3}}
    return SplitSettings(**{**given_values, "seeds": [0], "halves": 0, **changes})


def table(
    n_groups: int = 24, n_batches: int = 3, each: int = 1, seed: int = 0, extra: bool = False
) -> pd.DataFrame:
    """Return tiles of groups that are in `each` of the batches; `extra` gives some two labels."""
    rng = np.random.default_rng(seed)
    rows = []
    for group in range(n_groups):
        first = (group // len(CLASSES)) % n_batches
        labels = {CLASSES[group % len(CLASSES)]}
        if extra and rng.random() < 0.3:
            labels.add(CLASSES[rng.integers(len(CLASSES))])
        for step in range(each):
            batch = (first + step) % n_batches
            for tile in range(2):
                name = f"g{group:02d}b{batch}t{tile}"
                rows.append((name, f"g{group:02d}", ";".join(sorted(labels)), f"p{batch}"))
    made = pd.DataFrame(rows, columns=["tile_id", "group", "labels", "batch"])
    return made.assign(fov=made["tile_id"])


@settings(max_examples=25, deadline=None)
@given(
    n_groups=st.integers(24, 40),
    n_batches=st.integers(2, 4),
    each=st.integers(1, 4),
    folds=st.sampled_from([None, 2]),
    several=st.booleans(),
    seed=st.integers(0, 5),
)
def test_nothing_leaks_and_every_labelled_tile_is_tested_once(
    n_groups: int, n_batches: int, each: int, folds: int | None, several: bool, seed: int
) -> None:
    tiles = table(n_groups, n_batches, min(each, n_batches), seed, several)
    of_batch = {} if folds is None else {"batch": folds}
    asked = chosen(folds={"group": 3, "image": 3, **of_batch}, seeds=[seed])
    splits = make_splits(tiles, card("multi-label" if several else "single-label"), asked)
    for scheme, repeat in splits.groupby("scheme"):
        assert sorted(repeat.loc[repeat["role"] == "test", "row"]) == list(range(len(tiles)))
        for _, fold in repeat.groupby("fold"):
            own = tiles.loc[fold["row"]].assign(test=(fold["role"] == "test").to_numpy())
            inside, outside = own[own["test"]], own[~own["test"]]
            if scheme != "image":
                assert not set(inside["group"]) & set(outside["group"])
            if scheme == "batch":
                assert not set(inside["batch"]) & set(outside["batch"])
            labels = set(";".join(outside["labels"]).split(";"))
            assert labels == set(CLASSES)


@pytest.mark.parametrize("each", [1, 3])
def test_a_control_has_the_sizes_and_classes_of_its_column(each: int) -> None:
    tiles = table(36, 3, each)
    splits = make_splits(tiles, card(), chosen())
    splits["label"] = tiles["labels"].to_numpy()[splits["row"]]
    inner = splits.assign(test=splits["role"] == "test")
    counts = inner.groupby(["scheme", "fold", "test", "label"]).size()
    assert counts["batch"].equals(counts["batch+shuffled"])
    mixed = 0
    for _, fold in splits[splits["scheme"] == "batch+shuffled"].groupby("fold"):
        own = tiles.loc[fold["row"]].assign(test=(fold["role"] == "test").to_numpy())
        mixed += bool(set(own["batch"][own["test"]]) & set(own["batch"][~own["test"]]))
    assert mixed > 1, "the batches of tests are in training"


def test_other_schemes_are_as_without_the_column_and_row_order_does_not_matter() -> None:
    tiles = table(each=2)
    plain = make_splits(tiles, card(), chosen(schemes=["group", "image"]))
    splits = make_splits(tiles, card(), chosen())
    old = splits[splits["scheme"].isin(["group", "image"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(plain, old, check_flags=False)
    order = np.random.default_rng(0).permutation(len(tiles))
    other = make_splits(tiles.iloc[order].reset_index(drop=True), card(), chosen())
    named = [
        found.assign(row=names.to_numpy()[found["row"]]).sort_values(["scheme", "fold", "row"])
        for found, names in ((splits, tiles["tile_id"]), (other, tiles["tile_id"].iloc[order]))
    ]
    pd.testing.assert_frame_equal(*(each.reset_index(drop=True) for each in named))


def test_controls_are_run_with_all_labels_only_and_halves_have_them() -> None:
    tiles = table(48)
    asked = chosen(halves=1)
    divisions = read_divisions(make_splits(tiles, card(), asked), [0.5, 1.0])
    assert {d.fraction for d in divisions if d.scheme == "batch+shuffled"} == {1.0}
    labelled = LabelledTiles.from_table(tiles, CLASSES, "single-label", ["batch"])
    halves = half_divisions(labelled, asked, [1.0], "d")
    assert {d.scheme for d in halves} == {"group", "image", "batch", "batch+shuffled"}
    few = LabelledTiles.from_table(table(24, 8), CLASSES, "single-label", ["batch"])
    assert half_divisions(few, asked, [1.0], "d") == []


def test_what_cannot_be_split_is_told_all_at_once() -> None:
    tiles = table().assign(site="x", donor="")
    tiles.loc[tiles["labels"] == "a", "batch"] = "p0"
    asked = chosen(schemes=["group", "batch", "site", "donor", "plte"])
    found = "\n".join(map(str, check_splits(tiles, card(), asked, "sheet.tsv")))
    for said in (
        'class "a" is in one batch only (p0): none is left to train or test on',
        "all labelled tiles have the same site (x), so that none can be left out",
        "48 labelled tiles have no donor",
        'no column "plte" to split by',
    ):
        assert said in found
    too_many = chosen(folds={"group": 3, "image": 3, "batch": 4})
    (problem,) = check_splits(table(), card(), too_many, "sheet.tsv")
    assert "3 different values, fewer than the 4 folds" in str(problem)
    with pytest.raises(UserError, match="is in one batch only"):
        make_splits(tiles.drop(columns=["site"]), card(), chosen())
    dropped = make_splits(tiles, card(), chosen(rare_classes="drop"))
    assert dropped.attrs["classes"] == ["b", "c"]
