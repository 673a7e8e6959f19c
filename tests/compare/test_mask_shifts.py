"""What is lost out of domain: the losses, their intervals, and how they are told."""

import numpy as np
import pandas as pd
import pytest

from segmented_tables import simulated_shift
from transferscope.compare.mask_sentences import masks_in_short
from transferscope.compare.mask_shifts import (
    PAIR_COLUMNS,
    SHIFT_COLUMNS,
    compare_shifts,
    remove_shifts,
    shifts,
)
from transferscope.compare.masks import MaskTables, judge
from transferscope.config.results import CompareSettings
from transferscope.segmentation.table_names import SHIFT_TABLES
from transferscope.stores.parquet import write_parquet

SETTINGS = CompareSettings(bootstrap=200)
LOSSES = {"a": 0.1, "b": 0.3}


def test_losses_are_found_with_intervals_that_hold_them():
    stores, pairs = shifts(*simulated_shift(LOSSES), SETTINGS)
    assert list(stores) == SHIFT_COLUMNS
    assert list(pairs) == PAIR_COLUMNS
    assert stores["n_train_groups"].tolist() == [4, 8, 16] * 2
    assert stores["outside_floor"].to_numpy() == pytest.approx(0.4)
    for backbone, loss in LOSSES.items():
        own = stores[stores["backbone"] == backbone]
        assert ((own["loss_low"] <= loss) & (loss <= own["loss_high"])).all()
        np.testing.assert_allclose(own["inside"] - own["outside"], own["loss"])
        assert (own["loss_high"] - own["loss_low"]).max() < 0.25
    # Pairs share groups and are much surer.
    assert (pairs["loss_high"] < -0.08).all()
    assert (pairs["loss_low"] <= -0.2).all()
    assert (pairs["outside_low"] > 0.1).all()


def test_equal_losses_are_seldom_shown_to_differ():
    shown, covered = 0, []
    for seed in range(12):
        stores, pairs = shifts(*simulated_shift({"a": 0.2, "b": 0.2}, seed=seed), SETTINGS)
        full = pairs.query("fraction == 1")
        shown += int((full["loss_low"] > 0).any() or (full["loss_high"] < 0).any())
        covered += list((stores["loss_low"] <= 0.2) & (stores["loss_high"] >= 0.2))
    assert shown <= 2
    assert np.mean(covered) > 0.9


def test_it_is_told_with_what_is_lost_least(tmp_path):
    scores, images, elsewhere = simulated_shift(LOSSES)
    path = tmp_path / "elsewhere.parquet"
    write_parquet(elsewhere, path, {})
    compare_shifts(scores, images, [path], SETTINGS, tmp_path)
    read = [pd.read_parquet(tmp_path / f"{name}.parquet") for name in SHIFT_TABLES]
    tables = MaskTables(*judge(scores, images, SETTINGS), *read)
    one, two = [t for t in masks_in_short("glands", tables, SETTINGS) if "los" in t]
    assert one.startswith("Out of domain, on `other` (15 groups), the same decoders conv")
    assert "with `a / map`, a loss of +0." in one
    assert one.index("`a / map`") < one.index("`b / map`")
    assert one.endswith("the floor there has 0.400.")
    assert two.startswith(
        "Least is lost with `a / map`; that it loses less than `b / map` is shown"
    )
    remove_shifts(tmp_path)
    assert not list(tmp_path.glob("mask_shift*"))


def test_where_nothing_differs_nothing_is_said_to_be_shown():
    scores, images, elsewhere = simulated_shift({"a": 0.2, "b": 0.2}, seed=3)
    found = shifts(scores, images, elsewhere, SETTINGS)
    tables = MaskTables(*judge(scores, images, SETTINGS), *found)
    (text,) = [t for t in masks_in_short("glands", tables, SETTINGS) if t.startswith("Least")]
    assert " is not shown: difference of the losses" in text
