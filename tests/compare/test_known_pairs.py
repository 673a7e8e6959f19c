"""The sentences on known pairs say what the tables of `relate` hold."""

import numpy as np
import pandas as pd
import pytest

from transferscope.compare.known_pairs import KnownPairTables, known_pairs, known_pairs_in_short
from transferscope.config.relations import RelationSettings
from transferscope.relations.entities import Entities
from transferscope.relations.pairs import known_pairs as pairs_among
from transferscope.relations.recall import recall

NAMES = [f"g{n:02d}" for n in range(60)]
PAIRS = [(a, b) for n in range(0, 60, 3) for a, b in ((n, n + 1), (n, n + 2), (n + 1, n + 2))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with the recall of a good and a poor map, with and without a correction."""
    rng = np.random.default_rng(0)
    signal = np.repeat(rng.normal(size=(20, 16)), 3, axis=0)

    def noisy(size):
        vectors = signal + size * rng.normal(size=signal.shape)
        return Entities(NAMES, vectors.astype(np.float32), None)

    maps = {
        ("poor", "none"): noisy(6),
        ("poor", "tvn"): noisy(3),
        ("good", "none"): noisy(1),
        ("good", "tvn"): noisy(0.8),
        ("random", "none"): noisy(100),
    }
    first, second = (np.array([NAMES[pair[side]] for pair in PAIRS]) for side in (0, 1))
    sources = [pairs_among(name, first, second, NAMES) for name in ("a", "NA", "c", "d")]
    tables = recall(maps, sources, RelationSettings(permutations=50, draws=200))
    made = tmp_path_factory.mktemp("relations")
    for name, table in zip(("recall", "differences"), tables, strict=True):
        table.to_csv(made / f"{name}.csv", index=False)
    return made


def test_the_highest_map_is_named_with_chance_and_references(folder):
    tables = KnownPairTables.read(folder)
    first, *_, last = known_pairs_in_short(tables)
    best = tables.recall.query("map == 'good' and correction == 'tvn' and source == 'a'").iloc[0]
    assert f"recall is {best['value']:.3f} ({best['low']:.3f} to {best['high']:.3f})" in first
    assert "with `good` corrected by `tvn`, the highest of 4 maps; chance is " in first
    assert "60 known pairs" in first
    assert ", random 0." in first
    assert last == "1 more source: see `details.md`."


def test_the_details_compare_maps_and_corrections_with_the_first(folder):
    text = "\n".join(known_pairs(KnownPairTables.read(folder)))
    assert "of 1 other map, 1 recall more than `poor`, and 0 less, each tested alone" in text
    gained = pd.read_csv(folder / "differences.csv").query(
        "map == 'poor' and correction == 'tvn' and source == 'd' and threshold == 0.05"
    )
    value = gained.query("measure == 'recall, two-sided'")["difference"].item()
    assert f"correction by `tvn` changes the recall of `poor` by +{value:.3f} (" in text


def test_maps_that_were_not_scored_are_said(tmp_path):
    few = {("one", "none"): Entities(NAMES[:4], np.eye(4, dtype=np.float32), None)}
    source = pairs_among("a", np.array(["g00"]), np.array(["g01"]), NAMES[:4])
    for name, table in zip(
        ("recall", "differences"), recall(few, [source], RelationSettings()), strict=True
    ):
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    tables = KnownPairTables.read(tmp_path)
    assert list(known_pairs_in_short(tables)) == []
    assert list(known_pairs(tables)) == ["No map was scored: `recall.csv` says why."]
