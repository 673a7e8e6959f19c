"""Simulate whole studies, and count how often their verdicts are wrong.

Every study goes through the package: splits, probes, halves, tables, comparison and sentences. Only
the embeddings are made up, so that the truth is known: stores of a study are equally good, or one
is better by a known amount of noise. A fine-tuned backbone is another store as good as the frozen
one.

    python benchmarks/coverage_of_verdicts.py --processes 2 --output coverage.jsonl
    python benchmarks/coverage_of_verdicts.py --table coverage.jsonl

A run that was stopped continues where it was if the same command is given again.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import math
import os
import re
import tempfile
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

# Read at import. Studies run side by side, so that each needs one thread.
os.environ["TQDM_DISABLE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import sklearn
import statsmodels.api as sm
from scipy.stats import norm, t

from transferscope.cards import DatasetCard, Task
from transferscope.compare import study as study_module
from transferscope.compare.study import compare
from transferscope.compare.tables import read_summary
from transferscope.compare.uncertainty import POWER
from transferscope.config.jobs import Comparison
from transferscope.config.modes import head_of_mode
from transferscope.config.probes import HeadSettings, KnnSettings, SplitSettings
from transferscope.config.vocabulary import Scheme
from transferscope.probes.evaluation import (
    ProbeData,
    ResultTables,
    Sink,
    write_halves,
    write_tables,
)
from transferscope.probes.halves import half_divisions
from transferscope.probes.heads import run_heads
from transferscope.probes.knn import run_knn
from transferscope.probes.score_table import FLOOR
from transferscope.probes.splits import make_splits
from transferscope.runtime.arrays import Bools, Floats, Floats32, Integers
from transferscope.stores.parquet import write_parquet

WIDTH = 16
MARGIN = 0.02
DATASET = "cells"
MODES = ("full", "last-1", "lora")
# Files of a study live for seconds: in memory where the system has such a folder.
MEMORY = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
# Studies from which the true difference of a design is known before its own studies are run.
PILOTS, FIRST_PILOT = 400, 1_000_000


@dataclass(frozen=True)
class Design:
    """A kind of study.

    Parameters
    ----------
    groups, tiles
        Number of groups, and tiles per group.
    folds, repeats, classes, task
        Of the splits.
    head
        "logreg", "mlp" or "knn".
    stores
        Number of stores.
    halves
        Pairs of halves.
    fractions
        Of the training groups.
    better
        Noise of the first store, as a share of that of the others; 1: all are equally good.
    halved
        Whether the largest fraction or all are repeated in halves.
    bootstrap
        Bootstrap draws.
    uneven
        Ratio of the noise of the last store to that of the first; those between lie between. Their
        scores then differ.
    schemes
        Of the splits.
    modes
        Fine-tuned modes of each store.
    margin
        Of practical equality; None: the true difference between the first store and `edge`.
    edge
        Number of the store that is exactly the margin behind, if `margin` is None.
    separation
        Distance of the classes, as a multiple of the usual.
    sweep
        Whether it is one of several designs that differ in `groups`, to find how many are needed.
    """

    groups: int
    folds: int
    repeats: int
    classes: int
    task: Task = "multi-label"
    head: str = "logreg"
    stores: int = 6
    halves: int = 8
    fractions: tuple[float, ...] = (1.0,)
    better: float = 1.0
    uneven: float = 1.0
    tiles: int = 3
    halved: str = "largest"
    bootstrap: int = 500
    schemes: tuple[Scheme, ...] = ("group",)
    modes: int = 0
    margin: float | None = MARGIN
    edge: int = 1
    separation: float = 1.0
    sweep: bool = False

    @property
    def name(self) -> str:
        """Groups / folds x repeats / classes, task, head and what else differs from the usual."""
        text = f"{self.groups}/{self.folds}x{self.repeats}/{self.classes} {self.task.split('-')[0]}"
        parts = [text, self.head, f"{self.stores} store{'s' * (self.stores > 1)}"]
        parts += [f"J = {self.halves}"] * (self.halves != 8 and not self.modes)
        parts += [f"noise x {self.better:g}"] * self.sweep
        parts += ["one better"] * (self.better != 1 and not self.sweep)
        parts += ["uneven"] * (self.uneven != 1)
        parts += [f"{len(self.fractions)} fractions"] * (len(self.fractions) > 1)
        parts += ["all in halves"] * (self.halved != "largest")
        parts += ["both splits"] * (len(self.schemes) > 1)
        parts += [f"{self.modes} tuned"] * (self.modes > 0)
        parts += ["margin = difference"] * (self.margin is None and self.edge == 1)
        parts += ["margin = step"] * (self.margin is None and self.edge > 1)
        parts += ["classes apart"] * (self.separation > 1)
        return ", ".join(parts)

    @property
    def studies(self) -> int:
        """Number of studies: fewer where heads are trained."""
        return 1000 if self.head == "knn" else 400

    @property
    def is_null(self) -> bool:
        """Whether all stores are equally good."""
        return self.better == 1 and self.uneven == 1

    @property
    def splits(self) -> SplitSettings:
        """Settings of the splits."""
        return SplitSettings(
            schemes=list(self.schemes),
            folds=dict.fromkeys(self.schemes, self.folds),
            seeds=list(range(self.repeats)),
            fractions=list(self.fractions),
            halves=self.halves,
        )

    def noise(self, store: int) -> float:
        """Return the noise of a store."""
        if store == 0 and self.better != 1:
            return self.better
        return float(self.uneven ** (store / max(self.stores - 1, 1)))


CURVE = (0.25, 0.5, 1.0)
BOTH: tuple[Scheme, ...] = ("group", "image")
TUNED = {"halves": 0, "fractions": CURVE, "stores": 1}
EQUAL_COLUMNS = [
    "design",
    "studies",
    "score covered",
    "difference covered",
    "SE / SD",
    "pairs with p < .05",
    "any pair shown",
    "any claim in the text",
    "a given store ruled out",
    "highest covered",
]
UNEQUAL_COLUMNS = [
    "design",
    "studies",
    "score covered",
    "difference covered",
    "SE / SD",
    "highest covered",
    "best ruled out",
    "equals with p < .05",
]
POWER_COLUMNS = [
    "design",
    "studies",
    "true difference",
    "power, one pair",
    "power if the SD were known",
    "power, corrected",
    "inferior ruled out",
]
CURVE_COLUMNS = [
    "design",
    "studies",
    "curve covered",
    *(f"at {100 * fraction:g} %" for fraction in CURVE),
    "plateau too early",
]
GAP_COLUMNS = ["design", "studies", "split gap", "gap covered", "SE / SD of the gap"]
TUNED_COLUMNS = [
    "design",
    "studies",
    "gain covered",
    "SE / SD of the gain",
    "fraction named",
    "said to be worth it",
]
MARGIN_COLUMNS = [
    "design",
    "studies",
    "margin",
    "true difference",
    "SE",
    "called equal",
    "pairs shown to differ",
]
BEHIND_COLUMNS = ["design", "with bounds", "bounds held", "cheapest named", "named wrongly"]
GROUP_COLUMNS = [
    "design",
    "studies",
    "true difference",
    "power, corrected",
    "groups for 80 %, predicted",
]
# Errors that are pooled over all designs.
POOLED = EQUAL_COLUMNS[2:4] + EQUAL_COLUMNS[5:]
DESIGNS = [
    Design(60, 3, 1, 8),
    Design(60, 3, 1, 8, head="knn"),
    Design(60, 3, 1, 8, stores=2),
    Design(60, 3, 1, 8, head="knn", stores=4),
    Design(60, 3, 3, 8, head="knn"),
    Design(60, 3, 1, 12, head="knn", halves=4),
    Design(60, 3, 1, 12, halves=4),
    Design(100, 5, 1, 8, head="knn"),
    Design(80, 5, 1, 8, "single-label", head="knn"),
    Design(80, 5, 3, 8, "single-label", head="knn"),
    Design(80, 5, 1, 8, "single-label"),
    Design(20, 3, 1, 4, "single-label"),
    Design(300, 5, 1, 8, head="knn"),
    Design(60, 3, 1, 8, head="knn", stores=20),
    Design(60, 3, 1, 8, head="knn", uneven=1.5),
    Design(60, 3, 1, 8, head="knn", fractions=CURVE),
    Design(60, 3, 1, 8, head="knn", fractions=CURVE, halved="all"),
    Design(60, 3, 1, 8, stores=2, fractions=CURVE),
    Design(60, 3, 1, 8, stores=2, head="mlp"),
    Design(60, 3, 1, 8, head="knn", halves=0),
    Design(60, 3, 3, 8, head="knn", halves=0),
    Design(60, 3, 3, 8, better=0.6),
    Design(60, 3, 3, 8, better=0.6, separation=1.7),
    Design(60, 3, 3, 8, head="knn", better=0.6),
    Design(300, 5, 1, 8, head="knn", stores=2, better=0.8, margin=None),
    Design(600, 5, 1, 8, head="knn", stores=2, separation=2.5),
    Design(150, 3, 1, 8, head="knn", stores=4, halves=4, uneven=2, margin=None, edge=2),
    Design(60, 3, 1, 8, head="knn", stores=2, schemes=BOTH),
    Design(60, 3, 1, 8, stores=2, schemes=BOTH),
    Design(60, 3, 3, 8, head="knn", modes=1, **TUNED),
    Design(60, 3, 3, 8, head="knn", modes=3, **TUNED),
    Design(60, 3, 3, 8, modes=3, **TUNED),
]
# How many groups show a difference: predicted by the first, counted in the others.
SWEEP = [
    Design(groups, 3, 3, 8, head="knn", stores=2, better=0.75, sweep=True)
    for groups in (60, 120, 160, 200)
]
DESIGNS += SWEEP


def world(design: Design, study: int) -> tuple[pd.DataFrame, DatasetCard, list[Floats32]]:
    """Return tile table, card and the embeddings of one study: all stores, then all fine-tuned.

    A group has its classes, and a direction of its own that stores see in part: each adds noise per
    group and per tile. Class means are the same in all studies with as many classes; all else is
    drawn for each study of each design, so that designs can be pooled.
    """
    fixed = np.random.default_rng(design.classes)
    means = design.separation * fixed.normal(size=(design.classes, WIDTH))
    rng = np.random.default_rng([zlib.crc32(design.name.encode()), study])
    labels = _labels(design, rng)
    shared = rng.normal(size=(design.groups, WIDTH))
    group = np.repeat(np.arange(design.groups), design.tiles)
    stores = []
    for store in range(design.stores * (1 + design.modes)):
        noise = design.noise(store) if store < design.stores else 1.0
        own = noise * rng.normal(size=(design.groups, WIDTH))
        tiles = 0.7 * noise * rng.normal(size=(len(group), WIDTH))
        embedded = (labels @ means + 0.7 * shared + 1.2 * own)[group] + tiles
        stores.append(embedded.astype(np.float32))
    names = [f"c{j}" for j in range(design.classes)]
    texts = [";".join(np.array(names)[row]) for row in labels]
    ids = [f"t{i:05}" for i in range(len(group))]
    table = pd.DataFrame(
        {
            "tile_id": ids,
            "fov": ids,
            "group": [f"g{g:04}" for g in group],
            "labels": [texts[g] for g in group],
        }
    )
    card = DatasetCard(name=DATASET, sheet="s.tsv", channels=["c"], labels=names, task=design.task)
    return table, card, stores


def _labels(design: Design, rng: np.random.Generator) -> Bools:
    """Return the classes of the groups: some are rare, none has too few groups for the folds."""
    main = rng.permutation(np.arange(design.groups) % design.classes)
    labels = np.eye(design.classes, dtype=bool)[main]
    if design.task == "multi-label":
        labels |= rng.random(labels.shape) < np.geomspace(0.02, 0.2, design.classes)
    return labels


def simulate(design: Design, study: int) -> dict[str, Any]:
    """Run one study in a temporary folder and return what it found."""
    import torch

    torch.set_num_threads(1)
    margin = true_difference(design) if design.margin is None else design.margin
    with tempfile.TemporaryDirectory(dir=MEMORY) as temporary:
        folder = Path(temporary)
        scores, halves = _probed(design, study, folder)
        predictions = [path.with_name(f"{path.stem}.predictions.parquet") for path in scores]
        settings = Comparison(
            bootstrap=design.bootstrap, margin=margin, operations=operations(design)
        )
        summary = folder / "summary.csv", folder / "summary.md"
        compare(scores, predictions, settings, folder / "compare", *summary, halves)
        found = _found(folder, design)
    return {"design": design.name, "study": study, "margin": margin, **found}


def operations(design: Design) -> dict[str, dict[str, float]]:
    """Return what each store costs: less than all that are expected to score more."""
    costs = {f"b{i:02} / map": 2e9 / (1 + i) for i in range(design.stores)}
    return {DATASET: costs}


@cache
def true_difference(design: Design) -> float:
    """Return the expected difference of the first store and `edge`, from studies of their own."""
    pilot = replace(design, margin=MARGIN, halves=0, bootstrap=100)
    studies = range(FIRST_PILOT, FIRST_PILOT + PILOTS)
    points = np.array([simulate(pilot, study)["points"] for study in studies])
    return float(abs(points[:, 0].mean() - points[:, design.edge].mean()))


def _probed(design: Design, study: int, folder: Path) -> tuple[list[Path], list[Path]]:
    """Run the probe on all stores of a study; return the tables of scores, and of halves."""
    table, card, embeddings = world(design, study)
    splits = make_splits(table, card, design.splits)
    identity = {"dataset": DATASET, "backbone": "", "channels": "map"}
    metrics = ["macro_f1"]
    common = ProbeData.of(embeddings[0], table, splits, design.fractions, metrics, identity)
    halved = design.fractions if design.halved == "all" else [1.0]
    divisions = half_divisions(common.tiles, design.splits, halved, DATASET)
    run = _probe(design)
    scores, halves = [], []
    for number, of_store in enumerate(embeddings):
        mode, store = divmod(number, design.stores)
        named = {**common.identity, "backbone": f"b{store:02}"}
        data = replace(common, embeddings=of_store, identity=named)
        scores.append(folder / f"{number}.parquet")
        predictions = folder / f"{number}.predictions.parquet"
        if mode:
            _write_tuned(run(data, None), MODES[mode - 1], scores[-1], predictions)
            continue
        write_tables(data, scores[-1], predictions, partial(run, data))
        if divisions:
            halves.append(folder / f"{number}.halves.parquet")
            write_halves(data, divisions, halves[-1], run)
    return scores, halves


def _probe(design: Design) -> Any:
    def knn(data: ProbeData, sink: Sink | None) -> ResultTables:
        return run_knn(data, KnnSettings(k=[5]), sink=sink)

    def trained(data: ProbeData, sink: Sink | None) -> ResultTables:
        return run_heads(data, heads, sink=sink)

    if design.head == "knn":
        return knn
    heads = HeadSettings(kinds=[design.head], epochs=30, patience=5, batch_size=64, hidden=[32])
    return trained


def _write_tuned(results: ResultTables, mode: str, scores: Path, predictions: Path) -> None:
    """Write the results of a probe as those of a fine-tuned backbone."""
    described = {"classes": results.data.tiles.classes, "task": results.data.tiles.task}
    for path, table in ((scores, results.scores()), (predictions, results.predictions())):
        own = table[table["head"] != FLOOR].assign(head=head_of_mode(mode))
        own["k"] = pd.array([pd.NA] * len(own), dtype="Int64")
        write_parquet(own, path, described)


PAIR = [
    "first_backbone",
    "second_backbone",
    "difference",
    "ci_low",
    "ci_high",
    "p_value",
    "p_adjusted",
    "verdict",
    "detectable",
    "standard_error",
]
# The store that a sentence names.
CHEAPEST = re.compile(r"behind the best, `b(\d+) / map` needs least computation")
GAP = ["difference", "ci_low", "ci_high", "standard_error"]
GAIN = ["fraction", "difference", "ci_low", "ci_high", "worth_from"]
POINT = ["backbone", "fraction", "mean", "ci_low", "ci_high"]


def _found(folder: Path, design: Design) -> dict[str, Any]:
    def read(name: str) -> pd.DataFrame:
        return pd.read_parquet(folder / "compare" / f"{name}.parquet")

    def of_head(table: pd.DataFrame) -> pd.DataFrame:
        return table[table["head"] == design.head]

    summary = of_head(read_summary(folder / "summary.csv")).query("metric == 'macro_f1'")
    by_group = summary.query("scheme == 'group'")
    full = by_group.query("fraction == 1").sort_values("backbone")
    gaps = of_head(read("differences"))
    leaders = of_head(read("leaderboard")).query("scheme == 'group'")
    chosen = read("chosen").query("scheme == 'group'").iloc[0]
    lines = (folder / "details.md").read_text().splitlines()
    shown = [line for line in lines if re.search(r"shown to be (better|worse)", line)]
    found = {
        "points": full["mean"].tolist(),
        "intervals": full[["ci_low", "ci_high"]].to_numpy().tolist(),
        "best": leaders[["backbone", "mean", "ci_low", "ci_high"]].iloc[0].tolist(),
        "behind": leaders.sort_values("backbone")["at_most_behind"].tolist(),
        "ruled_out": leaders.loc[~leaders["may_be_best"].astype(bool), "backbone"].tolist(),
        "pairs": gaps.query("kind == 'stores' and scheme == 'group'")[PAIR].to_numpy().tolist(),
        "claims": sum("floor" not in line for line in shown),
        "cheapest": CHEAPEST.findall("\n".join(lines)),
    }
    if len(design.fractions) > 1:
        found["curve"] = by_group[POINT].to_numpy().tolist()
        found["enough"] = [chosen["backbone"], float(chosen["enough_from"])]
    if len(design.schemes) > 1:
        found["gaps"] = gaps.query("kind == 'scheme'")[GAP].to_numpy().tolist()
    if design.modes:
        found["gains"] = read("finetuning")[GAIN].to_numpy().tolist()
        found["worth_claims"] = sum("It is worth it from" in line for line in lines)
    return found


def summarised(rows: Iterable[dict[str, Any]], designs: Sequence[Design]) -> pd.DataFrame:
    """Summarise studies, one row per design: shares in percent with Monte-Carlo errors.

    The expected score of a store, and of a difference, is its mean over all studies of the design;
    where stores are equally good, all have the same, and differences are zero.
    """
    by_design: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_design.setdefault(row["design"], []).append(row)
    return pd.DataFrame(
        [_row(design, by_design[design.name]) for design in designs if design.name in by_design]
    )


def _row(design: Design, found: list[dict[str, Any]]) -> dict[str, Any]:
    points = np.array([study["points"] for study in found])
    expected = np.full(design.stores, points.mean()) if design.is_null else points.mean(axis=0)
    bounds = np.array([study["intervals"] for study in found])
    inside = (bounds[..., 0] <= expected) & (expected <= bounds[..., 1])
    row: dict[str, Any] = {
        "design": design.name,
        "studies": len(found),
        "score covered": Share.of(inside.mean(axis=1)),
    }
    if design.stores > 1:
        row |= _of_pairs(design, found, expected)
    bounded = [study for study in found if "behind" in study]
    if design.stores > 1 and len(bounded) > 1:
        row |= _of_cheapest(bounded, expected, design.edge if design.edge > 1 else None)
    if len(design.fractions) > 1:
        row |= _of_curve(found)
    if len(design.schemes) > 1:
        row |= _of_gap(found)
    if design.modes:
        row |= _of_tuned(found, design.groups)
    return row


@dataclass(frozen=True)
class Share:
    """A share of studies in percent, with its Monte-Carlo error; studies are independent."""

    percent: float
    error: float
    studies: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Share:
        """Return that of values per study, 0 to 1 each."""
        shares = 100 * np.asarray(list(values), dtype=float)
        n = len(shares)
        error = shares.std(ddof=1) / math.sqrt(n) if n > 1 else math.nan
        return cls(float(shares.mean()), float(error), n)

    @classmethod
    def pooled(cls, shares: Sequence[Share]) -> Share:
        """Return the mean over designs, weighted by their studies."""
        studies = np.array([share.studies for share in shares])
        weights = studies / studies.sum()
        errors = np.array([share.error for share in shares])
        percent = weights @ np.array([share.percent for share in shares])
        return cls(float(percent), float(np.linalg.norm(weights * errors)), int(studies.sum()))

    def __str__(self) -> str:
        return f"{self.percent:.1f} ± {self.error:.1f}"


def _table(found: list[dict[str, Any]], key: str, columns: list[str]) -> pd.DataFrame:
    """Return the rows of all studies, with the number of the study in column `study`."""
    rows = [(n, *row) for n, study in enumerate(found) for row in study[key]]
    return pd.DataFrame(rows, columns=["study", *columns])


def _per_study(values: Any, table: pd.DataFrame) -> Share:
    return Share.of(values.groupby(table["study"]).mean())


def _of_pairs(design: Design, found: list[dict[str, Any]], expected: Floats) -> dict[str, Any]:
    index = {f"b{i:02}": i for i in range(design.stores)}
    pairs = _table(found, "pairs", PAIR)
    first, second = (
        pairs[f"{side}_backbone"].map(index).to_numpy() for side in ("first", "second")
    )
    true = expected[first] - expected[second]
    covered = (pairs["ci_low"] <= true) & (true <= pairs["ci_high"])
    spread = math.sqrt(np.square(pairs["difference"] - true).mean())
    error = math.sqrt(np.square(pairs["standard_error"]).mean())
    single, shown = pairs["p_value"] < 0.05, pairs["p_adjusted"] < 0.05
    best = [
        study["best"][2] <= expected[index[study["best"][0]]] <= study["best"][3] for study in found
    ]
    row: dict[str, Any] = {
        "difference covered": _per_study(covered, pairs),
        "SE / SD": f"{error / spread:.2f}",
        "highest covered": Share.of(best),
        "any claim in the text": Share.of(study["claims"] > 0 for study in found),
    }
    if design.is_null:
        row |= {
            "pairs with p < .05": _per_study(single, pairs),
            "any pair shown": Share.of(shown.groupby(pairs["study"]).any()),
            "a given store ruled out": Share.of(
                len(study["ruled_out"]) / design.stores for study in found
            ),
        }
    else:
        true_best = f"b{int(np.argmax(expected)):02}"
        row |= {"best ruled out": Share.of(true_best in s["ruled_out"] for s in found)}
    if design.better != 1:
        with_best = (first == 0) | (second == 0)
        tested = pairs[with_best]
        gap = expected[0] - expected[1:].mean()
        own = math.sqrt(np.square(pairs["difference"] - true)[with_best].mean())
        inferior = [len(set(study["ruled_out"]) - {"b00"}) / (design.stores - 1) for study in found]
        row |= {
            "true difference": f"{gap:.3f}",
            "power, one pair": _per_study(single[with_best], tested),
            "power if the SD were known": f"{100 * norm.sf(1.96 - gap / own):.0f}",
            "power, corrected": _per_study(shown[with_best], tested),
        }
        if design.stores > 2:
            row |= {
                "inferior ruled out": Share.of(inferior),
                "equals with p < .05": _per_study(single[~with_best], pairs[~with_best]),
            }
    if design.stores == 2 and (design.margin is None or design.is_null):
        row |= {
            "margin": f"{found[0]['margin']:.3f}",
            "true difference": f"{abs(expected[0] - expected[1]):.3f}",
            "SE": f"{error:.3f}",
            "called equal": _per_study(pairs["verdict"] == "equal", pairs),
            "pairs shown to differ": _per_study(shown, pairs),
        }
    return row


def _of_cheapest(
    found: list[dict[str, Any]], expected: Floats, edge: int | None = None
) -> dict[str, Any]:
    """Count bounds on how far stores are behind the best, all of a study at once.

    Of the stores that are shown to be within the margin of the best, a study names the cheapest:
    here the one with the lowest expected score, so that it errs most. Older studies do not have the
    sentence, but what it is made of. The store `edge`, whose difference is the margin as far as
    pilots tell, and all after it count as wrong.
    """
    bounds = np.array([study["behind"] for study in found])
    behind = expected.max() - expected
    margins = np.array([study["margin"] for study in found])
    named = bounds < margins[:, None]
    order = np.argsort(expected)
    first = [
        next(map(int, study["cheapest"]), None)
        if "cheapest" in study
        else next((int(i) for i in order if row[i]), None)
        for study, row in zip(found, named, strict=True)
    ]
    beyond = np.arange(len(expected)) >= (len(expected) if edge is None else edge)
    wrong = [
        i is not None and (behind[i] >= m or beyond[i]) for i, m in zip(first, margins, strict=True)
    ]
    return {
        "with bounds": f"{len(found)}",
        "bounds held": Share.of((behind <= bounds).all(axis=1)),
        "cheapest named": Share.of(i is not None for i in first),
        "named wrongly": Share.of(wrong),
    }


def _of_curve(found: list[dict[str, Any]]) -> dict[str, Any]:
    curve = _table(found, "curve", ["backbone", "fraction", "mean", "low", "high"])
    expected = curve.groupby("fraction")["mean"].mean()
    true = curve["fraction"].map(expected)
    inside = (curve["low"] <= true) & (true <= curve["high"])
    enough = expected.index[expected >= 0.95 * expected.iloc[-1]].min()
    claimed = [study["enough"][1] for study in found]
    at = curve["fraction"]
    each = {
        f"at {100 * f:g} %": _per_study(inside[at == f], curve[at == f])
        for f in sorted(at.unique())
    }
    return {
        "curve covered": _per_study(inside, curve),
        **each,
        "plateau too early": Share.of(c < enough for c in claimed),
    }


def _of_gap(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Compare the difference of the two splits with its mean over studies and equal stores."""
    gaps = _table(found, "gaps", GAP)
    true = gaps["difference"].mean()
    inside = (gaps["ci_low"] <= true) & (true <= gaps["ci_high"])
    error = math.sqrt(np.square(gaps["standard_error"]).mean())
    return {
        "split gap": f"{true:.3f}",
        "gap covered": _per_study(inside, gaps),
        "SE / SD of the gap": f"{error / gaps['difference'].std():.2f}",
    }


def _of_tuned(found: list[dict[str, Any]], n_groups: int) -> dict[str, Any]:
    """Count gains of fine-tuning, where there are none."""
    gains = _table(found, "gains", GAIN)
    inside = (gains["ci_low"] <= 0) & (gains["ci_high"] >= 0)
    reach = (gains["ci_high"] - gains["ci_low"]) / 2
    error = math.sqrt(np.square(reach).mean()) / t.isf(0.025, n_groups - 1)
    spread = math.sqrt(np.square(gains["difference"]).mean())
    return {
        "gain covered": _per_study(inside, gains),
        "SE / SD of the gain": f"{error / spread:.2f}",
        "fraction named": Share.of(gains["worth_from"].notna().groupby(gains["study"]).any()),
        "said to be worth it": Share.of(study["worth_claims"] > 0 for study in found),
    }


@dataclass(frozen=True)
class Needed:
    """The number of groups at which `POWER` of studies show a difference.

    Parameters
    ----------
    groups, error
        By simulation, between two designs, with its Monte-Carlo error.
    predicted
        By the studies of the smallest design, for the true difference at `groups`.
    """

    groups: float
    error: float
    predicted: float

    def __str__(self) -> str:
        return (
            f"{100 * POWER:.0f} % of studies show the difference from {self.groups:.0f} ± "
            f"{self.error:.0f} groups on; predicted are {self.predicted:.0f}, "
            f"{self.predicted / self.groups:.2f} times as many."
        )


def with_groups(
    table: pd.DataFrame, rows: Sequence[dict[str, Any]], sweep: Sequence[Design]
) -> tuple[pd.DataFrame, Needed | None]:
    """Add the number of groups that studies of the smallest design of a sweep predict.

    A study says which difference it shows in 80 % of cases, after correction, and variances fall
    with the number of groups. The difference itself grows a little with the number of groups, as
    heads do: the prediction in the row of a design is for the true difference there.

    Parameters
    ----------
    table
        From `summarised`.
    rows
        Studies.
    sweep
        Designs that differ in `groups` only, in ascending order.

    Returns
    -------
    tuple
        The table with the median of the prediction, and where the power crosses `POWER`; None:
        nowhere.
    """
    of_sweep = table[table["design"].isin([design.name for design in sweep])]
    smallest = [row for row in rows if row["design"] == sweep[0].name]
    if len(of_sweep) < 2 or not smallest:
        return table, None
    detectable = _table(smallest, "pairs", PAIR)["detectable"].median()
    sizes = {design.name: design.groups for design in sweep}
    groups = of_sweep["design"].map(sizes).to_numpy(float)
    difference = of_sweep["true difference"].to_numpy(float)
    predicted = sweep[0].groups * np.square(detectable / difference)
    column = GROUP_COLUMNS[-1]
    table = table.assign(**{column: pd.Series([f"{n:.0f}" for n in predicted], of_sweep.index)})
    shown = np.array([share.percent / 100 for share in of_sweep["power, corrected"]])
    found = _crossing(groups, shown, of_sweep["studies"].to_numpy(int))
    if not groups[0] < found[0] < groups[-1]:
        return table, None
    at = float(np.interp(found[0], groups, predicted))
    return table, Needed(*found, at)


def _crossing(groups: Floats, shown: Floats, studies: Integers) -> tuple[float, float]:
    """Return the number of groups at which the power is `POWER`, and its Monte-Carlo error.

    The probit of the power is linear in the root of the number of groups; all designs are fitted
    together, and again to studies drawn from the fit.
    """
    points = sm.add_constant(np.sqrt(groups))

    def fit(shares: Floats) -> tuple[float, Floats]:
        counts = np.column_stack([shares * studies, (1 - shares) * studies])
        family = sm.families.Binomial(sm.families.links.Probit())
        model = sm.GLM(counts, points, family=family).fit()
        constant, slope = model.params
        return float(((norm.ppf(POWER) - constant) / slope) ** 2), model.predict(points)

    crossing, fitted = fit(shown)
    rng = np.random.default_rng(0)
    again = [fit(rng.binomial(studies, fitted) / studies)[0] for _ in range(200)]
    return crossing, float(np.std(again, ddof=1))


def studies_to_run(arguments: argparse.Namespace) -> list[tuple[Design, int]]:
    """Return the studies to run: of all designs alike, so that a part of them can be read."""
    done = set()
    if arguments.output.exists():
        for line in arguments.output.read_text().splitlines():
            row = json.loads(line)
            done.add((row["design"], row["study"]))
    runs = []
    for design in DESIGNS:
        if re.search(arguments.only, design.name):
            n = arguments.studies or max(1, round(arguments.share * design.studies))
            runs += [((study + 0.5) / n, design, arguments.first + study) for study in range(n)]
    runs.sort(key=lambda run: run[0])
    return [(design, study) for _, design, study in runs if (design.name, study) not in done]


def _prepare() -> None:
    """Leave out what the verdicts of a simulation do not need."""
    logging.disable(logging.WARNING)
    sklearn.set_config(assume_finite=True, skip_parameter_validation=True)
    # All studies have the same seed, and so the same noise.
    draw = study_module.draw_noise
    shared = cache(lambda n_draws: draw(n_draws, np.random.default_rng(0)))
    study_module.draw_noise = lambda n_draws, _rng: shared(n_draws)  # type: ignore[assignment]
    gc.freeze()
    gc.set_threshold(100_000)


def _print(title: str, table: pd.DataFrame, columns: Sequence[str], present: str) -> None:
    """Print the designs that have a value in a column, as Markdown."""
    part = table.reindex(columns=columns).dropna(subset=[present]).astype(object).fillna("-")
    if len(part):
        print(f"{title}:\n")
        print(f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", sep="\n")
        for row in part.astype(str).to_numpy():
            print(f"| {' | '.join(row)} |")
        print()


def _pooled(table: pd.DataFrame) -> pd.DataFrame:
    """Return the row of all designs with equally good stores."""
    null = table.dropna(subset=["any pair shown"])
    row: dict[str, Any] = {"design": "all", "studies": null["studies"].sum(), "SE / SD": "-"}
    return pd.DataFrame([row | {name: Share.pooled(list(null[name])) for name in POOLED}])


def print_tables(rows: Sequence[dict[str, Any]]) -> None:
    """Print all tables of the methods page."""
    table, needed = with_groups(summarised(rows, DESIGNS), rows, SWEEP)
    if "any pair shown" in table:
        everything = pd.concat([table, _pooled(table)], ignore_index=True)
        _print("Equally good stores", everything, EQUAL_COLUMNS, "any pair shown")
    for title, columns, present in (
        ("Stores of different quality", UNEQUAL_COLUMNS, "best ruled out"),
        ("Power", POWER_COLUMNS, "inferior ruled out"),
        ("Learning curves at 25, 50 and 100 % of the groups", CURVE_COLUMNS, "curve covered"),
        ("Split by image minus split by group", GAP_COLUMNS, "split gap"),
        ("Fine-tuning that gains nothing", TUNED_COLUMNS, "gain covered"),
        ("Practical equality of two stores", MARGIN_COLUMNS, "margin"),
        ("How far behind the best, all stores at once", BEHIND_COLUMNS, "bounds held"),
        ("Groups needed, from studies of different size", GROUP_COLUMNS, GROUP_COLUMNS[-1]),
    ):
        _print(title, table, columns, present)
    if needed is not None:
        print(needed)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--share", type=float, default=1.0, help="part of each design's studies")
    parser.add_argument("--studies", type=int, help="studies per design, in place of its own")
    parser.add_argument("--first", type=int, default=0, help="number of the first study")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--only", default="", help="regular expression of designs")
    parser.add_argument("--output", type=Path, help="file to append the studies to, JSON lines")
    parser.add_argument("--table", type=Path, help="summarise such a file")
    arguments = parser.parse_args()
    if not (arguments.output or arguments.table):
        parser.error("give --output, --table or both")
    if arguments.output and (runs := studies_to_run(arguments)):
        with (
            arguments.output.open("a") as file,
            ProcessPoolExecutor(arguments.processes, initializer=_prepare) as pool,
        ):
            for row in pool.map(simulate, *zip(*runs, strict=True)):
                file.write(json.dumps(row) + "\n")
                file.flush()
    path = arguments.table or arguments.output
    print_tables([json.loads(line) for line in path.read_text().splitlines()])


if __name__ == "__main__":
    main()
