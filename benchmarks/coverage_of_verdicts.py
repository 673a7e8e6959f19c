"""Simulate whole studies, and count how often their verdicts are wrong.

Every study goes through the package: splits, probes, halves, tables, comparison and sentences. Only
the embeddings are made up, so that the truth is known: stores of a study are equally good, or one
is better by a known amount of noise.

    python benchmarks/coverage_of_verdicts.py --studies 400 --processes 2 --output coverage.jsonl
    python benchmarks/coverage_of_verdicts.py --table coverage.jsonl
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from transferscope.cards import DatasetCard, Task
from transferscope.compare.study import compare
from transferscope.compare.tables import read_summary
from transferscope.config.probes import HeadSettings, KnnSettings, SplitSettings
from transferscope.config.results import CompareSettings
from transferscope.probes.evaluation import ProbeData, write_halves, write_tables
from transferscope.probes.halves import half_divisions
from transferscope.probes.heads import run_heads
from transferscope.probes.knn import run_knn
from transferscope.probes.splits import make_splits
from transferscope.runtime.arrays import Bools, Floats32

WIDTH = 16
DATASET = "cells"


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

    @property
    def name(self) -> str:
        """Groups / folds x repeats / classes, task, head and what else differs from the usual."""
        text = f"{self.groups}/{self.folds}x{self.repeats}/{self.classes} {self.task.split('-')[0]}"
        parts = [text, self.head, f"{self.stores} stores"]
        parts += [f"J = {self.halves}"] * (self.halves != 8)
        parts += ["one better"] * (self.better != 1)
        parts += ["uneven"] * (self.uneven != 1)
        parts += [f"{len(self.fractions)} fractions"] * (len(self.fractions) > 1)
        parts += ["all in halves"] * (self.halved != "largest")
        return ", ".join(parts)

    @property
    def splits(self) -> SplitSettings:
        """Settings of the splits."""
        return SplitSettings(
            schemes=["group"],
            folds={"group": self.folds},
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
EQUAL_COLUMNS = [
    "design",
    "studies",
    "score covered",
    "difference covered",
    "SE / SD",
    "pairs with p < .05",
    "any pair shown",
    "a given store ruled out",
    "highest covered",
]
UNEQUAL_COLUMNS = [
    "design",
    "studies",
    "score covered",
    "difference covered",
    "best ruled out",
    "true difference",
    "power, one pair",
    "power if the SD were known",
    "power, corrected",
    "inferior ruled out",
]
CURVE_COLUMNS = ["design", "studies", "curve covered", "plateau too early"]
DESIGNS = [
    Design(60, 3, 1, 8),
    Design(60, 3, 1, 8, head="knn"),
    Design(60, 3, 1, 8, stores=2),
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
    Design(60, 3, 3, 8, head="knn", better=0.6),
]


def world(design: Design, study: int) -> tuple[pd.DataFrame, DatasetCard, list[Floats32]]:
    """Return tile table, card and the embeddings of all stores of one study.

    A group has its classes, and a direction of its own that stores see in part: each adds noise per
    group and per tile. Class means are the same in all studies of a design.
    """
    fixed = np.random.default_rng(design.classes)
    means = fixed.normal(size=(design.classes, WIDTH))
    rng = np.random.default_rng([design.groups, design.classes, study])
    labels = _labels(design, rng)
    shared = rng.normal(size=(design.groups, WIDTH))
    group = np.repeat(np.arange(design.groups), design.tiles)
    stores = []
    for store in range(design.stores):
        own = design.noise(store) * rng.normal(size=(design.groups, WIDTH))
        tiles = 0.7 * design.noise(store) * rng.normal(size=(len(group), WIDTH))
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
    table, card, stores = world(design, study)
    splits = make_splits(table, card, design.splits)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        scores, predictions, halves = [], [], []
        divisions, run = None, _probe(design)
        for number, embeddings in enumerate(stores):
            identity = {"dataset": DATASET, "backbone": f"b{number:02}", "channels": "map"}
            data = ProbeData.of(embeddings, table, splits, design.fractions, ["macro_f1"], identity)
            if divisions is None:
                halved = design.fractions if design.halved == "all" else [1.0]
                divisions = half_divisions(data.tiles, design.splits, halved, DATASET)
            scores.append(folder / f"{number}.parquet")
            predictions.append(folder / f"{number}.predictions.parquet")
            halves.append(folder / f"{number}.halves.parquet")
            write_tables(data, scores[-1], predictions[-1], partial(run, data))
            write_halves(data, divisions, halves[-1], run)
        settings = CompareSettings(bootstrap=design.bootstrap)
        summary = folder / "summary.csv", folder / "summary.md"
        compare(scores, predictions, settings, folder / "compare", *summary, halves)
        return {"design": design.name, "study": study, **_found(folder, design)}


def _probe(design: Design) -> Any:
    if design.head == "knn":
        settings = KnnSettings(k=[5])
        return lambda data, sink: run_knn(data, settings, sink=sink)
    heads = HeadSettings(kinds=[design.head], epochs=30, patience=5, batch_size=64, hidden=[32])
    return lambda data, sink: run_heads(data, heads, sink=sink)


def _found(folder: Path, design: Design) -> dict[str, Any]:
    head = f"head == '{design.head}'"
    summary = read_summary(folder / "summary.csv").query(f"{head} and metric == 'macro_f1'")
    full = summary.query("fraction == 1").sort_values("backbone")
    gaps = pd.read_parquet(folder / "compare" / "differences.parquet")
    gaps = gaps.query(f"{head} and kind == 'stores'")
    leaders = pd.read_parquet(folder / "compare" / "leaderboard.parquet")
    chosen = pd.read_parquet(folder / "compare" / "chosen.parquet").iloc[0]
    text = (folder / "summary.md").read_text()
    claims = [
        line
        for line in text.splitlines()
        if re.search(r"shown to be (better|worse)", line) and "floor" not in line
    ]
    return {
        "points": full["mean"].tolist(),
        "intervals": full[["ci_low", "ci_high"]].to_numpy().tolist(),
        "best": leaders[["backbone", "mean", "ci_low", "ci_high"]].iloc[0].tolist(),
        "ruled_out": leaders.loc[~leaders["may_be_best"].astype(bool), "backbone"].tolist(),
        "pairs": gaps[
            [
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
        ]
        .to_numpy()
        .tolist(),
        "curve": [
            [row["backbone"], row["fraction"], row["mean"], row["ci_low"], row["ci_high"]]
            for row in summary.to_dict("records")
        ]
        if len(design.fractions) > 1
        else [],
        "enough": [chosen["backbone"], float(chosen["enough_from"])],
        "claims": len(claims),
    }


def summarised(rows: Iterable[dict[str, Any]], designs: Sequence[Design]) -> pd.DataFrame:
    """Summarise studies, one row per design: shares in percent with Monte-Carlo errors.

    The expected score of a store, and of a difference, is its mean over all studies of the design;
    where stores are equally good, all have the same, and differences are zero.
    """
    by_design: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_design.setdefault(row["design"], []).append(row)
    named = {design.name: design for design in designs}
    return pd.DataFrame([_row(named[name], found) for name, found in by_design.items()])


def _row(design: Design, found: list[dict[str, Any]]) -> dict[str, Any]:
    equal = design.better == 1 and design.uneven == 1
    points = np.array([study["points"] for study in found])
    expected = np.full(design.stores, points.mean()) if equal else points.mean(axis=0)
    bounds = np.array([study["intervals"] for study in found])
    inside = (bounds[..., 0] <= expected) & (expected <= bounds[..., 1])
    index = {f"b{i:02}": i for i in range(design.stores)}
    best = [
        study["best"][2] <= expected[index[study["best"][0]]] <= study["best"][3] for study in found
    ]
    row: dict[str, Any] = {
        "design": design.name,
        "studies": len(found),
        "score covered": _share(inside.mean(axis=1)),
        "highest covered": _share(best),
    }
    covered, single, equivalent, ratios, power = [], [], [], [], []
    for study in found:
        of_study: dict[str, list[float]] = {"covered": [], "single": [], "equal": []}
        for one, other, difference, low, high, p, adjusted, verdict, _, error in study["pairs"]:
            true = expected[index[one]] - expected[index[other]]
            of_study["covered"].append(low <= true <= high)
            of_study["single"].append(p < 0.05)
            of_study["equal"].append(verdict == "equal")
            ratios.append((difference - true, error))
            if design.better != 1 and "b00" in (one, other):
                power.append((p < 0.05, adjusted < 0.05))
        covered.append(np.mean(of_study["covered"]))
        single.append(np.mean(of_study["single"]))
        equivalent.append(np.mean(of_study["equal"]))
    off, errors = np.array(ratios).T
    spread = float(np.sqrt(np.square(off).mean()))
    row |= {
        "difference covered": _share(covered),
        "SE / SD": f"{np.sqrt(np.square(errors).mean()) / spread:.2f}",
        "called equal": _share(equivalent),
    }
    if equal:
        row |= {
            "pairs with p < .05": _share(single),
            "any pair shown": _share([any(p[6] < 0.05 for p in s["pairs"]) for s in found]),
            "a given store ruled out": _share([len(s["ruled_out"]) / design.stores for s in found]),
            "any claim in the text": _share([s["claims"] > 0 for s in found]),
        }
    else:
        true_best = f"b{int(np.argmax(expected)):02}"
        row |= {"best ruled out": _share([true_best in s["ruled_out"] for s in found])}
    if power:
        tested = np.array(power)
        gap = expected[0] - expected[1:].mean()
        row |= {
            "true difference": f"{gap:.3f}",
            "power, one pair": _share(tested[:, 0]),
            "power if the SD were known": f"{100 * norm.sf(1.96 - gap / spread):.0f}",
            "power, corrected": _share(tested[:, 1]),
            "inferior ruled out": _share(
                [len(set(s["ruled_out"]) - {"b00"}) / (design.stores - 1) for s in found]
            ),
        }
    if len(design.fractions) > 1:
        row |= _of_curve(found)
    return row


def _of_curve(found: list[dict[str, Any]]) -> dict[str, Any]:
    curve = pd.DataFrame(
        [(n, *point) for n, study in enumerate(found) for point in study["curve"]],
        columns=["study", "backbone", "fraction", "mean", "low", "high"],
    )
    expected = curve.groupby("fraction")["mean"].mean()
    true = curve["fraction"].map(expected)
    inside = (curve["low"] <= true) & (true <= curve["high"])
    enough = expected.index[expected >= 0.95 * expected.iloc[-1]].min()
    claimed = [study["enough"][1] for study in found]
    return {
        "curve covered": _share(inside.groupby(curve["study"]).mean()),
        "plateau too early": _share([c < enough for c in claimed]),
    }


def _share(values: Iterable[float]) -> str:
    """Return a mean in percent and its Monte-Carlo error; studies are independent."""
    shares = 100 * np.asarray(list(values), dtype=float)
    error = shares.std(ddof=1) / math.sqrt(len(shares)) if len(shares) > 1 else float("nan")
    return f"{shares.mean():.1f} ± {error:.1f}"


def _runs(arguments: argparse.Namespace) -> Iterator[tuple[Design, int]]:
    done = set()
    if arguments.output.exists():
        for line in arguments.output.read_text().splitlines():
            row = json.loads(line)
            done.add((row["design"], row["study"]))
    wanted = [d for d in DESIGNS if re.search(arguments.only, d.name)]
    for study in range(arguments.first, arguments.first + arguments.studies):
        for design in wanted:
            if (design.name, study) not in done:
                yield design, study


def _quiet(design: Design, study: int) -> dict[str, Any]:
    logging.disable(logging.WARNING)
    os.environ["TQDM_DISABLE"] = "1"
    return simulate(design, study)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=20, help="studies per design")
    parser.add_argument("--first", type=int, default=0, help="number of the first study")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--only", default="", help="regular expression of designs")
    parser.add_argument("--output", type=Path, help="file to append the studies to, JSON lines")
    parser.add_argument("--table", type=Path, help="summarise such a file")
    arguments = parser.parse_args()
    if arguments.output:
        with (
            arguments.output.open("a") as file,
            ProcessPoolExecutor(arguments.processes) as pool,
        ):
            runs = list(_runs(arguments))
            for row in pool.map(_quiet, *zip(*runs, strict=True)):
                file.write(json.dumps(row) + "\n")
                file.flush()
    path = arguments.table or arguments.output
    lines = path.read_text().splitlines()
    found = summarised((json.loads(line) for line in lines), DESIGNS)
    for columns, present in (
        (EQUAL_COLUMNS, "any pair shown"),
        (UNEQUAL_COLUMNS, "best ruled out"),
        (CURVE_COLUMNS, "curve covered"),
    ):
        part = found.reindex(columns=columns).dropna(subset=[present]).fillna("-")
        if len(part):
            print(f"| {' | '.join(part.columns)} |", "|---" * len(part.columns) + "|", sep="\n")
            for row in part.astype(str).to_numpy():
                print(f"| {' | '.join(row)} |")
            print()


if __name__ == "__main__":
    main()
