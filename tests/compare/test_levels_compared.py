"""Comparison of levels: intervals from halves of the groups, as in the summary."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from transferscope.cards import DatasetCard
from transferscope.compare.levels import compare_levels, levels_of
from transferscope.compare.study import compare
from transferscope.compare.uncertainty import HALF_SHARE
from transferscope.config.jobs import AggregateProbe
from transferscope.config.paths import StudyPaths
from transferscope.config.probed import Probed
from transferscope.config.probes import (
    AggregateSettings,
    HeadSettings,
    KnnSettings,
    SplitSettings,
)
from transferscope.config.results import CompareSettings
from transferscope.probes.aggregation import LevelFiles, score_aggregates
from transferscope.probes.evaluation import ProbeData, write_halves, write_tables
from transferscope.probes.halves import half_divisions
from transferscope.probes.heads import run_heads
from transferscope.probes.knn import run_knn
from transferscope.probes.splits import make_splits
from transferscope.probes.variants import variants_of

CLASSES = ["er", "golgi", "nucleus"]
STORES = {"net": 2.0, "other": 3.0, "third": 4.0}
SPLITS = SplitSettings(folds={"group": 3, "image": 3}, seeds=[0], halves=3, fractions=[0.5, 1.0])
LEVELS = AggregateSettings(levels=["fov", "group"], methods=["mean"])
HEADS = HeadSettings(kinds=["logreg"])
KNN = KnnSettings(k=[3])
SETTINGS = CompareSettings(bootstrap=200)
PROBES = {
    "heads": lambda data, sink: run_heads(data, HEADS, sink=sink),
    "knn": lambda data, sink: run_knn(data, KNN, sink=sink),
}


def tile_table():
    fov = np.repeat(np.arange(24 * 2), 3)
    group = fov // 2
    return pd.DataFrame(
        {
            "tile_id": [f"t{i}" for i in range(len(fov))],
            "fov": [f"f{i:02}" for i in fov],
            "group": [f"g{i:02}" for i in group],
            "labels": [CLASSES[i % 3] for i in group],
        }
    )


def write_store(paths, name, noise):
    """Run heads, k-NN and levels on a store, as their steps do."""
    table = tile_table()
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(3, 8))[[CLASSES.index(label) for label in table["labels"]]]
    of_group = np.repeat(rng.normal(size=(24, 8)), 6, axis=0)
    own = np.random.default_rng(len(name)).normal(size=(len(table), 8))
    card = DatasetCard(name="d", sheet="s", channels=["x"], labels=CLASSES, task="multi-label")
    splits = make_splits(table, card, SPLITS)
    identity = {"dataset": "d", "backbone": name, "channels": "map"}
    embeddings = centres + of_group + noise * own

    def data(fractions):
        return ProbeData.of(embeddings, table, splits, fractions, ["macro_f1"], identity)

    whole = data(SPLITS.fractions)
    divisions = half_divisions(whole.tiles, SPLITS, [1.0], "d")
    place = ("d", name, "map")
    for probe, run in PROBES.items():
        write_halves(whole, divisions, paths.halves(probe, *place), run)
        files = paths.scores(probe, *place), paths.predictions(probe, *place)
        write_tables(whole, *files, lambda sink, run=run: run(whole, sink))
    job = AggregateProbe(
        fractions=[1.0], metrics=["macro_f1"], settings=LEVELS, splits=SPLITS, heads=HEADS, knn=KNN
    )
    variants = variants_of(LEVELS, with_fields=False)
    predictions = {v.name: paths.aggregate_predictions(v.name, *place) for v in variants}
    files = LevelFiles(paths.aggregate_scores(*place), predictions, paths.aggregate_halves(*place))
    score_aggregates(data([1.0]), divisions, None, job, files)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Three stores with their scores; the comparison, and that of the levels."""
    paths = StudyPaths(tmp_path_factory.mktemp("levels"))
    probed = [Probed("d", name, "map") for name in STORES]
    for name, noise in STORES.items():
        write_store(paths, name, noise)
    scores, predictions, halves = (
        [
            path_of(probe, p.dataset, p.representation, p.channels)
            for probe in PROBES
            for p in probed
        ]
        for path_of in (paths.scores, paths.predictions, paths.halves)
    )
    folder = paths.comparison("scores").parent
    compare(scores, predictions, SETTINGS, folder, paths.summary_csv, paths.summary_md, halves)
    compare_levels(levels_of(probed, LEVELS, paths), SETTINGS, folder)
    return paths


def test_single_tiles_have_the_same_intervals_in_both_tables(study):
    levels = pd.read_csv(study.comparison("aggregate").with_suffix(".csv"), keep_default_na=False)
    tiles = levels[levels["level"] == "tile"].drop(columns=["source", "level", "aggregation"])
    summary = pd.read_csv(study.summary_csv, keep_default_na=False)
    summary = summary[(summary["metric"] == "macro_f1") & (summary["fraction"] == 1)]
    keys = ["dataset", "backbone", "channels", "head", "k", "scheme"]
    columns = [*keys, "mean", "ci_low", "ci_high", "n_groups"]
    own, other = (
        table[columns].sort_values(keys, ignore_index=True)
        for table in (tiles, summary.astype(tiles[columns].dtypes))
    )
    assert len(own) == len(STORES) * 3 * 2
    pd.testing.assert_frame_equal(own, other)


def test_the_interval_of_a_level_is_that_of_its_own_halves(study):
    """Recomputed from the tables: one factor for all stores at a level."""
    halves = pd.concat(
        [pd.read_parquet(study.aggregate_halves("d", name, "map")) for name in STORES]
    )
    chosen = {"head": "logreg", "scheme": "group", "level": "fov"}
    found, bare, in_halves = (
        table[(table[list(chosen)] == list(chosen.values())).all(axis=1)]
        for table in (
            pd.read_parquet(study.comparison("aggregate")),
            compare_without_halves(study),
            halves,
        )
    )
    # Downwards: upwards an interval may end at 1.
    reach, bare_reach = ((t["mean"] - t["ci_low"]).to_numpy() for t in (found, bare))
    bootstrapped = (bare_reach / stats.t.ppf(0.975, 23)) ** 2 / 3
    wide = in_halves.pivot_table(values="value", index="backbone", columns="half")
    squares = (wide[[0, 2, 4]].to_numpy() - wide[[1, 3, 5]].to_numpy()) ** 2
    ratio = (HALF_SHARE * squares.mean(axis=1)).sum() / bootstrapped.sum()
    weight = 3 * (1 + 0.4 * (len(STORES) - 1))
    factor = (8 * 2.5 + weight * ratio) / (8 + weight)
    df = 1 / (1 / (8 + weight) + 1 / 23)
    expected = stats.t.ppf(0.975, df) * np.sqrt(factor * bootstrapped)
    np.testing.assert_allclose(reach, expected, rtol=1e-4)
    assert not np.allclose(reach, bare_reach, rtol=0.01)


def compare_without_halves(study):
    """Return the table of levels as it is where nothing was trained in halves."""
    probed = [Probed("d", name, "map") for name in STORES]
    known = levels_of(probed, LEVELS, study)
    bare = [type(each)(each.dataset, each.store, each.paths) for each in known]
    folder = study.root / "bare"
    compare_levels(bare, SETTINGS, folder)
    return pd.read_parquet(folder / "aggregate.parquet")


def test_differences_of_levels_share_a_factor_per_two_levels(study):
    own = pd.read_parquet(study.comparison("aggregate_differences"))
    compare_without_halves(study)
    bare = pd.read_parquet(study.root / "bare/aggregate_differences.parquet")
    keys = ["kind", "backbone", "head", "k", "scheme", "first_level", "second_level"]
    both = own.merge(bare, on=keys, suffixes=("", "_bare"), validate="one_to_one")
    assert len(both) == len(own) == len(bare)
    np.testing.assert_allclose(both["difference"], both["difference_bare"])
    factors = 3 * (both["standard_error"] / both["standard_error_bare"]) ** 2
    grouped = factors.groupby([both["head"], both["scheme"], both["first_level"]])
    assert (grouped.max() / grouped.min() - 1 < 1e-3).all()
    assert grouped.mean().nunique() > 1
    weight = 3 * (1 + 0.4 * (len(STORES) - 1))
    np.testing.assert_allclose(both["df"], 1 / (1 / (8 + weight) + 1 / 23), rtol=1e-5)
    assert (both["df_bare"] == 23).all()


def test_a_level_without_halves_has_the_larger_errors(study, tmp_path):
    """Tables of one level without halves: the others keep theirs."""
    probed = [Probed("d", name, "map") for name in STORES]
    known = []
    for each in levels_of(probed, LEVELS, study):
        table = pd.read_parquet(each.halves[0])
        path = tmp_path / f"{each.store.backbone}.halves.parquet"
        table[table["level"] != "group"].to_parquet(path)
        known.append(type(each)(each.dataset, each.store, each.paths, [path]))
    compare_levels(known, SETTINGS, tmp_path)
    found = pd.read_parquet(tmp_path / "aggregate.parquet")
    whole = pd.read_parquet(study.comparison("aggregate"))
    bare = compare_without_halves(study)
    of_group = found["level"] == "group"
    pd.testing.assert_frame_equal(found[of_group], bare[bare["level"] == "group"])
    pd.testing.assert_frame_equal(found[~of_group], whole[whole["level"] != "group"])
    gaps = pd.read_parquet(tmp_path / "aggregate_differences.parquet")
    assert np.isfinite(gaps["standard_error"]).all()
