import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from scipy import stats
from sklearn.metrics import confusion_matrix, f1_score

from comparison_data import embed, make_tiles, write_store, write_study
from transferscope.cards import DatasetCard
from transferscope.compare.bootstrap import draw_weights
from transferscope.compare.study import compare
from transferscope.compare.tables import read_summary
from transferscope.config.jobs import Comparison
from transferscope.config.probes import HeadSettings, KnnSettings, SplitSettings
from transferscope.config.results import CompareSettings
from transferscope.errors import UserError
from transferscope.probes.evaluation import ProbeData, write_tables
from transferscope.probes.heads import run_heads
from transferscope.probes.knn import run_knn
from transferscope.probes.splits import make_splits

SETTINGS = CompareSettings(bootstrap=200)
STORES = [
    ("dino", "map", 0.8),
    ("dino", "map-random", 2.5),
    ("vit@cls", "map", 1.1),
    ("vit@cls", "map-random", 2.0),
    ("handcrafted", "features", 2.5),
]


def run(study, folder: Path, settings=SETTINGS, scores=None, predictions=None):
    compare(
        study.scores if scores is None else scores,
        study.predictions if predictions is None else predictions,
        settings,
        folder / "compare",
        folder / "summary.csv",
        folder / "summary.md",
    )
    return folder


def table(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(folder / "compare" / f"{name}.parquet")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("study"), make_tiles(), STORES)


@pytest.fixture(scope="module")
def compared(study):
    return run(study, study.folder)


def text_of(tmp_path: Path, stores, tiles=None, **options) -> str:
    small = write_study(tmp_path, tiles or make_tiles(n_groups=24), stores, **options)
    return (run(small, tmp_path) / "details.md").read_text()


def test_summary_pools_the_folds_of_a_repeat(study, compared):
    summary = read_summary(compared / "summary.csv")
    row = summary.query(
        "backbone == 'dino' and channels == 'map' and head == 'knn' and k == 3 and "
        "scheme == 'image' and fraction == 0.5 and metric == 'macro_f1'"
    )
    assert len(row) == 1
    scores = pd.read_parquet(study.scores[0]).query(
        "head == 'knn' and scheme == 'image' and fraction == 0.5 and metric == 'macro_f1'"
    )
    rows = pd.read_parquet(study.predictions[0]).query(
        "head == 'knn' and k == 3 and scheme == 'image' and fraction == 0.5"
    )
    assert row["mean"].item() == pytest.approx(_pooled_f1(rows), abs=1e-6)
    assert row["std"].item() == pytest.approx(scores["value"].std(), abs=1e-6)
    assert row["n_scores"].item() == 3
    assert row["n_groups"].item() == 40
    assert row["n_train_groups"].item() == pytest.approx(scores["n_train_groups"].mean())
    assert (summary["ci_low"] <= summary["mean"] + 1e-6).all()
    assert (summary["ci_high"] >= summary["mean"] - 1e-6).all()


def test_interval_equals_that_of_resampled_rows(study, compared):
    """The whole chain against scikit-learn on rows drawn one group after the other."""
    rows = pd.read_parquet(study.predictions[2]).query(
        "head == 'logreg' and scheme == 'group' and fraction == 1.0"
    )
    names = sorted(rows["group"].unique())
    values = []
    for weights in draw_weights(len(names), SETTINGS.bootstrap, SETTINGS.seed, "cells"):
        times = rows["group"].map(dict(zip(names, weights, strict=True))).astype(int)
        drawn = rows.loc[rows.index.repeat(times)]
        values.append(_pooled_f1(drawn))
    point, draws = values[0], np.array(values[1:])
    # Nothing was trained in halves: the variance is three times that of the draws.
    reach = stats.t.ppf(0.975, len(names) - 1) * np.sqrt(3) * draws.std(ddof=1)
    low, high = point - reach, point + reach
    row = read_summary(compared / "summary.csv").query(
        "backbone == 'vit@cls' and channels == 'map' and head == 'logreg' and scheme == 'group' "
        "and fraction == 1.0 and metric == 'macro_f1'"
    )
    assert row["mean"].item() == pytest.approx(point, abs=1e-6)
    assert row["ci_low"].item() == pytest.approx(low, abs=1e-6)
    assert row["ci_high"].item() == pytest.approx(min(high, 1), abs=1e-6)


def _pooled_f1(rows: pd.DataFrame) -> float:
    """Return the mean over repeats of macro F1 on the tiles of all folds."""
    return float(np.mean([_macro_f1(repeat) for _, repeat in rows.groupby("seed")]))


def _macro_f1(rows: pd.DataFrame) -> float:
    true = rows.filter(regex="true_").to_numpy()
    predicted = rows.filter(regex="predicted_").to_numpy()
    seen = (true | predicted).any(axis=0)
    return f1_score(true[:, seen], predicted[:, seen], average="macro", zero_division=0.0)


def test_equal_runs_give_equal_bytes(study, compared, tmp_path):
    run(study, tmp_path, scores=study.scores[::-1], predictions=study.predictions[::-1])
    for name in (
        "summary.csv",
        "summary.md",
        "details.md",
        "compare/scores.parquet",
        "compare/differences.csv",
    ):
        assert (tmp_path / name).read_bytes() == (compared / name).read_bytes()


def test_differences_are_paired(compared):
    found = table(compared, "differences").query("head == 'logreg' and scheme == 'group'")
    assert set(found["kind"]) == {"stores", "handcrafted", "floor", "strategy"}
    assert (found.query("kind == 'stores'")["difference"] >= 0).all()
    row = found.query(
        "kind == 'strategy' and first_backbone == 'dino' and second_channels == 'map-random'"
    ).iloc[0]
    summary = read_summary(compared / "summary.csv").query(
        "head == 'logreg' and scheme == 'group' and fraction == 1 and metric == 'macro_f1'"
    )
    means = summary.set_index(["backbone", "channels"])["mean"]
    expected = means["dino", "map"] - means["dino", "map-random"]
    assert row["difference"] == pytest.approx(expected, abs=2e-6)
    assert row["ci_low"] < row["difference"] < row["ci_high"]
    width = summary["ci_high"] - summary["ci_low"]
    assert row["ci_high"] - row["ci_low"] < 1.4 * width.max()
    assert row["verdict"] == "better"
    assert row["folds_won"] == row["n_folds"] == 3
    pairs = found.query("kind == 'stores'")
    assert len(pairs) == 10
    assert (pairs["p_adjusted"] >= pairs["p_value"]).all()
    assert (pairs["n_comparisons"] == 10).all()
    # A pair of stores has one verdict, whatever the question.
    assert (
        row["p_adjusted"]
        == pairs.query("first_backbone == 'dino' and second_backbone == 'dino'")[
            "p_adjusted"
        ].item()
    )


def test_a_store_does_not_differ_from_its_copy(tmp_path):
    tiles = make_tiles(n_groups=24)
    copies = [("ab", "map", 1.0), ("ba", "map", 1.0)]  # the same letters, hence the same noise
    study = write_study(tmp_path, tiles, copies, schemes=["group"], fractions=[1.0])
    row = table(run(study, tmp_path), "differences").query("kind == 'stores' and head == 'logreg'")
    assert row["difference"].item() == 0
    assert row["p_value"].item() == 1
    assert row["folds_won"].item() == 1.5
    assert row["verdict"].item() == "equal"
    text = (tmp_path / "details.md").read_text()
    assert "practically equal (shown to differ by less than 0.02)" in text
    assert "Each of the 2 stores may be the best: none is ruled out" in text


def test_split_gap_is_image_minus_group(compared):
    gaps = table(compared, "differences").query("kind == 'scheme' and head == 'logreg'")
    summary = read_summary(compared / "summary.csv").query(
        "head == 'logreg' and fraction == 1 and metric == 'macro_f1'"
    )
    means = summary.set_index(["backbone", "channels", "scheme"])["mean"]
    assert len(gaps) == len(STORES)
    for row in gaps.itertuples():
        expected = (
            means[row.first_backbone, row.first_channels, "image"]
            - means[row.first_backbone, row.first_channels, "group"]
        )
        assert row.difference == pytest.approx(expected, abs=2e-6)


def test_confusion_of_a_multi_label_task(study, compared):
    found = table(compared, "confusion").query("scheme == 'group'")
    best = table(compared, "chosen").query("scheme == 'group'").iloc[0]
    assert (best["backbone"], best["channels"], best["head"]) == ("dino", "map", "logreg")
    rows = pd.read_parquet(study.predictions[0]).query(
        "head == 'logreg' and scheme == 'group' and fraction == 1"
    )
    true, predicted = (rows.filter(regex=f"{kind}_").to_numpy() for kind in ("true", "predicted"))
    matrix = found["share"].to_numpy().reshape(4, 4)
    expected = (true.T.astype(float) @ predicted) / true.sum(axis=0)[:, None]
    np.testing.assert_allclose(matrix, expected, atol=1e-6)
    also_true = (true.T.astype(float) @ true) / true.sum(axis=0)[:, None]
    np.testing.assert_allclose(found["share_true"].to_numpy().reshape(4, 4), also_true, atol=1e-6)
    assert (found["ci_low"] <= found["share"]).all()


def test_confusion_of_a_single_label_task(tmp_path):
    tiles = make_tiles(task="single-label", n_groups=24)
    study = write_study(tmp_path, tiles, [("dino", "map", 1.5)], fractions=[1.0])
    found = table(run(study, tmp_path), "confusion").query("scheme == 'image'")
    head = found["head"].iloc[0]
    rows = pd.read_parquet(study.predictions[0]).query("scheme == 'image'")
    rows = rows[rows["head"] == head]
    true, predicted = (rows.filter(regex=f"{kind}_").to_numpy() for kind in ("true", "predicted"))
    expected = confusion_matrix(true.argmax(axis=1), predicted.argmax(axis=1))
    np.testing.assert_array_equal(found["count"].to_numpy().reshape(4, 4), expected)


def test_class_table_counts_tiles_once_a_repeat(tmp_path):
    tiles = make_tiles(n_groups=24)
    options = {"seeds": [0, 1], "fractions": [1.0], "schemes": ["group"]}
    study = write_study(tmp_path, tiles, [("dino", "map", 1.0)], **options)
    rows = table(run(study, tmp_path), "per_class").query("head == 'logreg'")
    np.testing.assert_array_equal(rows["n_positive"], tiles.true.sum(axis=0))
    holds = [len(np.unique(tiles.group[tiles.true[:, j]])) for j in range(4)]
    np.testing.assert_array_equal(rows["n_positive_groups"], holds)
    summary = read_summary(tmp_path / "summary.csv")
    assert (summary.query("metric == 'macro_f1'")["n_scores"] == 6).all()


def test_sentences_name_the_winner(compared):
    text = (compared / "details.md").read_text()
    assert "The highest of 5 stores is **`dino / map`**" in text
    assert "may be the best" in text
    assert (
        "Natural mapping against placing channels at random (`map-random`), over 2 backbones"
        in text
    )
    assert "Hand-crafted features (`handcrafted`) reach" in text
    assert "groups), " not in text
    assert "nan" not in text


def test_sentences_of_a_single_store(tmp_path):
    options = {"heads": [("logreg", 0)], "schemes": ["group"], "fractions": [1.0]}
    text = text_of(tmp_path, [("dino", "replicate", 1.0)], **options)
    assert "The only store, **`dino / replicate`**" in text
    assert "on 1 store" in text
    assert "runner-up" not in text
    assert "Hand-crafted features were not run" in text
    assert "The floor was not computed." in text
    assert "Natural mapping was not run" in text
    assert "One fraction was run" in text
    assert "What the split is worth" not in text


def test_sentences_of_knn_only(tmp_path):
    options = {"heads": [("knn", 1), ("knn", 3)], "schemes": ["image"]}
    text = text_of(tmp_path, [("dino", "map", 0.5), ("vit", "map", 2.0)], **options)
    assert "k-NN (k = " in text
    assert "### Split by image" in text
    assert "### Split by group" not in text


def test_sentences_where_only_the_floor_was_run(tmp_path):
    text = text_of(tmp_path, [("dino", "map", 1.0)], heads=[("floor", 0)])
    assert "Only the floor was run here" in text


def test_sentences_where_hand_crafted_features_win(tmp_path):
    stores = [("dino", "map", 5.0), ("handcrafted", "features", 0.1)]
    text = text_of(tmp_path, stores, fractions=[1.0])
    assert "The highest store is hand-crafted features" in text


def test_warnings(tmp_path):
    tiles = make_tiles(n_groups=12, task="single-label")
    tiles.signal[:] = tiles.true @ np.eye(4, 6) * 9
    text = text_of(tmp_path, [("dino", "map", 0.01)], tiles)
    assert "suspiciously high" in text
    assert "4 classes of 4 have fewer than 5 groups per test fold" in text
    assert "The splits were made once" in text


def test_a_class_that_is_never_predicted_is_named(tmp_path):
    tiles = make_tiles(n_groups=24, classes=["a|b", "c", "rare`s"])
    tiles.true[:, 2] = False
    tiles.true[0, 2] = True
    text = text_of(tmp_path, [("dino", "map", 4.0)], tiles, heads=[("logreg", 0)])
    assert "never predicts ``rare`s``" in text


def test_without_predictions_there_are_scores_but_no_intervals(study, tmp_path):
    run(study, tmp_path, predictions=[])
    summary = read_summary(tmp_path / "summary.csv")
    assert summary["ci_low"].isna().all()
    assert "no interval: there are no predictions" in (tmp_path / "details.md").read_text()


def test_odd_class_names_survive_the_csv(tmp_path):
    tiles = make_tiles(n_groups=24, classes=["NA", "", "null", "a,b"])
    study = write_study(tmp_path, tiles, [("dino", "map", 1.0)], fractions=[1.0])
    summary = read_summary(run(study, tmp_path) / "summary.csv")
    rows = summary.query("metric == 'class_f1' and head == 'logreg' and scheme == 'group'")
    assert set(rows["class"]) == {"NA", "", "null", "a,b"}


def test_problems_are_reported_together(study, tmp_path):
    table = pd.read_parquet(study.scores[0]).drop(columns="value")
    table.to_parquet(tmp_path / "bad.parquet")
    (tmp_path / "worse.parquet").write_bytes(b"no parquet")
    with pytest.raises(UserError, match="lacks the columns value") as caught:
        run(study, tmp_path, scores=[tmp_path / "bad.parquet", tmp_path / "worse.parquet"])
    assert len(caught.value.problems) == 2
    with pytest.raises(UserError, match="no score table is given"):
        run(study, tmp_path, scores=[], predictions=[])
    with pytest.raises(UserError, match="not among those to compare"):
        run(study, tmp_path, scores=study.scores[:1])
    with pytest.raises(UserError, match="one value per class"):
        run(study, tmp_path, settings=CompareSettings(metric="class_f1"))


def test_two_different_scores_of_one_thing_are_refused(study, tmp_path):
    table = pd.read_parquet(study.scores[0])
    table["value"] += 0.1
    table.to_parquet(tmp_path / "other.parquet")
    with pytest.raises(UserError, match="given twice: dataset cells, backbone dino"):
        run(study, tmp_path, scores=[*study.scores, tmp_path / "other.parquet"])


def test_damaged_predictions_are_named(study, tmp_path):
    scores, predictions = write_store(tmp_path, make_tiles(n_groups=24), "dino", "map", 1.0)
    bare = pq.read_table(predictions).replace_schema_metadata(None)
    pq.write_table(bare, predictions)
    with pytest.raises(UserError, match="is no prediction table"):
        compare([scores], [predictions], SETTINGS, tmp_path, tmp_path / "s.csv", tmp_path / "s.md")


def probe_data(tiles) -> ProbeData:
    """Return a dataset as the probes read it, with real splits."""
    ids = [f"t{i}" for i in range(len(tiles.group))]
    labels = [";".join(np.array(tiles.classes)[row]) for row in tiles.true]
    table = pd.DataFrame({"tile_id": ids, "group": tiles.group, "labels": labels, "fov": ids})
    card = DatasetCard(name="cells", sheet="s.tsv", channels=["nucleus"], labels=tiles.classes)
    splits = make_splits(table, card, SplitSettings(folds={"group": 3, "image": 3}, seeds=[0]))
    metrics = ["macro_f1", "micro_f1", "class_f1", "macro_average_precision", "accuracy"]
    identity = {"dataset": "cells", "backbone": "dino", "channels": "map"}
    x = embed(tiles, 1.0, 0).astype(np.float32)
    return ProbeData.of(x, table, splits, [0.5, 1.0], metrics, identity)


def test_tables_of_the_probes_are_understood(tmp_path, caplog):
    """What the probes really write agrees with what follows from their predictions."""
    data = probe_data(make_tiles())
    scores = [tmp_path / probe / "map.parquet" for probe in ("heads", "knn")]
    predictions = [path.with_name("map.predictions.parquet") for path in scores]
    heads, knn = HeadSettings(kinds=["linear"], epochs=2), KnnSettings(k=[1, 5])
    write_tables(data, scores[0], predictions[0], lambda s: run_heads(data, heads, sink=s))
    write_tables(data, scores[1], predictions[1], lambda s: run_knn(data, knn, s))
    with caplog.at_level(logging.WARNING, logger="transferscope.compare"):
        compare(scores, predictions, SETTINGS, tmp_path, tmp_path / "s.csv", tmp_path / "s.md")
    assert not [r for r in caplog.records if r.name.startswith("transferscope.compare")]
    summary = read_summary(tmp_path / "s.csv")
    assert set(summary["head"]) == {"floor", "linear", "knn"}
    assert summary.query("metric == 'macro_f1'")["ci_low"].notna().all()
    assert "The floor, which uses only the training labels" in (tmp_path / "details.md").read_text()


ORDERS = ["map-random-0", "map-random-3", "map-random-7"]


@pytest.fixture(scope="module")
def with_orders(tmp_path_factory):
    stores = [("dino", "map", 0.8), *(("dino", order, 1.0 + i) for i, order in enumerate(ORDERS))]
    made = write_study(tmp_path_factory.mktemp("orders"), make_tiles(), stores)
    return made, run(made, made.folder)


def _of_all_stores(study) -> list[float]:
    at = "head == 'logreg' and scheme == 'group' and fraction == 1.0"
    return [_pooled_f1(pd.read_parquet(path).query(at)) for path in study.predictions]


def test_random_orders_are_repeats_of_one_store(with_orders):
    study, folder = with_orders
    summary = read_summary(folder / "summary.csv")
    assert set(summary["channels"]) == {"map", "map-random"}
    at = "head == 'logreg' and scheme == 'group' and fraction == 1.0 and metric == 'macro_f1'"
    row = summary.query(f"channels == 'map-random' and {at}")
    scores = pd.concat([pd.read_parquet(path).query(at) for path in study.scores[1:]])
    assert row["mean"].item() == pytest.approx(np.mean(_of_all_stores(study)[1:]), abs=1e-6)
    assert row["n_scores"].item() == len(scores) == 9
    kept = set(table(folder, "scores")["channels"])
    assert kept == {"map", *ORDERS}


def test_the_interval_of_random_orders_holds_groups_and_orders(with_orders):
    """The whole chain against scikit-learn: groups and orders are drawn one after the other."""
    study, folder = with_orders
    at = "head == 'logreg' and scheme == 'group' and fraction == 1.0"
    tables = [pd.read_parquet(path).query(at) for path in study.predictions[1:]]
    names = sorted(tables[0]["group"].unique())
    draws = draw_weights(len(names), SETTINGS.bootstrap, SETTINGS.seed, "cells")
    orders = draw_weights(len(tables), SETTINGS.bootstrap, SETTINGS.seed, "map-random")
    values = []
    for weights, times in zip(draws, orders, strict=True):
        of_orders = []
        for rows in tables:
            often = rows["group"].map(dict(zip(names, weights, strict=True))).astype(int)
            drawn = rows.loc[rows.index.repeat(often)]
            of_orders.append(_pooled_f1(drawn))
        values.append(np.average(of_orders, weights=times))
    point, drawn = values[0], np.array(values[1:])
    reach = stats.t.ppf(0.975, len(names) - 1) * np.sqrt(3) * drawn.std(ddof=1)
    low, high = point - reach, point + reach
    row = read_summary(folder / "summary.csv").query(
        f"channels == 'map-random' and metric == 'macro_f1' and {at}"
    )
    assert row["mean"].item() == pytest.approx(point, abs=1e-6)
    assert row["ci_low"].item() == pytest.approx(low, abs=1e-6)
    assert row["ci_high"].item() == pytest.approx(min(high, 1), abs=1e-6)


def test_natural_mapping_is_compared_with_the_average_order(with_orders):
    study, folder = with_orders
    row = table(folder, "differences").query(
        "kind == 'strategy' and head == 'logreg' and scheme == 'group'"
    )
    assert row["second_channels"].tolist() == ["map-random"]
    means = _of_all_stores(study)
    assert row["difference"].item() == pytest.approx(means[0] - np.mean(means[1:]), abs=1e-6)
    assert row["n_folds"].item() == 3
    text = (folder / "details.md").read_text()
    assert "placing channels at random (`map-random`)" in text
    assert "stands for all random orders" in text
    assert "map-random-3" not in text


def test_tiles_of_random_orders_are_counted_once(with_orders):
    counts = table(with_orders[1], "per_class").query("head == 'logreg' and scheme == 'group'")
    per_store = counts.groupby("channels")["n_positive"].apply(list)
    assert per_store["map"] == per_store["map-random"]


def test_the_confusion_of_random_orders_is_over_all_of_them(tmp_path):
    stores = [("dino", order, 0.5) for order in ORDERS[:2]]
    small = write_study(tmp_path, make_tiles(n_groups=24), stores)
    confusion = table(run(small, tmp_path), "confusion").query("scheme == 'group'")
    tiles = confusion.groupby("true_class")["n_true"].first()
    one = pd.read_parquet(small.predictions[0]).query(
        "head == 'logreg' and scheme == 'group' and fraction == 1.0"
    )
    assert tiles.sum() == 2 * one.filter(regex="true_").to_numpy().sum()


def test_networks_with_random_weights_are_no_evidence_on_channels(study, tmp_path):
    """Of two backbones one is a control: what is said of natural mapping is of the other."""
    text = {}
    for controls in ([], ["dino"], ["dino", "vit@cls"]):
        settings = Comparison(**SETTINGS.model_dump(), controls=controls)
        run(study, tmp_path, settings)
        text[len(controls)] = (tmp_path / "details.md").read_text()
    assert "over 2 backbones" in text[0]
    assert (
        "Natural mapping minus placing channels at random (`map-random`), for `vit@cls`" in text[1]
    )
    assert "for `dino`" not in text[1]
    assert "networks with random weights only: controls" in text[2]


def test_a_study_of_two_datasets_is_summed_up(tmp_path):
    first, second = make_tiles("cells"), make_tiles("fields", n_groups=48)
    stores = [("dino", "map", 0.3), ("vit", "map", 4.0)]
    parts = [write_study(tmp_path, tiles, stores, fractions=[1.0]) for tiles in (first, second)]
    scores = [path for part in parts for path in part.scores]
    predictions = [path for part in parts for path in part.predictions]
    run(parts[0], tmp_path, scores=scores, predictions=predictions)
    across = pd.read_csv(tmp_path / "compare" / "across_datasets.csv")
    assert (across["n_datasets"] == 2).all()
    assert (across["first_backbone"] == "dino").all()
    text = (tmp_path / "details.md").read_text()
    assert "## Over all datasets" in text
    assert "that 2 datasets have, the interval of the mean difference is above zero" in text


def test_a_store_tested_on_one_fold_is_compared_on_that_fold_and_not_the_highest(tmp_path):
    """A backbone of the study that saw the other folds: its score is of an easier fold."""
    tiles = make_tiles(n_groups=48)
    made = write_study(tmp_path, tiles, [("dino", "map", 1.0), ("own", "map", 0.1)])
    for path in (made.scores[1], made.predictions[1]):
        whole = pq.read_table(path)
        pq.write_table(whole.filter(pc.equal(whole["fold"], 0)), path)
    run(made, tmp_path)
    gaps = table(tmp_path, "differences").query("kind == 'stores' and head == 'logreg'")
    np.testing.assert_allclose(
        gaps["first_mean"] - gaps["second_mean"], gaps["difference"], atol=2e-6
    )
    assert (gaps["difference"] >= 0).all()
    assert (gaps["n_folds"] == 1).all()
    summary = read_summary(tmp_path / "summary.csv").query("metric == 'macro_f1'")
    assert set(summary.query("backbone == 'own'")["n_folds"]) == {1}
    own, other = (summary.query(f"backbone == '{b}' and fraction == 1.0") for b in ("own", "dino"))
    assert own["mean"].max() > other["mean"].max()
    assert (table(tmp_path, "chosen")["backbone"] == "dino").all()
    text = (tmp_path / "details.md").read_text()
    assert "The highest of 2 stores is **`dino / map`**" in text


def test_the_floor_is_an_answer_for_macro_f1_and_is_not_compared_by_accuracy(study, tmp_path):
    run(study, tmp_path, CompareSettings(bootstrap=100, metric="accuracy"))
    assert "floor" not in set(table(tmp_path, "differences")["kind"])
    text = (tmp_path / "details.md").read_text()
    assert "it is not compared by this metric" in text
    assert "not compared |" in (tmp_path / "summary.md").read_text()
    assert "floor, which uses only the training labels, reaches" not in text
