"""Stores that are corrected for batches are compared with the same stores without."""

import pandas as pd
import pytest

from comparison_data import make_tiles, write_study
from transferscope.compare.study import compare
from transferscope.config.results import CompareSettings

STORES = [
    ("dino", "map", 2.5),
    ("dino+tvn", "map", 0.8),
    ("dino+center", "map", 2.6),
    ("vit@cls", "map", 2.4),
    ("vit@cls+tvn", "map", 2.0),
    # Nothing to compare it with.
    ("vit@cls+tvn", "map-random", 1.0),
]


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    study = write_study(folder, make_tiles(), STORES)
    files = folder / "compare", folder / "summary.csv", folder / "summary.md"
    compare(study.scores, study.predictions, CompareSettings(bootstrap=200), *files)
    return folder


def test_each_corrected_store_is_compared_with_its_own(compared):
    table = pd.read_parquet(compared / "compare/differences.parquet")
    found = table.query("kind == 'correction' and head == 'logreg' and scheme == 'group'")
    assert set(zip(found["first_backbone"], found["second_backbone"], strict=True)) == {
        ("dino+center", "dino"),
        ("dino+tvn", "dino"),
        ("vit@cls+tvn", "vit@cls"),
    }
    # They are of the family of all pairs.
    pairs = table.query("kind == 'stores' and head == 'logreg' and scheme == 'group'")
    assert found["n_comparisons"].unique().tolist() == [len(pairs)]
    better = found.set_index("first_backbone")["difference"]
    assert better["dino+tvn"] > 0


def test_the_texts_say_what_correction_gains_and_what_it_saw(compared):
    summary = (compared / "summary.md").read_text()
    assert "Correction for batches by `+center` minus none, of `dino`: " in summary
    assert "Correction for batches by `+tvn` minus none, over 2 stores: " in summary
    details = (compared / "details.md").read_text()
    assert "Corrected stores (`+center`, `+tvn`) saw the batch of every tile" in details
    assert "no label" in details
