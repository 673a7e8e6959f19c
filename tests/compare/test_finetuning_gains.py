"""Fine-tuned minus the best frozen head: paired, at each fraction."""

import shutil

import numpy as np
import pandas as pd
import pytest

from comparison_data import make_tiles, write_store
from transferscope.compare.finetuning import gains, worth_from
from transferscope.compare.study import compare
from transferscope.compare.tables import Head, Store
from transferscope.compare.uncertainty import Inflation, interval, variances
from transferscope.config.results import CompareSettings, FigureSettings
from transferscope.figures.dispatch import draw_figure

FRACTIONS = (0.25, 0.5, 1.0)
SETTINGS = CompareSettings(bootstrap=200)
STORE = Store("net", "map")


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A study of two stores, of which one is fine-tuned by two modes: one helps, one harms."""
    folder = tmp_path_factory.mktemp("tuned")
    tiles = make_tiles(n_groups=48)
    paths = [write_store(folder, tiles, "net", "map", 2.5, fractions=FRACTIONS)]
    paths += [write_store(folder, tiles, "other", "map", 4.0, fractions=FRACTIONS)]
    for mode, noise in (("full", 0.2), ("lora", 8.0)):
        own = folder / mode
        heads = [(f"finetune-{mode}", 0)]
        paths.append(write_store(own, tiles, "net", "map", noise, heads, fractions=FRACTIONS))
    compare(
        [s for s, _ in paths],
        [p for _, p in paths],
        SETTINGS,
        folder / "compare",
        folder / "summary.csv",
        folder / "summary.md",
    )
    return folder


def table(folder, name="finetuning"):
    return pd.read_parquet(folder / "compare" / f"{name}.parquet")


def test_each_mode_is_compared_with_the_best_frozen_head_at_each_fraction(compared):
    rows = table(compared)
    assert len(rows) == 2 * 2 * len(FRACTIONS)
    assert set(rows["backbone"]) == {"net"}
    summary = pd.read_csv(compared / "summary.csv").query("metric == 'macro_f1'")
    for _, row in rows.iterrows():
        same = summary[
            (summary["backbone"] == "net")
            & (summary["scheme"] == row["scheme"])
            & (summary["fraction"] == row["fraction"])
        ]
        frozen = same[same["head"].isin(["logreg", "knn"])].sort_values("mean").iloc[-1]
        assert row["frozen_head"] == frozen["head"]
        assert row["frozen_mean"] == pytest.approx(frozen["mean"], abs=2e-6)
        tuned = same[same["head"] == row["head"]]["mean"].iloc[0]
        assert row["difference"] == pytest.approx(tuned - frozen["mean"], abs=2e-6)
        assert row["ci_low"] <= row["difference"] <= row["ci_high"]


def test_what_helps_is_worth_it_and_what_harms_is_not(compared):
    rows = table(compared).query("fraction == 1.0").set_index(["head", "scheme"])
    assert rows.loc["finetune-full", "worth_from"].notna().all()
    assert rows.loc["finetune-lora", "worth_from"].isna().all()


def test_the_head_that_stands_for_all_stores_is_a_frozen_one(compared):
    assert set(table(compared, "chosen")["head"]) <= {"logreg", "knn"}


def test_the_summary_says_from_where_on_it_is_worth_it(compared):
    text = (compared / "details.md").read_text()
    assert "Fine-tuning of all layers of `net / map` reaches" in text
    assert "It is worth it from" in text
    assert "Fine-tuning of low-rank updates (LoRA) of `net / map` reaches" in text
    assert "From no fraction on is the difference shown to be above zero" in text


def test_the_scaling_figure_shows_frozen_and_fine_tuned_curves(compared, tmp_path):
    target = tmp_path / "scaling.svg"
    draw_figure(
        "scaling", compared / "summary.csv", compared / "compare", FigureSettings(dpi=60), [target]
    )
    text = target.read_text()
    for shown in ("frozen, best head", "all layers: worth it from", "not shown to be worth it"):
        assert shown in text, shown


def test_a_scheme_that_was_not_fine_tuned_is_said_to_be_so(compared, tmp_path):
    folder = tmp_path / "compare"
    shutil.copytree(compared / "compare", folder)
    table(compared).query("scheme == 'group'").to_parquet(folder / "finetuning.parquet")
    target = tmp_path / "scaling.svg"
    draw_figure("scaling", compared / "summary.csv", folder, FigureSettings(dpi=60), [target])
    assert "not fine-tuned with this split" in target.read_text()


def test_the_interval_is_that_of_the_paired_draws():
    rng = np.random.default_rng(0)
    frozen = rng.normal(0.5, 0.1, 501)
    tuned = frozen + rng.normal(0.05, 0.01, 501)
    curves = {
        STORE: {
            (Head("linear"), "group", 1.0): frozen,
            (Head("knn", 5), "group", 1.0): frozen - 0.2,
            (Head("floor"), "group", 1.0): frozen + 1,
            (Head("finetune-full"), "group", 1.0): tuned,
        }
    }
    summary = pd.DataFrame(
        {
            "dataset": ["d"],
            "scheme": ["group"],
            "fraction": [1.0],
            "n_train_groups": [8.0],
            "n_groups": [12],
        }
    )
    (row,) = gains(curves, "d", summary, 0.95).to_dict("records")
    gain, without = tuned - frozen, Inflation.without_halves(12)
    low, high = interval(gain[0], variances(gain), without, 0.95)
    assert row["frozen_head"] == "linear"
    assert (row["ci_low"], row["ci_high"]) == (pytest.approx(low), pytest.approx(high))
    assert row["worth_from"] == 1.0
    assert row["n_train_groups"] == 8


@pytest.mark.parametrize(
    ("lows", "expected"),
    [
        ([0.1, 0.1, 0.1], 0.25),
        ([-0.1, 0.1, 0.1], 0.5),
        ([0.1, -0.1, 0.1], 1.0),
        ([0.1, 0.1, 0.0], np.nan),
        ([0.1, 0.1, np.nan], np.nan),
    ],
)
def test_it_is_worth_it_from_where_the_interval_stays_above_zero(lows, expected):
    rows = pd.DataFrame({"fraction": FRACTIONS, "low_of_all": lows}).sample(frac=1, random_state=0)
    np.testing.assert_equal(worth_from(rows), expected)
