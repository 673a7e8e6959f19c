"""Which channel carries a class: what is planted is named, and what is not planted is not."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from transferscope.cards import DatasetCard
from transferscope.compare.ablation import compare_ablations
from transferscope.compare.contests import Rules
from transferscope.compare.drawn_scores import ScorePaths
from transferscope.compare.study import compare
from transferscope.compare.uncertainty import draw_noise
from transferscope.config.jobs import Comparison
from transferscope.config.probes import HeadSettings, SplitSettings
from transferscope.config.results import CompareSettings, FigureSettings
from transferscope.figures.dispatch import draw_figure
from transferscope.probes.ablation import ablate
from transferscope.probes.channel_weights import weigh_channels
from transferscope.probes.evaluation import ProbeData, write_halves, write_tables
from transferscope.probes.halves import half_divisions
from transferscope.probes.heads import run_heads
from transferscope.probes.registry import HEADS
from transferscope.probes.splits import make_splits
from transferscope.probes.written import ScoreFiles

# `twice` shows in two channels: in either it is lost only partly, if at all.
CARRIED_BY = {"one": "dna", "other": "er", "twice": None}
CHANNELS = ["dna", "er", "tubulin"]
SPLITS = SplitSettings(schemes=["group"], folds={"group": 3}, seeds=[0], fractions=[1.0], halves=2)
SETTINGS = HeadSettings(kinds=["logreg"])
GROUPS, TILES, WIDTH = 48, 3, 4


def simulated(seed):
    """Return the data of a study and its views: columns of one channel after the other."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(GROUPS), TILES)
    has = rng.random((GROUPS, len(CARRIED_BY))) < 0.5
    values = rng.normal(size=(len(group), len(CHANNELS), WIDTH))
    for column, channel in enumerate(CARRIED_BY.values()):
        for place in [channel] if channel else ["dna", "er"]:
            values[:, CHANNELS.index(place), column] += 3.0 * has[group, column]
    names = [f"t{n}" for n in range(len(group))]
    table = pd.DataFrame({"tile_id": names, "group": [f"g{g:02}" for g in group], "fov": names})
    table["labels"] = [
        ";".join(name for name, is_in in zip(CARRIED_BY, row, strict=True) if is_in)
        for row in has[group]
    ]
    card = DatasetCard(name="cells", sheet="s", channels=CHANNELS, labels=list(CARRIED_BY))
    splits = make_splits(table, card, SPLITS)
    identity = {"dataset": "cells", "backbone": "dino", "channels": "replicate"}
    metrics = ["macro_f1", "class_f1"]
    flat = values.reshape(len(group), -1)
    data = ProbeData.of(flat, table, splits, [1.0], metrics, identity)
    views = {}
    for number, channel in enumerate(CHANNELS):
        partner = rng.permutation(len(group))
        exchanged = values.copy()
        exchanged[:, number] = values[partner, number]
        views[f"permuted-{channel}"] = np.ascontiguousarray(
            exchanged.reshape(len(group), -1), dtype=np.float32
        )
    return data, views


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ablated")
    data, views = simulated(0)

    def heads(data, sink):
        return run_heads(data, SETTINGS, sink=sink)

    own, ablated, weighted = (
        ScoreFiles(*(folder / f"{name}{end}.parquet" for end in ("", ".predictions", ".halves")))
        for name in ("own", "ablated", "weighted")
    )
    write_tables(data, own.scores, own.predictions, lambda sink: heads(data, sink))
    halves = half_divisions(data.tiles, SPLITS, [1.0], "cells")
    write_halves(data, halves, own.halves, heads)
    ablate(data, views, SPLITS, {HEADS: SETTINGS}, ablated)
    passes = {name: slice(n * WIDTH, (n + 1) * WIDTH) for n, name in enumerate(CHANNELS)}
    weights = folder / "weighted.weights.parquet"
    weigh_channels(data, passes, SPLITS, SETTINGS, weighted, weights)
    compare(
        [own.scores],
        [own.predictions],
        Comparison(bootstrap=200, not_ablated=["`more` has one channel."]),
        folder / "compare",
        folder / "summary.csv",
        folder / "summary.md",
        [own.halves],
        ablated=ScorePaths(*([path] for path in vars(ablated).values())),
        weighted=(ScorePaths(*([path] for path in vars(weighted).values())), [weights]),
    )
    return folder


def table(folder, name):
    assert (folder / f"compare/{name}.csv").exists()
    return pd.read_parquet(folder / f"compare/{name}.parquet")


def test_a_loss_is_what_the_predictions_lose(folder):
    predicted = pd.read_parquet(folder / "ablated.predictions.parquet").query("head == 'logreg'")
    scores = {}
    for scheme, own in predicted.groupby("scheme"):
        true, said = (own.filter(regex=f"^{k}_").to_numpy(bool) for k in ("true", "predicted"))
        each = f1_score(true, said, average=None)
        scores[scheme] = {"": each.mean(), **dict(zip(CARRIED_BY, each, strict=True))}
    found = table(folder, "ablation")
    assert len(found) == len(CHANNELS) * (1 + len(CARRIED_BY))
    for row in found.to_dict("records"):
        without = scores[f"permuted-{row['channel']}"][row["class"]]
        expected = scores["untouched"][row["class"]]
        assert row["first_mean"] == pytest.approx(expected, abs=2e-6)
        assert row["difference"] == pytest.approx(expected - without, abs=3e-6)
        assert row["n_comparisons"] == len(CHANNELS) * (len(CARRIED_BY) if row["class"] else 1)


def test_the_channel_of_each_class_is_named_and_none_where_there_are_two(folder):
    carriers = table(folder, "ablation_carriers").set_index("class")
    losses = table(folder, "ablation").set_index(["class", "channel"])["difference"]
    for name, channel in CARRIED_BY.items():
        assert carriers.at[name, "carries"] == (channel is not None)
        first, second = carriers.at[name, "channel"], carriers.at[name, "runner_up"]
        if channel is not None:
            assert first == channel
        lead = losses[name, first] - losses[name, second]
        assert carriers.at[name, "difference"] == pytest.approx(lead, abs=3e-6)
        assert losses[name].max() == losses[name, first]
    untold = losses.unstack()["tubulin"]
    assert untold.abs().max() < 0.05


def test_the_texts_say_which_channel_carries_what_and_why_something_is_not_asked(folder):
    summary, details = ((folder / f"{n}.md").read_text() for n in ("summary", "details"))
    for text in (summary, details):
        assert "## `cells`, without single channels" in text
        assert "`dna` carries `one` (" in text
        assert "`er` carries `other` (" in text
        assert "for `twice` no single channel is shown to" in text
        assert "## `cells`, channels weighted" in text
        assert "Channels weighted inside the training folds, `dino / replicate`: `" in text
    assert "Weights multiply the standardised features" in details
    assert table(folder, "channel_weights")["weight"].sum() == pytest.approx(1, abs=1e-5)
    assert len(table(folder, "channel_gains")) == 1 + len(CARRIED_BY)
    assert "What each channel is worth, `dino / replicate`" in details
    assert "`tubulin`" in details
    assert "`more` has one channel." in details


def test_the_figure_frames_what_carries_a_class(folder, tmp_path):
    files = [tmp_path / "ablation.svg", tmp_path / "ablation.png"]
    settings = FigureSettings(dpi=60)
    draw_figure("ablation", folder / "summary.csv", folder / "compare", settings, files)
    svg = files[0].read_text()
    for text in (*CHANNELS, *CARRIED_BY, "all classes", "cells, exchanged between tiles"):
        assert text in svg
    # A frame per class with a carrier.
    assert svg.lower().count("#d55e00") == sum(c is not None for c in CARRIED_BY.values())


@pytest.mark.parametrize("seed", range(1, 6))
def test_the_largest_loss_is_of_the_right_channel_in_other_studies(tmp_path, seed):
    data, views = simulated(seed)
    files = ScoreFiles(*(tmp_path / f"s{end}.parquet" for end in ("", ".predictions", ".halves")))
    ablate(data, views, SPLITS, {HEADS: SETTINGS}, files)
    settings = CompareSettings(bootstrap=200)
    rules = Rules(0.95, 0.02, draw_noise(200, np.random.default_rng(seed)))
    paths = ScorePaths(*([path] for path in vars(files).values()))
    carriers = compare_ablations(paths, settings, rules).ablation_carriers.set_index("class")
    assert carriers.loc[["one", "other"], "channel"].tolist() == ["dna", "er"]
    assert not carriers.at["twice", "carries"]
