"""Simulate whole studies with batches and sites, and count how often costs of splits are wrong.

Every study goes through the package: splits, heads or k-NN, halves, comparison. Only embeddings are
made up: classes, an identity of each group, and shifts of each class in each batch and each site of
a chosen size. Without shifts, a new batch or site costs nothing.

    python benchmarks/coverage_of_steps.py --studies 200 --output steps.csv
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest import mock

# Read at import.
os.environ["TQDM_DISABLE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

from transferscope.cards import DatasetCard
from transferscope.compare import study as study_module
from transferscope.compare.study import compare
from transferscope.compare.texts import Texts
from transferscope.config.jobs import Comparison
from transferscope.config.probes import HeadSettings, KnnSettings, SplitSettings
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
from transferscope.probes.splits import make_splits
from transferscope.runtime.arrays import Floats32

CLASSES = ["a", "b", "c", "d"]
WIDTH = 16
CLASS_SIZE, GROUP_SIZE = 0.55, 0.6
MEMORY = Path("/dev/shm") if Path("/dev/shm").is_dir() else None


@dataclass(frozen=True)
class Design:
    """A kind of study.

    Parameters
    ----------
    groups, batches, tiles
        Number of groups and of batches, and tiles per group and batch. Even batches are of one
        site, odd ones of the other.
    crossed
        Whether each group is in every batch; else it is in one.
    head
        "logreg" or "knn".
    halves
        Pairs of halves.
    batch, site
        Size of the shifts of each class in each batch and site.
    """

    groups: int = 60
    batches: int = 4
    tiles: int = 3
    crossed: bool = False
    head: str = "logreg"
    halves: int = 4
    batch: float = 0.0
    site: float = 0.0

    @property
    def splits(self) -> SplitSettings:
        """Settings of the splits."""
        return SplitSettings(
            schemes=["group", "image", "batch", "site"],
            folds={"group": 4, "image": 4},
            seeds=[0],
            fractions=[1.0],
            halves=self.halves,
        )


DESIGNS = [
    Design(),
    Design(head="knn"),
    Design(head="knn", crossed=True),
    Design(batch=0.7),
    Design(head="knn", batch=0.7),
    Design(site=1.0),
    Design(head="knn", crossed=True, batch=0.5),
]


def study(design: Design, seed: int, folder: Path) -> pd.DataFrame:
    """Run one study, and return its table of steps.

    Parameters
    ----------
    design
        The kind of study.
    seed
        Of the embeddings.
    folder
        Where its files are written.
    """
    rng = np.random.default_rng(seed)
    table = _tiles(design, rng)
    card = DatasetCard(name="d", sheet="s", channels=["x"], labels=CLASSES, task="single-label")
    splits = make_splits(table, card, design.splits)
    identity = {"dataset": "d", "backbone": "x", "channels": "map"}
    embeddings = _embeddings(design, table, rng)
    data = ProbeData.of(embeddings, table, splits, [1.0], ["macro_f1"], identity)
    divisions = half_divisions(data.tiles, design.splits, [1.0], "d")
    files = [folder / f"x{end}.parquet" for end in ("", ".predictions", ".halves")]
    write_tables(data, files[0], files[1], partial(_run, design.head, data))
    write_halves(data, divisions, files[2], partial(_run, design.head))
    settings = Comparison(bootstrap=300, columns=["batch", "site"])
    written = folder / "compare", folder / "summary.csv", folder / "summary.md"
    compare(files[:1], files[1:2], settings, *written, files[2:])
    return pd.read_parquet(folder / "compare" / "ladder.parquet")


def _tiles(design: Design, rng: np.random.Generator) -> pd.DataFrame:
    own = rng.permutation(design.groups) % design.batches
    rows = []
    for group in range(design.groups):
        for batch in range(design.batches) if design.crossed else [own[group]]:
            for tile in range(design.tiles):
                label = CLASSES[group % len(CLASSES)]
                name = f"g{group:03d}b{batch}t{tile}"
                rows.append((name, f"g{group:03d}", label, f"b{batch}", f"s{batch % 2}"))
    table = pd.DataFrame(rows, columns=["tile_id", "group", "labels", "batch", "site"])
    return table.assign(fov=table["tile_id"])


def _embeddings(design: Design, table: pd.DataFrame, rng: np.random.Generator) -> Floats32:
    label, group, batch, site = (
        pd.factorize(table[name], sort=True)[0] for name in ("labels", "group", "batch", "site")
    )
    found = CLASS_SIZE * rng.normal(size=(len(CLASSES), WIDTH))[label]
    found += GROUP_SIZE * rng.normal(size=(design.groups, WIDTH))[group]
    found += design.batch * rng.normal(size=(design.batches, len(CLASSES), WIDTH))[batch, label]
    found += design.site * rng.normal(size=(2, len(CLASSES), WIDTH))[site, label]
    return np.asarray(found + rng.normal(size=found.shape), dtype=np.float32)


def _run(head: str, data: ProbeData, sink: Sink) -> ResultTables:
    if head == "knn":
        return run_knn(data, KnnSettings(k=[5], exclude="none"), sink=sink)
    return run_heads(data, HeadSettings(kinds=["logreg"]), sink=sink)


def studies(design: Design, seeds: Sequence[int]) -> pd.DataFrame:
    """Run studies of one kind, and return the steps of all, with their seeds.

    Their sentences and confusions, which take most of the time, are not made.
    """
    parts = []
    nothing = pd.DataFrame(columns=study_module.CONFUSION_KEYS)
    with (
        mock.patch.object(study_module, "describe", return_value=Texts("", "")),
        mock.patch.object(study_module, "_confusions", return_value=nothing),
    ):
        for seed in seeds:
            with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
                parts.append(study(design, seed, Path(folder)).assign(seed=seed))
    return pd.concat(parts, ignore_index=True)


def counted(steps: pd.DataFrame) -> pd.DataFrame:
    """Return how often intervals hold zero and costs are shown, per step.

    Parameters
    ----------
    steps
        From `studies`, of one store.
    """
    told = steps.assign(
        covers_zero=(steps["ci_low"] <= 0) & (steps["ci_high"] >= 0),
        shown=steps["verdict"] == "better",
    )
    grouped = told.groupby(["easier", "harder"], sort=False)
    table = grouped[["difference", "standard_error", "covers_zero", "shown"]].mean()
    return table.assign(sd=grouped["difference"].std(), studies=grouped.size()).reset_index()


def main() -> None:
    """Run all designs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="Seed of the first study.")
    parser.add_argument("--design", type=int, help="Number of the only design to run.")
    parser.add_argument("--output", type=Path, default=Path("steps.csv"))
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    parts = []
    chosen = DESIGNS if options.design is None else [DESIGNS[options.design]]
    seeds = range(options.first, options.first + options.studies)
    for design in chosen:
        found = studies(design, seeds).assign(design=str(design))
        print(design, counted(found).round(3).to_string(), sep="\n", flush=True)
        parts.append(found)
        pd.concat(parts).to_csv(options.output, index=False)


if __name__ == "__main__":
    main()
