"""The summary of one page, next to the details that it is taken from."""

import re
from pathlib import Path

import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from comparison_data import Study, make_tiles, write_study
from transferscope.compare.evidence import LookedAt
from transferscope.compare.study import compare
from transferscope.config.jobs import Comparison

# About 50 lines of 90 characters.
PAGE = 4500
STORES = [
    ("dino", "map", 0.3),
    ("dino", "map-random", 2.5),
    ("vit", "map", 1.1),
    ("handcrafted", "features", 2.5),
]


def texts_of(folder: Path, study, **options) -> tuple[str, str]:
    """Return the summary and the details of a study."""
    settings = Comparison(bootstrap=200, **options)
    files = folder / "compare", folder / "summary.csv", folder / "summary.md"
    compare(study.scores, study.predictions, settings, *files)
    return files[2].read_text(), (folder / "details.md").read_text()


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    return texts_of(folder, write_study(folder, make_tiles(), STORES))


def test_the_summary_is_one_page_and_begins_with_the_answer(texts):
    summary, _ = texts
    assert len(summary) < PAGE
    assert "| `cells` | group | `dino / map`, 0." in summary[:600]


def test_the_summary_says_nothing_that_the_details_do_not_say(texts):
    summary, details = texts
    sentences = re.findall(r"^\* (?:`cells`: )?(.+)$", summary, re.MULTILINE)
    short = [s for s in sentences if s.startswith("Channels in their natural slots")]
    assert short
    assert len(sentences) > 6
    assert [s for s in sentences if s not in details] == short


def test_one_store_that_may_be_the_best_is_said_to_be_alone(tmp_path):
    stores = [("dino", "map", 0.1), ("vit", "map", 8.0), ("vit", "mean", 8.0)]
    summary, details = texts_of(tmp_path, write_study(tmp_path, make_tiles(), stores))
    assert "| only it |" in summary
    for text in (summary, details):
        assert "Only it may be the best. All other 2 stores are ruled out." in text


def test_of_many_stores_the_summary_names_some(tmp_path):
    stores = [(f"net{i}", "map", 1.0) for i in range(9)] + [("bad", "map", 30.0)]
    options = {"schemes": ["group"], "fractions": [1.0]}
    summary, details = texts_of(tmp_path, write_study(tmp_path, make_tiles(), stores, **options))
    candidates = [line for line in details.splitlines() if " may be the best: `net" in line]
    assert candidates[0].count("`") > 2 * 6
    assert re.search(r"may be the best: (`[^`]+`, ){6}and \d more\. ", summary)


def test_hand_crafted_features_that_lead_can_be_beaten_on_fewer_folds(tmp_path):
    stores = [("handcrafted", "features", 4.0), ("own", "map", 0.01)]
    made = write_study(tmp_path, make_tiles(n_groups=96), stores, schemes=["group"])
    for path in (made.scores[1], made.predictions[1]):
        whole = pq.read_table(path)
        pq.write_table(whole.filter(pc.equal(whole["fold"], 0)), path)
    expected = "shown to be better than they on fewer folds: `own / map`."
    for text in texts_of(tmp_path, made):
        assert expected in text
        assert "no network is shown to be better" not in text


def test_many_datasets_stay_on_one_page(tmp_path):
    options = {"schemes": ["group"], "fractions": [1.0], "heads": [("logreg", 0)]}
    names = [f"data{i}" for i in range(5)]
    each = [write_study(tmp_path, make_tiles(name), STORES, **options) for name in names]
    scores = [path for study in each for path in study.scores]
    predictions = [path for study in each for path in study.predictions]
    together = Study(tmp_path, scores, predictions)
    summary, details = texts_of(tmp_path, together)
    assert len(summary) < PAGE
    assert all(f"| `{name}` | group |" in summary for name in names)
    assert summary.count("\n## ") == 2
    assert details.count("\n## `data") == 5
    assert summary.count("The splits were made once") == 1


OPERATIONS = {"big / map": 36e9, "small / map": 4.5e8, "handcrafted": 0.0, "far / map": 1e6}


@pytest.mark.parametrize(
    ("margin", "expected"),
    [
        (0.3, "`small / map` needs least computation (0.45 GFLOP per tile, 0.013 times that of"),
        (0.999, "`handcrafted` needs least computation (no network)."),
        (0.0001, "No store is shown to be less than 0.0001 behind the best"),
    ],
)
def test_the_cheapest_store_that_is_as_good(tmp_path, margin, expected):
    stores = [
        ("big", "map", 0.3),
        ("small", "map", 0.31),
        ("handcrafted", "features", 6.0),
        ("far", "map", 20.0),
        ("unknown", "map", 0.3),
    ]
    options = {"schemes": ["group"], "fractions": [1.0], "heads": [("logreg", 0)]}
    made = write_study(tmp_path, make_tiles(n_groups=80), stores, **options)
    operations = {"cells": OPERATIONS if margin != 0.999 else {**OPERATIONS, "far / map": 1e12}}
    summary, details = texts_of(tmp_path, made, margin=margin, operations=operations)
    assert expected in details
    assert (expected in summary) == (margin > 0.01)
    table = pd.read_parquet(tmp_path / "compare/leaderboard.parquet").set_index("backbone")
    assert table["operations"].drop("unknown").to_dict() == {
        name.partition(" ")[0]: n for name, n in operations["cells"].items()
    }
    assert table["operations"].isna().sum() == 1
    assert (table["at_most_behind"] >= (table["mean"].max() - table["mean"]).round(6)).all()


def test_without_costs_nothing_is_called_cheap(texts):
    for text in texts:
        assert "computation" not in text
        assert "cheaper" not in text


def test_doubts_are_in_the_summary_and_one_image_per_group_is_not_discussed(tmp_path):
    study = write_study(tmp_path, make_tiles(), STORES[:2])
    doubt = "The intensity range of protein, [0, 50], does not fit the images."
    files = tmp_path / "compare", tmp_path / "summary.csv", tmp_path / "summary.md"
    looked = {"cells": LookedAt([doubt], one_image_per_group=True)}
    compare(study.scores, study.predictions, Comparison(bootstrap=200), *files, looked=looked)
    summary, details = files[2].read_text(), (tmp_path / "details.md").read_text()
    assert f"* `cells`: {doubt}" in summary
    assert doubt in details
    assert "Each group has one image" in summary
    assert "when split by image" not in summary + details
    assert "| image (optimistic) |" not in summary


@pytest.mark.parametrize(
    ("noise", "expected"),
    [
        (
            {"net": 0.3, "handcrafted": 1.0, "counts": 6.0},
            [
                "Hand-crafted features (`handcrafted`) reach",
                "Numbers of cells and quality of images alone (`counts`) reach",
            ],
        ),
        (
            {"net": 6.0, "handcrafted": 0.3, "counts": 6.0},
            [
                "The highest store is hand-crafted features: no network is shown to be better.",
                "Numbers of cells and quality of images alone (`counts`) reach",
            ],
        ),
        (
            {"net": 6.0, "handcrafted": 6.0, "counts": 0.3},
            [
                "Hand-crafted features (`handcrafted`) reach",
                "`counts`, knows but numbers of cells and quality of images",
            ],
        ),
    ],
)
def test_what_sees_no_pattern_is_a_baseline_of_its_own(tmp_path, noise, expected):
    channels = {"net": "map", "handcrafted": "features", "counts": "features"}
    stores = [(name, channels[name], value) for name, value in noise.items()]
    options = {"schemes": ["group"], "fractions": [1.0], "heads": [("logreg", 0)]}
    made = write_study(tmp_path, make_tiles(), stores, **options)
    for text in texts_of(tmp_path, made, nuisances=["counts"]):
        for sentence in expected:
            assert sentence in text
        told = next(line for line in text.splitlines() if "quality of images" in line)
        assert "is ahead by" in told or "no store is shown" in told
