"""Scores on another dataset: what the tables and sentences say is what was predicted there."""

import logging
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from comparison_data import write_transfers

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from coverage_of_transfer import Design, counted, studies

STORES = [("dino", "map", 0.3), ("vit", "map", 1.1), ("handcrafted", "features", 2.5)]
NAMED = ["source", "dataset", "backbone", "scheme"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_transfers(tmp_path_factory.mktemp("transfers"), "cells", STORES)


def table(folder, name):
    found = pd.read_parquet(folder / f"compare/{name}.parquet")
    assert (folder / f"compare/{name}.csv").exists()
    return found


def test_scores_are_those_of_the_predictions(folder):
    found = table(folder, "transfer").set_index(NAMED)["mean"]
    for source, dataset in (("cells", "other"), ("other", "cells")):
        for backbone, channels, _ in STORES:
            place = folder / f"from/{source}/scores/heads/{dataset}/{backbone}"
            predicted = pd.read_parquet(place / f"{channels}.predictions.parquet")
            for scheme, own in predicted.query("head == 'logreg'").groupby("scheme"):
                true, said = (
                    own.filter(regex=f"^{kind}_").to_numpy(bool) for kind in ("true", "predicted")
                )
                expected = f1_score(true, said, average="macro", zero_division=np.nan)
                assert found[source, dataset, backbone, scheme] == pytest.approx(expected, abs=2e-6)
    assert len(found) == 2 * len(STORES) * 4


def test_costs_are_differences_of_one_store_corrected_for_all(folder):
    scores = table(folder, "transfer").set_index(NAMED)["mean"]
    costs = table(folder, "transfer_costs")
    steps = set(zip(costs["better_with"], costs["than"], strict=True))
    assert steps == {
        ("own", "zero-shot"),
        ("few-shot-2", "zero-shot"),
        ("few-shot-2", "alone-2"),
        ("own", "few-shot-2"),
    }
    for row in costs.to_dict("records"):
        of = [scores[*(row[k] for k in NAMED[:3]), row[s]] for s in ("better_with", "than")]
        assert row["difference"] == pytest.approx(of[0] - of[1], abs=3e-6)
        # Two pairs of datasets, three stores.
        assert row["n_comparisons"] == 6
        assert row["p_adjusted"] >= min(1, 2 * row["p_value"]) - 2e-6
        assert (row["verdict"] in ("better", "worse")) == (
            row["p_adjusted"] < 0.05 and row["verdict"] != "equal"
        )


def test_ranks_compare_the_own_dataset_with_the_other(folder):
    scores = table(folder, "transfer").set_index(NAMED)["mean"]
    pairs, ranks = table(folder, "transfer_pairs"), table(folder, "transfer_ranks")
    for row in pairs.to_dict("records"):
        there, here = row["dataset"], row["source"]
        first, second = row["first_backbone"], row["second_backbone"]
        inside = [scores[there, here, name, "own"] for name in (first, second)]
        outside = [scores[here, there, name, "zero-shot"] for name in (first, second)]
        assert row["inside"] == pytest.approx(inside[0] - inside[1], abs=3e-6)
        assert row["outside"] == pytest.approx(outside[0] - outside[1], abs=3e-6)
        assert row["difference"] == pytest.approx(row["inside"] - row["outside"], abs=3e-6)
    assert (ranks["n_pairs"] == 3).all()
    assert (ranks["n_same"] + ranks["n_opposite"] <= 3).all()
    assert set(ranks["best_inside"]) == {"dino / map"}
    assert ranks["best_inside_may_be_best"].all()


def test_both_texts_tell_it(folder):
    text, details = ((folder / f"{name}.md").read_text() for name in ("summary", "details"))
    for said in (text, details):
        assert "## Trained on `cells`, tested on `other`" in said
        assert "`dino / map`, logistic regression: macro F1" in said
        assert "2 labelled groups per class of `other`" in said
        assert "Ranking of 3 stores, in and out of domain" in said
        assert "`more` is of other classes." in said
    assert "`handcrafted`, logistic regression: macro F1" in details
    assert "for all 2 pairs of datasets at once" in details
    for line in text.splitlines():
        if "in and out of domain" in line or "per class of" in line:
            assert line in details


def test_no_cost_is_found_without_a_shift_and_a_planted_one_is():
    """Few studies of the simulation that `benchmarks/coverage_of_transfer.py` repeats."""
    logging.disable(logging.WARNING)
    small = {"source": 32, "target": 32, "tiles": 1, "head": "knn"}
    null, planted = (
        counted(studies(Design(**small, shift=shift), range(1))).set_index("quantity")
        for shift in (0.0, 1.5)
    )
    logging.disable(logging.NOTSET)
    assert null.loc["own - zero-shot", "claimed"] == 0
    assert null.loc["stores, change of their difference", "claimed"] == 0
    assert planted.loc["own - zero-shot", "claimed"] == 1
    assert planted.loc["few-shot-3 - zero-shot", "value"] > 0.1
