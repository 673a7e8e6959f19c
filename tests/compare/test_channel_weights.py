"""Weights of channels are chosen inside training folds, and their gain is what it is."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t
from sklearn.metrics import f1_score

from transferscope.cards import DatasetCard
from transferscope.compare.channel_weight_sentences import weights_at_length, weights_in_short
from transferscope.compare.channel_weights import compare_weights
from transferscope.compare.contests import Rules
from transferscope.compare.drawn_scores import ScorePaths
from transferscope.compare.uncertainty import draw_noise
from transferscope.config.jobs import HeldOutDivision, Leakage
from transferscope.config.probes import HeadSettings, SplitSettings
from transferscope.config.results import CompareSettings
from transferscope.errors import UserError
from transferscope.probes.channel_weights import WeightedHeads, weigh_channels, weights_of
from transferscope.probes.evaluation import ProbeData
from transferscope.probes.heads import run_heads
from transferscope.probes.splits import make_splits
from transferscope.probes.written import ScoreFiles

CHANNELS = ["dna", "er", "tubulin"]
LABELS = ["G1", "S"]
GROUPS, TILES, WIDTH = 40, 3, 24
PASSES = {name: slice(n * WIDTH, (n + 1) * WIDTH) for n, name in enumerate(CHANNELS)}
SPLITS = SplitSettings(schemes=["group"], folds={"group": 3}, seeds=[0], fractions=[1.0], halves=2)
SETTINGS = HeadSettings(kinds=["logreg"])
COMPARED = CompareSettings(bootstrap=200)
RULES = Rules(0.95, 0.02, draw_noise(200, np.random.default_rng(0)))


def simulated(shown_in, seed=0, task="single-label"):
    """Return data whose class shows in some channels, next to as many columns of noise."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(GROUPS), TILES)
    values = rng.normal(size=(len(group), len(CHANNELS), WIDTH))
    for channel in shown_in:
        values[:, CHANNELS.index(channel), :2] += 2.0 * (group % 2)[:, None]
    names = [f"t{n}" for n in range(len(group))]
    table = pd.DataFrame({"tile_id": names, "group": [f"g{g:02}" for g in group], "fov": names})
    table["labels"] = [LABELS[g % 2] for g in group]
    card = DatasetCard(name="cells", sheet="s", channels=CHANNELS, labels=LABELS, task=task)
    splits = make_splits(table, card, SPLITS)
    identity = {"dataset": "cells", "backbone": "dino", "channels": "replicate"}
    flat = values.reshape(len(group), -1)
    return ProbeData.of(flat, table, splits, [1.0], ["macro_f1", "class_f1"], identity)


def weighed(folder, data, passes=PASSES):
    """Run the step and the comparison; return the latter, and the tables of the former."""
    files = ScoreFiles(*(folder / f"s{end}.parquet" for end in ("", ".predictions", ".halves")))
    weights = folder / "s.weights.parquet"
    weigh_channels(data, passes, SPLITS, SETTINGS, files, weights)
    paths = ScorePaths(*([path] for path in vars(files).values()))
    found = compare_weights(paths, [weights], COMPARED, RULES)
    return found, {path.name: pd.read_parquet(path) for path in folder.glob("s*.parquet")}


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    data = simulated(["er"])
    return data, *weighed(tmp_path_factory.mktemp("weights"), data)


@pytest.mark.parametrize("task", ["single-label", "multi-label"])
@pytest.mark.parametrize("channel", CHANNELS)
def test_the_channel_that_shows_the_class_has_the_largest_weight_and_scores_rise(
    tmp_path, channel, task
):
    data = simulated([channel], seed=1, task=task)
    heads = WeightedHeads(PASSES, SETTINGS)
    scores = heads(data).scores().query("metric == 'macro_f1'").groupby("scheme")["value"].mean()
    assert scores["weighted"] > scores["equal"] + 0.02
    weights = heads.table().groupby("channel")["weight"].mean()
    assert weights.idxmax() == channel
    assert weights[channel] > 0.5
    assert heads.table().groupby("fold")["weight"].sum().to_numpy() == pytest.approx(1)


def test_equal_weights_are_the_heads_of_the_study(one):
    data, _, tables = one
    plain = run_heads(data, SETTINGS).scores().query("head == 'logreg'")
    found = tables["s.parquet"].query("scheme == 'equal'")
    keys = ["seed", "fold", "metric", "class"]
    for column in ("value", "validation"):
        a, b = (table.set_index(keys)[column].sort_index() for table in (plain, found))
        np.testing.assert_allclose(a, b)


def test_a_gain_is_what_the_predictions_gain(one):
    _, found, tables = one
    said = tables["s.predictions.parquet"]
    scores = {}
    for scheme, own in said.groupby("scheme"):
        true, predicted = (own.filter(regex=f"^{k}_").to_numpy() for k in ("true", "predicted"))
        scores[scheme] = f1_score(true, predicted, average=None)
    row = found.channel_gains.query("`class` == ''").iloc[0]
    assert row["first_mean"] == pytest.approx(scores["weighted"].mean(), abs=2e-6)
    assert row["second_mean"] == pytest.approx(scores["equal"].mean(), abs=2e-6)
    assert row["difference"] == pytest.approx(row["first_mean"] - row["second_mean"])
    assert row["ci_low"] < row["difference"] < row["ci_high"]
    assert sorted(found.channel_gains["class"]) == ["", *LABELS]


def test_intervals_of_weights_are_those_of_halves(one):
    _, found, tables = one
    raw = tables["s.weights.parquet"]
    for row in found.channel_weights.to_dict("records"):
        own = raw[raw["channel"] == row["channel"]]
        folds = own[own["half"].isna()]["weight"]
        assert (row["weight"], row["lowest"], row["highest"]) == pytest.approx(
            (folds.mean(), folds.min(), folds.max())
        )
        half = own.dropna(subset="half").groupby("half")["weight"].mean()
        assert len(half) == 4
        reach = t.ppf(0.975, 2) * np.sqrt(
            np.mean([(half[0] - half[1]) ** 2, (half[2] - half[3]) ** 2]) / 4
        )
        assert row["ci_low"] == pytest.approx(max(0, folds.mean() - reach))
        assert row["ci_high"] == pytest.approx(min(1, folds.mean() + reach))


def test_no_test_tile_changes_a_weight(one):
    data, _, _ = one
    (division, *_) = data.divisions
    spoilt = data.embeddings.copy()
    spoilt[division.test] = np.random.default_rng(3).normal(size=spoilt[division.test].shape)
    tables = []
    for embeddings in (data.embeddings, spoilt):
        heads = WeightedHeads(PASSES, SETTINGS)
        heads(replace(data, embeddings=embeddings, divisions=[division]))
        tables.append(heads.table())
    pd.testing.assert_frame_equal(*tables)


def test_without_validation_tiles_channels_count_alike(one):
    data, _, _ = one
    (division, *_) = data.divisions
    heads = WeightedHeads(PASSES, SETTINGS)
    none = replace(division, validation=division.validation[:0])
    scores = (
        heads(replace(data, divisions=[none])).scores().set_index(["scheme", "metric", "class"])
    )
    assert heads.table()["weight"].to_numpy() == pytest.approx(1 / 3)
    of = {name: own["value"].tolist() for name, own in scores.groupby("scheme")}
    assert of["equal"] == of["weighted"]


def test_a_backbone_that_saw_all_but_one_fold_has_no_halves_and_no_intervals(one, tmp_path):
    data, _, _ = one
    only = HeldOutDivision(scheme="group", seed=0, fold=0)
    fold = [division for division in data.divisions if division.fold == 0]
    seen = replace(data, divisions=fold, leakage=Leakage(only=only))
    found, tables = weighed(tmp_path, seen)
    assert tables["s.halves.parquet"].empty
    assert found.channel_weights[["ci_low", "ci_high"]].isna().all(axis=None)
    assert found.channel_weights["weight"].sum() == pytest.approx(1)
    assert "], " not in next(weights_in_short("cells", found._asdict(), COMPARED))


@pytest.mark.parametrize("seed", range(4))
def test_channels_that_show_the_same_show_no_gain(tmp_path, seed):
    found, _ = weighed(tmp_path, simulated(CHANNELS, seed))
    assert not (found.channel_gains["verdict"] == "better").any()


def test_weights_are_sharper_the_sharper_they_are_asked_for():
    losses = np.array([0.2, 0.5, 0.9, 0.9])
    found = [weights_of(losses, s) for s in (0, 0.5, 1, 4)]
    assert all(w.sum() == pytest.approx(1) for w in found)
    assert [w.max() for w in found] == sorted(w.max() for w in found)
    assert all((np.diff(w) <= 0).all() for w in found)
    for alike in (np.full(3, 0.4), np.array([0.1, np.nan, 0.2])):
        assert weights_of(alike, 4) == pytest.approx(1 / 3)


def test_sentences_say_weights_gain_and_verdict(one):
    _, found, _ = one
    tables = found._asdict()
    (short,) = weights_in_short("cells", tables, COMPARED)
    first = found.channel_weights.sort_values("weight", ascending=False).iloc[0]
    assert f"`{first['channel']}` {first['weight']:.2f} [{first['ci_low']:.2f}, " in short
    assert "Macro F1 " in short
    assert "rather than" in short
    assert short in list(weights_at_length("cells", tables, COMPARED))
    assert not list(weights_in_short("others", tables, COMPARED))


def test_features_of_one_channel_are_refused(one, tmp_path):
    data, _, _ = one
    with pytest.raises(UserError, match="one channel only"):
        weighed(tmp_path, data, {"dna": slice(0, 3 * WIDTH)})
