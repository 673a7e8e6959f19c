"""Embeddings that say nothing, or only which group a tile is of, through every automatic choice."""

import logging
from functools import partial

import numpy as np
import pandas as pd
import pytest

from transferscope.cards import DatasetCard
from transferscope.compare.study import compare
from transferscope.compare.tables import read_summary
from transferscope.config.probes import HeadSettings, KnnSettings, SplitSettings
from transferscope.config.results import CompareSettings
from transferscope.probes.evaluation import ProbeData, write_halves, write_tables
from transferscope.probes.halves import half_divisions
from transferscope.probes.heads import run_heads
from transferscope.probes.knn import run_knn
from transferscope.probes.splits import make_splits

CLASSES = ["a", "b", "c"]
GROUPS, TILES, WIDTH = 48, 4, 8
STUDIES = 6
SPLITS = SplitSettings(folds={"group": 3, "image": 3}, seeds=[0], fractions=[1.0], halves=2)


def null_study(seed, folder):
    """Run heads and k-NN on blocks of noise and of the identity of the group; return the tables."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(GROUPS), TILES)
    of_group = rng.permutation(GROUPS) % len(CLASSES)
    ids = [f"t{i:03}" for i in range(len(group))]
    names = [f"g{g:02}" for g in group]
    labels = [CLASSES[c] for c in of_group[group]]
    table = pd.DataFrame({"tile_id": ids, "fov": ids, "group": names, "labels": labels})
    card = DatasetCard(name="null", sheet="s", channels=["x"], labels=CLASSES, task="single-label")
    splits = make_splits(table, card, SPLITS)
    identity = 3 * rng.normal(size=(GROUPS, WIDTH))
    written = {"scores": [], "predictions": [], "halves": []}
    for name in ("noise@block5", "noise@block11", "group@block5", "group@block11"):
        embeddings = rng.normal(size=(len(group), WIDTH))
        if name.startswith("group"):
            embeddings += identity[group]
        store = {"dataset": "null", "backbone": name, "channels": "map"}
        data = ProbeData.of(embeddings, table, splits, [1.0], ["macro_f1"], store)
        divisions = half_divisions(data.tiles, SPLITS, [1.0], "null")
        for probe, run, settings in (
            ("heads", run_heads, HeadSettings(kinds=["logreg"])),
            ("knn", run_knn, KnnSettings(k=[1, 5, 20], exclude="none")),
        ):
            start = partial(_run, run, settings)
            paths = [
                folder / f"{name}-{probe}{end}" for end in (".parquet", ".predictions.parquet")
            ]
            write_tables(data, *paths, partial(start, data))
            halves = folder / f"{name}-{probe}.halves.parquet"
            write_halves(data, divisions, halves, start)
            for kind, path in zip(written, [*paths, halves], strict=True):
                written[kind].append(path)
    summary = folder / "summary.csv", folder / "summary.md"
    settings = CompareSettings(bootstrap=200)
    compare(
        written["scores"],
        written["predictions"],
        settings,
        folder / "compare",
        *summary,
        written["halves"],
    )
    read = {n: pd.read_parquet(folder / "compare" / f"{n}.parquet") for n in TABLES}
    return {"summary": read_summary(summary[0]).query("metric == 'macro_f1'"), **read}


TABLES = ("chosen", "leaderboard", "differences")


def _run(run, settings, data, sink):
    return run(data, settings, sink=sink)


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    logging.disable(logging.WARNING)
    found = [null_study(seed, tmp_path_factory.mktemp(f"null{seed}")) for seed in range(STUDIES)]
    logging.disable(logging.NOTSET)
    return found


def by_chosen_head(study, scheme):
    chosen = study["chosen"].query(f"scheme == '{scheme}'").iloc[0]
    rows = study["summary"].query(f"scheme == '{scheme}' and head == '{chosen['head']}'")
    return rows[rows["k"].fillna(0) == (0 if pd.isna(chosen["k"]) else chosen["k"])]


def test_chosen_heads_are_at_chance_by_group(studies):
    """Head and k are chosen by validation scores: on test tiles the choice gains nothing."""
    scores = [by_chosen_head(study, "group")["mean"].mean() for study in studies]
    error = np.std(scores, ddof=1) / np.sqrt(STUDIES)
    assert np.mean(scores) == pytest.approx(1 / len(CLASSES), abs=max(3 * error, 0.02))


def test_the_interval_of_the_highest_block_holds_chance(studies):
    best = [study["leaderboard"].query("scheme == 'group'") for study in studies]
    inside = [
        (rows["ci_low"] <= 1 / len(CLASSES)) & (1 / len(CLASSES) <= rows["ci_high"])
        for rows in best
    ]
    assert np.mean([rows.mean() for rows in inside]) > 0.95


def test_nothing_is_shown_by_group(studies):
    found = pd.concat([study["differences"] for study in studies]).query("scheme == 'group'")
    shown = found.assign(shown=found["verdict"].isin(["better", "worse"])).groupby("kind")["shown"]
    assert (shown.mean() < 0.05).all(), shown.mean()
    assert set(found["kind"]) >= {"stores", "floor"}


def test_the_identity_of_the_group_is_found_by_image_only(studies):
    for study in studies:
        rows = by_chosen_head(study, "image").set_index("backbone")["mean"]
        assert rows.filter(like="group").min() > rows.filter(like="noise").max() + 0.15
