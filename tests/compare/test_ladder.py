"""What splits by a column of the sheet cost: nothing where there is nothing, and it is found."""

import logging
import sys
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from comparison_data import make_tiles, write_study

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from coverage_of_steps import Design, counted, studies

from transferscope.compare.ladder import steps
from transferscope.compare.study import compare
from transferscope.config.jobs import Comparison

SMALL = {"groups": 40, "tiles": 2, "head": "knn", "halves": 1}
STORES = [("dino", "map", 0.3), ("vit", "map", 1.1), ("handcrafted", "features", 2.5)]


def table_of(folder, columns, schemes):
    heads = [("floor", 0), ("logreg", 0)]
    options = {"fractions": [1.0], "heads": heads, "schemes": schemes}
    study = write_study(folder, make_tiles(), STORES, **options)
    files = folder / "compare", folder / "summary.csv", folder / "summary.md"
    settings = Comparison(bootstrap=200, columns=columns)
    compare(study.scores, study.predictions, settings, *files)
    return pd.read_parquet(folder / "compare" / "ladder.parquet"), files[2]


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    columns = ["site", "plate"]
    schemes = ["group", "image", *columns, *(f"{name}+shuffled" for name in columns)]
    return table_of(tmp_path_factory.mktemp("ladder"), columns, schemes)


def score_of(means, row, scheme):
    return means[row["backbone"], row["head"], row["k"], scheme]


def test_steps_are_in_the_order_of_the_study_and_are_differences_of_scores(compared):
    table, summary = compared
    assert [*dict.fromkeys(zip(table["easier"], table["harder"], strict=True))] == steps(
        ["site", "plate"]
    )
    scores = pd.read_csv(summary.with_suffix(".csv")).query("metric == 'macro_f1'").fillna({"k": 0})
    means = scores.set_index(["backbone", "head", "k", "scheme"])["mean"]
    for row in table.fillna({"k": 0}).to_dict("records"):
        of = partial(score_of, means, row)
        cost = {name: of(f"{name}+shuffled") - of(name) for name in ("site", "plate")}
        expected = {
            ("image", "group"): of("image") - of("group"),
            ("group", "site"): cost["site"],
            ("group", "plate"): cost["plate"],
            ("site", "plate"): cost["plate"] - cost["site"],
        }[row["easier"], row["harder"]]
        assert row["difference"] == pytest.approx(expected, abs=2e-6)
        assert row["difference"] == pytest.approx(row["first_mean"] - row["second_mean"], abs=2e-6)
        assert row["ci_low"] <= row["difference"] <= row["ci_high"]


def test_controls_are_in_no_sentence_but_their_costs_are(compared):
    _, summary = compared
    text, details = summary.read_text(), summary.with_name("details.md").read_text()
    assert "shuffled" not in text
    assert "+shuffled" not in details
    assert "## `cells`, what harder splits cost" in text
    assert "a new `plate` more than a new `site`" in text
    assert "| `cells` | `plate` |" in text
    assert "Split by `plate` (neither its values nor groups on both sides)" in details
    assert "trains on as many groups" in details
    for line in text.splitlines():
        if "What the highest store" in line:
            assert line in details


def test_without_columns_there_is_no_table(tmp_path):
    study = write_study(tmp_path, make_tiles(), STORES[:1], fractions=[1.0], heads=[("logreg", 0)])
    files = tmp_path / "compare", tmp_path / "summary.csv", tmp_path / "summary.md"
    compare(study.scores, study.predictions, Comparison(bootstrap=100), *files)
    assert not list((tmp_path / "compare").glob("ladder*"))
    assert "harder splits" not in files[2].read_text()


@pytest.mark.parametrize("crossed", [False, True])
def test_no_cost_is_found_without_batch_effects_and_planted_ones_are(crossed):
    """Few studies of the simulation that `benchmarks/coverage_of_steps.py` repeats."""
    logging.disable(logging.WARNING)
    extra = {"crossed": crossed, **({"groups": 24, "tiles": 1} if crossed else {})}
    null = studies(Design(**SMALL | extra), range(2))
    planted = counted(studies(Design(**SMALL | extra, batch=1.5), range(1)))
    logging.disable(logging.NOTSET)
    of_columns = null[null["harder"] != "group"]
    assert ((of_columns["ci_low"] <= 0) & (of_columns["ci_high"] >= 0)).mean() > 0.8
    of_batch = planted.set_index("harder").loc["batch"]
    assert of_batch["shown"] == 1
    assert of_batch["difference"] > 0.2
