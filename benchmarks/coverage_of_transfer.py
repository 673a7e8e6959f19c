"""Simulate studies of two datasets, and count how often scores on the other one are misjudged.

Every study goes through the package: splits, probes trained on one dataset and tested on the other,
halves, comparison. Only embeddings are made up: classes, an identity of each group, and for the
second dataset a shift of each class of a chosen size. Two equally good stores differ in noise only.
The true score is that of many studies. Without a shift, heads of the first dataset cost the second
nothing where both have as many groups.

    python benchmarks/coverage_of_transfer.py --studies 100 --output transfer.csv
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# Read at import.
os.environ["TQDM_DISABLE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

from transferscope.cards import DatasetCard
from transferscope.compare.contests import Rules
from transferscope.compare.transfer import TransferPaths, compare_transfers
from transferscope.compare.uncertainty import draw_noise
from transferscope.config.probes import HeadSettings, KnnSettings, SplitSettings
from transferscope.config.results import CompareSettings
from transferscope.config.transfer import SharedClass
from transferscope.probes.evaluation import ProbeData
from transferscope.probes.registry import HEADS, KNN
from transferscope.probes.splits import make_splits
from transferscope.probes.transfer import transfer
from transferscope.probes.written import ScoreFiles

CLASSES = ["a", "b", "c", "d"]
SHARED = [SharedClass(name=name, source=[name], target=[name]) for name in CLASSES]
WIDTH = 16
CLASS_SIZE, GROUP_SIZE, NOISE = 0.55, 0.6, 1.0
STORES = ("one", "two")
CONFIDENCE, DRAWS = 0.95, 300
MEMORY = Path("/dev/shm") if Path("/dev/shm").is_dir() else None


@dataclass(frozen=True)
class Design:
    """A kind of study.

    Parameters
    ----------
    source, target, tiles
        Groups of each dataset, and tiles per group.
    head
        "logreg" or "knn".
    shift
        Size of the shift of each class in the second dataset.
    few_shot
        Labelled groups per class.
    """

    source: int = 60
    target: int = 60
    tiles: int = 3
    head: str = "logreg"
    shift: float = 0.0
    few_shot: int = 3

    @property
    def splits(self) -> SplitSettings:
        """Settings of the splits."""
        return SplitSettings(
            schemes=["group"], folds={"group": 4}, seeds=[0], fractions=[1.0], halves=4
        )


DESIGNS = [
    Design(),
    Design(head="knn"),
    Design(source=24, target=120),
    Design(source=120, target=24),
    Design(shift=0.7),
    Design(head="knn", shift=0.7),
]


def study(design: Design, seed: int, folder: Path) -> dict[str, pd.DataFrame]:
    """Run one study in both directions, and return its tables by name.

    Parameters
    ----------
    design
        The kind of study.
    seed
        Of the embeddings; the classes, and their shifts, are the same in all studies of a design.
    folder
        Where its files are written.
    """
    rng = np.random.default_rng(seed)
    made = {
        name: _dataset(name, n_groups, design, rng)
        for name, n_groups in (("first", design.source), ("second", design.target))
    }
    probe = (
        {KNN: KnnSettings(k=[5], exclude="none")}
        if design.head == "knn"
        else {HEADS: HeadSettings(kinds=["logreg"])}
    )
    paths = {}
    for source, target in (("first", "second"), ("second", "first")):
        files = []
        for store in STORES:
            ends = ("", ".predictions", ".halves")
            names = [folder / f"{source}-{store}{end}.parquet" for end in ends]
            files.append(ScoreFiles(*names))
            both = made[source][store], made[target][store]
            transfer(*both, SHARED, [design.few_shot], design.splits, probe, files[-1])
        paths[source] = TransferPaths(
            *(
                [getattr(each, kind) for each in files]
                for kind in ("scores", "predictions", "halves")
            )
        )
    settings = CompareSettings(bootstrap=DRAWS)
    rules = Rules(CONFIDENCE, settings.margin, draw_noise(DRAWS, np.random.default_rng(seed)))
    return vars(compare_transfers(paths, settings, rules))


def _dataset(
    name: str, n_groups: int, design: Design, rng: np.random.Generator
) -> dict[str, ProbeData]:
    """Return the data of a dataset in both stores."""
    group = np.repeat(np.arange(n_groups), design.tiles)
    label = group % len(CLASSES)
    table = pd.DataFrame(
        {
            "tile_id": [f"{name}{i:04d}" for i in range(len(group))],
            "group": [f"{name}-g{i:03d}" for i in group],
            "labels": [CLASSES[i] for i in label],
        }
    )
    table = table.assign(fov=table["tile_id"])
    card = DatasetCard(name=name, sheet="s", channels=["x"], labels=CLASSES, task="single-label")
    splits = make_splits(table, card, design.splits)
    fixed = np.random.default_rng(0)
    centres = CLASS_SIZE * fixed.normal(size=(len(CLASSES), WIDTH))
    if name == "second":
        centres = centres + design.shift * fixed.normal(size=centres.shape)
    signal = centres[label] + GROUP_SIZE * rng.normal(size=(n_groups, WIDTH))[group]
    found = {}
    for store in STORES:
        # Equally good: the same signal in other directions, with noise of its own.
        turned = signal @ np.linalg.qr(np.random.default_rng(7).normal(size=(WIDTH, WIDTH)))[0]
        values = (turned if store == "two" else signal) + NOISE * rng.normal(size=signal.shape)
        identity = {"dataset": name, "backbone": store, "channels": "map"}
        found[store] = ProbeData.of(values, table, splits, [1.0], ["macro_f1"], identity)
    return found


def studies(design: Design, seeds: Sequence[int]) -> dict[str, pd.DataFrame]:
    """Run studies of one kind, and return the tables of all, with their seeds."""
    parts: dict[str, list[pd.DataFrame]] = {}
    for seed in seeds:
        with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
            for name, table in study(design, seed, Path(folder)).items():
                parts.setdefault(name, []).append(table.assign(seed=seed))
    return {name: pd.concat(tables, ignore_index=True) for name, tables in parts.items()}


def counted(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Return how often intervals cover, and how often differences of equal things are claimed.

    Parameters
    ----------
    tables
        From `studies`.

    Returns
    -------
    pandas.DataFrame
        One row per quantity, from the first dataset to the second: `covered` is the share of
        intervals with the mean over all studies (each is for both directions at once, and scores
        for both stores), `claimed` that of studies with a verdict for a difference; `error`, the
        Monte-Carlo standard error of `covered` at its nominal value, is of one store.
    """
    rows = []
    scores = tables["transfer"].query("source == 'first'")
    for scheme, own in scores.groupby("scheme"):
        rows.append(_row(f"score, {scheme}", own.rename(columns={"mean": "value"})))
    costs = tables["transfer_costs"].query("source == 'first'")
    for (first, second), own in costs.groupby(["better_with", "than"]):
        rows.append(_row(f"{first} - {second}", own.rename(columns={"difference": "value"})))
    pairs = tables["transfer_pairs"].query("source == 'first'")
    told = pairs.rename(columns={"difference": "value"}).assign(
        backbone="pair", verdict=pairs["verdict"]
    )
    rows.append(_row("stores, change of their difference", told))
    outside = told.assign(value=pairs["outside"], verdict=pairs["outside_verdict"])
    rows.append({**_row("stores, zero-shot", outside), "covered": np.nan})
    wrong = ~tables["transfer_ranks"].query("source == 'first'")["best_inside_may_be_best"]
    rows.append({"quantity": "best inside excluded outside", "claimed": wrong.mean()})
    return pd.DataFrame(rows)


def _row(name: str, table: pd.DataFrame) -> dict[str, object]:
    centred = table.groupby("backbone")["value"].transform("mean")
    covered = (table["ci_low"] <= centred) & (table["ci_high"] >= centred)
    n_studies = table["seed"].nunique()
    found: dict[str, object] = {
        "quantity": name,
        "value": table["value"].mean(),
        "sd": table.groupby("backbone")["value"].std().mean(),
        "covered": covered.mean(),
        "error": np.sqrt(CONFIDENCE * (1 - CONFIDENCE) / n_studies),
        "studies": n_studies,
    }
    if "standard_error" in table:
        found["standard_error"] = table["standard_error"].mean()
    if "verdict" in table:
        is_claimed = table["verdict"].isin(["better", "worse"])
        found["claimed"] = is_claimed.groupby(table["seed"]).any().mean()
    return found


def main() -> None:
    """Run all designs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--studies", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="Seed of the first study.")
    parser.add_argument("--design", type=int, help="Number of the only design to run.")
    parser.add_argument("--output", type=Path, default=Path("transfer.csv"))
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    chosen = DESIGNS if options.design is None else [DESIGNS[options.design]]
    seeds = range(options.first, options.first + options.studies)
    parts = []
    for design in chosen:
        found = counted(studies(design, seeds)).assign(design=str(design))
        print(design, found.drop(columns="design").round(3).to_string(), sep="\n", flush=True)
        parts.append(found)
        pd.concat(parts).to_csv(options.output, index=False)


if __name__ == "__main__":
    main()
