"""Gains between backbones of masks: what is shown, up to how many groups, and how it is told."""

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests

from segmented_tables import FLOOR, FRACTIONS, simulated_tables
from transferscope.compare.mask_sentences import (
    chosen_decoder,
    mask_table,
    mask_warnings,
    masks_at_length,
    masks_in_short,
)
from transferscope.compare.masks import (
    Drawn,
    MaskTables,
    Weights,
    compare_masks,
    holm,
    judge,
    significance,
)
from transferscope.compare.tables import matching
from transferscope.config.results import CompareSettings
from transferscope.segmentation.table_names import MASK_TABLES, OBJECT_METRICS, OBJECT_TABLES
from transferscope.stores.parquet import write_parquet

SETTINGS = CompareSettings(bootstrap=200)
# Far ahead with few groups, and not with all.
SMALL_ONLY = {"mae": (0.75, 0.8, 0.85), "random": (0.5, 0.6, 0.85)}


def judged(means, **more):
    return MaskTables(*judge(*simulated_tables(means, **more), SETTINGS))


def test_a_gain_is_shown_up_to_where_it_is():
    tables = judged(SMALL_ONLY)
    gains = tables.gains.set_index("fraction")
    assert gains["shown"].tolist() == [True, True, False]
    assert (gains["first_backbone"] == "mae").all()
    (limit,) = tables.limits.to_dict("records")
    assert (limit["up_to"], limit["smallest"], limit["largest"]) == (8, 4, 16)
    assert limit["low"] <= 8 <= limit["high"]
    true = np.subtract(SMALL_ONLY["mae"], SMALL_ONLY["random"])
    assert ((gains["ci_low"] <= true) & (true <= gains["ci_high"])).all()
    (text,) = [t for t in masks_in_short("glands", tables, SETTINGS) if "gain" in t]
    assert text.startswith("The gain of `mae / map` over `random / map` is shown up to 8 groups")
    assert "95 % interval of that number: " in text
    assert "corrected for 3 comparisons" in text


def test_a_gain_everywhere_and_nowhere():
    tables = judged({"mae": (0.8, 0.85, 0.9), "random": (0.5, 0.5, 0.5)})
    assert tables.limits["up_to"].tolist() == [16]
    texts = list(masks_at_length("glands", tables, SETTINGS))
    assert "is shown at every size, up to 16 groups" in texts[1]
    tables = judged({"a": (0.8, 0.8, 0.8), "b": (0.8, 0.8, 0.8)})
    assert tables.limits["up_to"].tolist() == [0]
    texts = list(masks_at_length("glands", tables, SETTINGS))
    assert texts[1].startswith("No gain of ")
    assert "from the fewest training groups on" in texts[1]


def test_a_gain_with_many_groups_alone_is_told_apart():
    tables = judged({"a": (0.501, 0.6, 0.9), "b": (0.5, 0.6, 0.6)}, own_sd=0.001)
    assert tables.gains["first_backbone"].tolist() == ["a"] * 3
    assert tables.limits["up_to"].tolist() == [0]
    texts = list(masks_at_length("glands", tables, SETTINGS))
    assert "It is shown with 16 groups, but not with all smaller numbers." in texts[1]


@pytest.mark.parametrize(("n_seeds", "training_sd"), [(2, 0.01), (3, 0.08)])
def test_where_there_is_nothing_to_find_little_is_found(n_seeds, training_sd):
    same = (0.8, 0.82, 0.84)
    means = dict.fromkeys("abc", same)
    found, covered = 0, []
    for seed in range(12):
        drawn = {"seed": seed, "n_seeds": n_seeds, "training_sd": training_sd, "n_groups": 15}
        gains = judged(means, **drawn).gains
        found += (gains["p_adjusted"] < 0.05).any()
        covered += list((gains["ci_low"] <= 0) & (gains["ci_high"] >= 0))
    assert found <= 1
    assert np.mean(covered) > 0.93


def test_holm_is_that_of_statsmodels():
    rng = np.random.default_rng(0)
    for n in (1, 2, 7):
        p = rng.random(n) ** 3
        np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1])
    p = np.array([[0.01, np.nan, 0.2], [0.5, 0.5, 0.5]])
    np.testing.assert_allclose(holm(p), [[0.02, np.nan, 0.2], [1, 1, 1]])


def test_the_rule_in_a_draw_is_the_rule_of_the_sample():
    rng = np.random.default_rng(1)
    draws = 0.05 + 0.02 * rng.standard_normal((201, 2, 3))
    drawn = Drawn(draws, np.full((2, 3), 20.0))
    shown = significance(drawn, 0.95).shown
    for number in (0, 5, 50):
        moved = draws.copy()
        moved[0] = draws[number]
        # The same spread around another value.
        moved[1:] = draws[1:]
        alone = significance(Drawn(moved, drawn.df), 0.95)
        assert (shown[number] == alone.shown[0]).all()


def test_means_weigh_groups_of_all_seeds_equally_and_pairs_what_both_have():
    values = np.array([[[1.0, np.nan, 3.0], [np.nan, 5.0, np.nan]]])
    weights = Weights(np.ones((4, 3)), np.ones((4, 2)))
    assert weights.drawn(values).draws[0] == pytest.approx(3.0)
    assert np.isnan(weights.drawn(np.full((1, 2, 3), np.nan)).draws[0, 0])


def test_scores_have_intervals_floors_and_both_metrics():
    scores = judged(SMALL_ONLY).scores
    dice = matching(scores, metric="dice", backbone="mae", **{"class": ""})
    assert dice["fraction"].tolist() == list(FRACTIONS)
    assert (dice["ci_low"] < dice["value"]).all()
    assert (dice["value"] < dice["ci_high"]).all()
    assert set(dice["floor"]) == {FLOOR}
    # With one class, its scores are those of the mean over classes.
    of_class = matching(scores, metric="dice", backbone="mae", **{"class": "gland"})
    np.testing.assert_allclose(of_class["value"], dice["value"])
    assert {"dice", "jaccard"} <= set(scores["metric"])


def test_the_decoder_that_stands_for_all_is_chosen_by_validation():
    worse, better = (
        simulated_tables({"a": (0.5, 0.5, level), "b": (0.5, 0.5, level)}, head=head)
        for head, level in (("linear", 0.7), ("conv", 0.9))
    )
    both = [pd.concat(parts, ignore_index=True) for parts in zip(worse, better, strict=True)]
    tables = MaskTables(*judge(both[0].drop_duplicates(), both[1], SETTINGS))
    assert chosen_decoder("glands", tables) == "conv"
    texts = list(masks_in_short("glands", tables, SETTINGS))
    assert texts[0].startswith("Decoder conv, all training labels (16 groups): Dice is 0.")
    assert "the floor, which calls every pixel foreground, has 0.600" in texts[0]
    assert texts[1].startswith("Highest with other decoders: linear 0.")
    assert len(mask_table("glands", tables)) == 2 + 4


def test_what_is_at_the_floor_or_was_seen_is_warned_of():
    scores, images = simulated_tables({"a": (0.6, 0.6, 0.6), "b": (0.6, 0.8, 0.9)}, n_seeds=1)
    scores.loc[scores["backbone"] == "b", "seen_in_training"] = "images"
    tables = MaskTables(*judge(scores, images, SETTINGS))
    warnings = [text for _, text in mask_warnings(tables)]
    assert any("on `a / map` is not shown to be above the floor" in text for text in warnings)
    assert any("`b / map` has seen images of it" in text for text in warnings)
    assert any("trained on 3 divisions" in text for text in warnings)
    assert len(warnings) == 3


def test_random_orders_of_channels_are_one_store():
    scores, images = simulated_tables({"a": (0.5, 0.6, 0.7), "b": (0.5, 0.6, 0.7)})
    for table in (scores, images):
        table["channels"] = "map-random-" + (table["backbone"] == "b").astype(int).astype(str)
        table["backbone"] = "a"
    tables = MaskTables(*judge(scores, images, SETTINGS))
    assert set(tables.scores["channels"]) == {"map-random"}
    assert tables.gains.empty


def test_one_backbone_alone_is_told_without_a_gain(tmp_path):
    scores, images = simulated_tables({"a": (0.5, 0.6, 0.7)})
    own = tmp_path / "a.parquet", tmp_path / "a.predictions.parquet"
    write_parquet(scores, own[0], {})
    write_parquet(images.drop(columns=["backbone", "channels", "dataset"]), own[1], {})
    compare_masks([own], SETTINGS, tmp_path)
    tables = MaskTables.read(tmp_path)
    assert len(list(masks_in_short("glands", tables, SETTINGS))) == 1
    assert len(list(masks_at_length("glands", tables, SETTINGS))) == 1


def test_tables_are_written_and_read(tmp_path):
    scores, images = simulated_tables(SMALL_ONLY)
    paths = []
    for name in ("mae", "random"):
        own = tmp_path / f"{name}.parquet", tmp_path / f"{name}.predictions.parquet"
        write_parquet(matching(scores, backbone=name), own[0], {})
        stored = matching(images, backbone=name).drop(columns=["backbone", "channels", "dataset"])
        write_parquet(stored, own[1], {})
        paths.append(own)
    compare_masks(paths, SETTINGS, tmp_path)
    found = MaskTables.read(tmp_path)
    pd.testing.assert_frame_equal(found.limits, judged(SMALL_ONLY).limits)
    assert len(pd.read_csv(tmp_path / "mask_gains.csv")) == 3


def with_objects(means, **more):
    """Return tables in which PQ is half the Dice coefficient, and AJI and F1 are the same."""
    scores, images = simulated_tables(means, **more)
    floor = scores.query("metric == 'dice'").assign(metric="pq", value=0.0)
    for name in OBJECT_METRICS:
        images[name] = images["dice"] / 2
    return pd.concat([scores, floor], ignore_index=True), images


def test_objects_have_scores_gains_and_sentences_of_their_own():
    tables = MaskTables(*judge(*with_objects(SMALL_ONLY), SETTINGS))
    scores = matching(tables.scores, **{"class": ""}).set_index(["metric", "backbone", "fraction"])
    both = scores["value"]["dice"], scores["value"]["pq"]
    pd.testing.assert_series_equal(both[0] / 2, both[1])
    np.testing.assert_allclose(tables.object_gains["difference"], tables.gains["difference"] / 2)
    assert tables.object_limits["up_to"].tolist() == tables.limits["up_to"].tolist() == [8]
    texts = list(masks_in_short("glands", tables, SETTINGS))
    (objects,) = [text for text in texts if text.startswith("Single objects")]
    assert "panoptic quality (PQ) is 0.4" in objects
    assert "AJI 0.4" in objects
    assert "F1 at an IoU of .5 0.4" in objects
    assert objects.endswith("has a PQ of 0.000.")
    (gain,) = [text for text in texts if "PQ +" in text]
    assert gain.startswith("The gain of `mae / map` over `random / map` is shown up to 8 groups")
    assert gain in list(masks_at_length("glands", tables, SETTINGS))
    assert len(mask_table("glands", tables, "pq")) == 2 + 2


def test_tables_of_objects_are_written_where_there_are_any(tmp_path):
    for name, (scores, images) in {
        "with": with_objects(SMALL_ONLY),
        "without": simulated_tables(SMALL_ONLY),
    }.items():
        own = tmp_path / name
        (own / "compare").mkdir(parents=True)
        paths = []
        for backbone in SMALL_ONLY:
            pair = own / f"{backbone}.parquet", own / f"{backbone}.tiles.parquet"
            for path, table in zip(pair, (scores, images), strict=True):
                write_parquet(matching(table, backbone=backbone), path, {})
            paths.append(pair)
        compare_masks(paths, SETTINGS, own / "compare")
        found = MaskTables.read(own / "compare")
        made = {path.stem for path in (own / "compare").glob("*.csv")}
        assert made == {*MASK_TABLES, *(OBJECT_TABLES if name == "with" else ())}
        assert (found.object_gains is None) == (name == "without")
