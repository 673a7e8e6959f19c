"""What is said of the number format of the stores."""

from pathlib import Path

import pandas as pd
import pytest

from comparison_data import make_tiles, write_study
from transferscope.compare.number_format import (
    COLUMNS,
    ON_SCORES,
    number_format_notes,
    read_number_formats,
)
from transferscope.compare.study import compare
from transferscope.config.results import CompareSettings
from transferscope.stores.parquet import read_parquet, write_parquet

FORMAT = {"precision": "bf16", "dtype": "float16", "n_tiles": 256, "overlap": 0.98}


def say(path: Path, same: int, **changes: object) -> None:
    """Add to a score table what its store says."""
    table = read_parquet(path)
    write_parquet(table, path, {"number_format": {**FORMAT, "same_nearest": same, **changes}})


@pytest.fixture
def study(tmp_path: Path):
    stores = [("net", "map", 1.0), ("net", "map-random-0", 1.0), ("net", "map-random-1", 1.0)]
    stores.append(("plain", "map", 1.0))
    return write_study(tmp_path, make_tiles(), stores, schemes=("group",), fractions=(1.0,))


def test_each_store_has_one_row_and_orders_the_worst(study):
    for path, same in zip(study.scores[:3], (250, 244, 248), strict=True):
        say(path, same)
    found = read_number_formats(study.scores)
    assert found.columns.tolist() == COLUMNS
    assert found[["backbone", "channels", "same_nearest"]].to_numpy().tolist() == [
        ["net", "map", 250],
        ["net", "map-random", 244],
    ]


def rows_of(*stores: tuple[str, int, int]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                **FORMAT,
                "dataset": "cells",
                "backbone": name,
                "channels": "map",
                "n_tiles": n_tiles,
                "same_nearest": same,
            }
            for name, n_tiles, same in stores
        ]
    )


@pytest.mark.parametrize(
    ("stores", "expected"),
    [
        (
            [("a", 256, 250), ("b", 256, 248), ("c", 256, 256)],
            "in bf16, stored as float16, 8 of 256 tiles (3.1 %) have another nearest neighbour "
            "among these than in fp32, in `b / map`, the most of 3 stores.",
        ),
        (
            [("a", 40, 39)],
            "in bf16, stored as float16, 1 of 40 tiles (2.5 %) has another nearest neighbour "
            "among these than in fp32, in `a / map`.",
        ),
        (
            [("a", 256, 256), ("b", 256, 256)],
            "in bf16, stored as float16, all 256 tiles of a sample have the nearest neighbour "
            "among these that they have in fp32, in each of 2 stores.",
        ),
    ],
)
def test_the_sentence_names_the_store_whose_neighbours_change_most(stores, expected):
    changed = [ON_SCORES] * (" another nearest " in expected)
    assert number_format_notes(rows_of(*stores)) == [f"`cells`: {expected}", *changed]


def test_the_summary_says_it_of_reduced_precision_alone(study, tmp_path):
    files = tmp_path / "compare", tmp_path / "summary.csv", tmp_path / "summary.md"
    settings = CompareSettings(bootstrap=100)
    compare(study.scores, study.predictions, settings, *files)
    details = tmp_path / "details.md"
    assert "number format" not in details.read_text()
    assert read_parquet(tmp_path / "compare/number_format.parquet").empty
    say(study.scores[0], 240)
    compare(study.scores, study.predictions, settings, *files)
    text = details.read_text()
    assert "## What the number format does" in text
    assert "16 of 256 tiles (6.2 %) have another nearest neighbour" in text
    table = read_parquet(tmp_path / "compare/number_format.parquet")
    assert table["same_nearest"].tolist() == [240]
