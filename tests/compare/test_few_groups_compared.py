"""Few labelled groups of each class against all of them: the table and its sentences."""

import pandas as pd
import pytest

from comparison_data import make_tiles, write_study
from transferscope.compare.study import compare
from transferscope.config.jobs import Comparison

STORES = [("dino", "map", 0.3), ("handcrafted", "features", 2.5)]
FEW = ["group+1-per-class", "group+4-per-class"]


def compared(folder, schemes):
    heads = [("floor", 0), ("logreg", 0)]
    options = {"fractions": [0.5, 1.0], "heads": heads, "schemes": schemes}
    study = write_study(folder, make_tiles(n_groups=80), STORES, **options)
    files = folder / "compare", folder / "summary.csv", folder / "summary.md"
    compare(study.scores, study.predictions, Comparison(bootstrap=200), *files)
    return files


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return compared(tmp_path_factory.mktemp("few"), ["group", *FEW])


def test_differences_and_shares_are_of_the_scores_of_the_summary(files):
    table = pd.read_csv(files[0] / "groups_per_class.csv")
    summary = pd.read_csv(files[1]).query("metric == 'macro_f1' and fraction == 1.0")
    means = summary.set_index(["backbone", "head", "scheme"])["mean"]
    assert len(table) == 2 * len(STORES)
    assert set(table["head"]) == {"logreg"}
    for row in table.to_dict("records"):
        few = means[row["backbone"], "logreg", f"group+{row['groups_per_class']}-per-class"]
        full = means[row["backbone"], "logreg", "group"]
        assert row["difference"] == pytest.approx(few - full, abs=1e-5)
        assert row["share"] == pytest.approx(few / full, abs=1e-5)
        assert row["ci_low"] < row["difference"] < row["ci_high"]
        assert row["share_low"] < row["share"] < row["share_high"]
    sizes = table.groupby("groups_per_class")["n_train_groups"].first()
    assert sizes[1] < sizes[4] < table["n_train_groups_of_all"].iloc[0]


def test_few_groups_have_wider_intervals_and_decide_nothing(files, tmp_path):
    few, alone = files, compared(tmp_path, ["group"])
    for name in ("chosen", "leaderboard", "differences"):
        tables = [pd.read_parquet(each[0] / f"{name}.parquet") for each in (few, alone)]
        pd.testing.assert_frame_equal(*tables)
    summaries = [pd.read_csv(each[1]) for each in (few, alone)]
    kept = summaries[0][summaries[0]["scheme"] == "group"].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, summaries[1])
    assert not (alone[0] / "groups_per_class.parquet").exists()


def test_sentences_say_score_and_share_of_the_highest_store(files):
    text = files[2].read_text()
    assert "## `cells`, with few labelled groups per class" in text
    table = pd.read_csv(files[0] / "groups_per_class.csv").query("backbone == 'dino'")
    for row in table.to_dict("records"):
        groups = "group" if row["groups_per_class"] == 1 else "groups"
        assert f"with {row['groups_per_class']} {groups} per class" in text
        assert f"{row['share']:.0%} (" in text
    assert "of its full score" in text
