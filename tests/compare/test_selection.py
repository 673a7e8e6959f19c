"""One head stands for all stores: no test tile and no leaky split takes part in the choice."""

import numpy as np
import pandas as pd
import pytest

from transferscope.compare.selection import choose


def summary(*rows):
    """Return a summary; each row is head, scheme, backbone, test score and validation score."""
    columns = ["head", "scheme", "backbone", "mean", "validation"]
    table = pd.DataFrame(rows, columns=columns)
    fixed = {
        "dataset": "d",
        "k": pd.NA,
        "channels": "map",
        "fraction": 1.0,
        "metric": "macro_f1",
        "n_folds": 3,
    }
    return table.assign(**fixed).astype({"k": "Int64"})


def chosen(table):
    return choose(table, "macro_f1").set_index("scheme")


def test_the_head_is_the_best_on_validation_tiles_and_the_store_on_test_tiles():
    found = chosen(
        summary(
            ("logreg", "group", "a", 0.5, 0.6),
            ("logreg", "group", "b", 0.6, 0.5),
            ("mlp", "group", "a", 0.9, 0.4),
            ("mlp", "group", "b", 0.9, 0.4),
        )
    )
    assert found.loc["group", ["head", "backbone", "n_stores", "chosen_by"]].tolist() == [
        "logreg",
        "b",
        2,
        "validation",
    ]


def test_a_split_with_groups_on_both_sides_does_not_choose():
    found = chosen(
        summary(
            ("logreg", "group", "a", 0.5, 0.5),
            ("logreg", "image", "a", 0.5, 0.5),
            ("mlp", "group", "a", 0.4, 0.4),
            ("mlp", "image", "a", 0.9, 0.9),
        )
    )
    assert set(found["head"]) == {"logreg"}


def test_where_only_that_split_was_made_it_chooses():
    found = chosen(summary(("logreg", "image", "a", 0.5, 0.5), ("mlp", "image", "a", 0.4, 0.9)))
    assert found.loc["image", "head"] == "mlp"


def test_without_validation_scores_test_scores_choose_and_this_is_said():
    found = chosen(
        summary(("logreg", "group", "a", 0.5, np.nan), ("mlp", "group", "a", 0.6, np.nan))
    )
    assert found.loc["group", ["head", "chosen_by"]].tolist() == ["mlp", "mean"]


def test_a_head_without_validation_scores_is_not_chosen_where_others_have_them():
    found = chosen(summary(("logreg", "group", "a", 0.5, 0.5), ("own", "group", "a", 0.6, np.nan)))
    assert found.loc["group", ["head", "chosen_by"]].tolist() == ["logreg", "validation"]


def test_a_head_on_fewer_stores_is_not_chosen():
    found = chosen(
        summary(
            ("logreg", "group", "a", 0.5, 0.5),
            ("logreg", "group", "b", 0.5, 0.5),
            ("knn", "group", "a", 0.9, 0.9),
        )
    )
    assert found.loc["group", "head"] == "logreg"


@pytest.mark.parametrize("head", ["floor", "finetune-full"])
def test_neither_the_floor_nor_fine_tuning_is_chosen(head):
    found = chosen(summary(("logreg", "group", "a", 0.5, 0.5), (head, "group", "a", 0.9, 0.9)))
    assert found.loc["group", "head"] == "logreg"
