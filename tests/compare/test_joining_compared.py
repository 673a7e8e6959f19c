"""What joining gains: told where two stores know different classes, not where they are one."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from transferscope.cards import DatasetCard
from transferscope.compare.drawn_scores import ScorePaths
from transferscope.compare.study import compare
from transferscope.config.jobs import Comparison
from transferscope.config.probes import HeadSettings, SplitSettings
from transferscope.probes.evaluation import ProbeData, write_halves, write_tables
from transferscope.probes.halves import half_divisions
from transferscope.probes.heads import run_heads
from transferscope.probes.joining import join
from transferscope.probes.registry import HEADS
from transferscope.probes.splits import make_splits
from transferscope.probes.written import ScoreFiles

CLASSES = ["one", "two", "three", "four"]
SPLITS = SplitSettings(schemes=["group"], folds={"group": 3}, seeds=[0], fractions=[1.0], halves=2)
SETTINGS = HeadSettings(kinds=["logreg"])
GROUPS, TILES, WIDTH = 60, 2, 8
JOINED = {"first,second": ["first", "second"], "first,first": ["first", "first"]}


def files_in(folder, name):
    ends = ("", ".predictions", ".halves")
    return ScoreFiles(*(folder / f"{name}{end}.parquet" for end in ends))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return the folder of a study in which each store knows two of four classes."""
    folder = tmp_path_factory.mktemp("joined")
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(GROUPS), TILES)
    has = rng.random((GROUPS, len(CLASSES))) < 0.4
    names = [f"t{n}" for n in range(len(group))]
    table = pd.DataFrame({"tile_id": names, "group": [f"g{g:02}" for g in group], "fov": names})
    table["labels"] = [
        ";".join(name for name, is_in in zip(CLASSES, row, strict=True) if is_in)
        for row in has[group]
    ]
    card = DatasetCard(name="cells", sheet="s", channels=["dna"], labels=CLASSES)
    splits = make_splits(table, card, SPLITS)
    stores = {}
    for name, known in (("first", [0, 1]), ("second", [2, 3])):
        values = rng.normal(size=(len(group), WIDTH))
        values += 2.0 * has[group][:, known] @ rng.normal(size=(2, WIDTH))
        identity = {"dataset": "cells", "backbone": name, "channels": "map"}
        stores[name] = ProbeData.of(values, table, splits, [1.0], ["macro_f1"], identity)

    def heads(data, sink):
        return run_heads(data, SETTINGS, sink=sink)

    halves = half_divisions(stores["first"].tiles, SPLITS, [1.0], "cells")
    own = {name: files_in(folder, name) for name in stores}
    for name, data in stores.items():
        files = own[name]
        write_tables(data, files.scores, files.predictions, lambda sink, d=data: heads(d, sink))
        write_halves(data, halves, files.halves, heads)
    both = {name: files_in(folder, name) for name in JOINED}
    for name, parts in JOINED.items():
        sides = [stores[part] for part in parts]
        join(sides, name, SPLITS, {HEADS: SETTINGS}, "macro_f1", both[name])
    compare(
        [files.scores for files in own.values()],
        [files.predictions for files in own.values()],
        Comparison(bootstrap=200, not_joined=["`a` and `b` are not joined: no dataset has both."]),
        folder / "compare",
        folder / "summary.csv",
        folder / "summary.md",
        [files.halves for files in own.values()],
        joined=ScorePaths(
            *([getattr(files, kind) for files in both.values()] for kind in vars(own["first"]))
        ),
    )
    return folder


@pytest.fixture(scope="module")
def table(folder):
    assert (folder / "compare/joined.csv").exists()
    return pd.read_parquet(folder / "compare/joined.parquet").set_index(["backbone", "against"])


def test_a_gain_is_the_joined_score_minus_that_of_each_part(folder, table):
    for name, parts in JOINED.items():
        predicted = pd.read_parquet(folder / f"{name}.predictions.parquet")
        scores = {}
        for scheme, own in predicted.groupby("scheme"):
            true, said = (own.filter(regex=f"^{k}_").to_numpy(bool) for k in ("true", "predicted"))
            scores[scheme] = f1_score(true, said, average="macro")
        for against, part in zip(("chosen", "part-1", "part-2"), ("", *parts), strict=True):
            row = table.loc[name, against]
            assert row["part"] == part
            assert row["first_mean"] == pytest.approx(scores["joined"], abs=2e-6)
            gained = scores["joined"] - scores[against]
            assert row["difference"] == pytest.approx(gained, abs=3e-6)
        of_parts = table.loc[name].loc[["part-1", "part-2"], "n_chosen"]
        assert of_parts.sum() == table.at[(name, "chosen"), "n_chosen"] == 3


def test_a_gain_is_told_where_each_part_knows_what_the_other_does_not(table):
    assert table.loc["first,second", "gain"].all()
    assert table.at[("first,second", "chosen"), "ci_low"] > 0.02


def test_a_copy_gains_nothing(table):
    copy = table.loc["first,first"]
    assert not copy["gain"].any()
    assert (copy["difference"] == 0).all()
    assert (copy["verdict"] == "equal").all()


def test_both_texts_say_what_is_gained(folder):
    summary, details = ((folder / f"{n}.md").read_text() for n in ("summary", "details"))
    for text in (summary, details):
        assert "## `cells`, backbones joined" in text
        assert "`first` and `second` (map) joined, logistic regression: macro F1 0." in text
        assert "a gain, shown against each of them, too" in text
        assert "practically equal (shown to differ by less than 0.02): no gain is told" in text
    assert "`first` and `second` (map), each alone" in details
    assert "`a` and `b` are not joined: no dataset has both." in details
