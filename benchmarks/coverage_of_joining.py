"""Simulate studies that join two stores, and count how often a gain is told.

One store knows four classes; the other one is its own copy, the same rotated, the same with more
noise, noise alone, noise three times as wide, or knows two of the classes where the first one knows
the other two. Only the last joined store has a gain to be told. All of it goes through the package:
folds, heads, halves, the choice on validation tiles, and the comparison.

    python benchmarks/coverage_of_joining.py --studies 300
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from transferscope.cards import DatasetCard
from transferscope.compare.contests import Rules
from transferscope.compare.drawn_scores import ScorePaths
from transferscope.compare.joining import compare_joined
from transferscope.compare.uncertainty import draw_noise
from transferscope.config.joining import CHOSEN
from transferscope.config.probes import HeadSettings, KnnSettings, SplitSettings
from transferscope.config.results import CompareSettings
from transferscope.probes.evaluation import ProbeData
from transferscope.probes.joining import join
from transferscope.probes.registry import HEADS, KNN
from transferscope.probes.splits import make_splits
from transferscope.probes.written import ScoreFiles
from transferscope.runtime.arrays import Floats
from transferscope.runtime.progress import progress_bar

CLASSES = ["one", "two", "three", "four"]
GROUPS, TILES, WIDTH, SIGNAL, STRONG, DRAWS = 60, 2, 16, 0.7, 1.4, 200
SPLITS = SplitSettings(schemes=["group"], folds={"group": 3}, seeds=[0], fractions=[1.0], halves=2)
WORLDS = ("copy", "rotated", "degraded", "noise", "wide noise", "wrong labels", "planted")
# In this world a fifth of the labels is wrong, and the heads follow the training labels too far.
WRONG, SHARE_WRONG, WIDER = "wrong labels", 0.2, 4
HEAD_KINDS = ("logreg", "linear", "mlp", "knn")


def stores(world: str, rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """Return two stores [N, D] and the labels [N, C] of a study."""
    group = np.repeat(np.arange(GROUPS), TILES)
    has = rng.random((GROUPS, len(CLASSES))) < 0.4
    width = WIDER * WIDTH if world == WRONG else WIDTH

    def noise(columns: int) -> Floats:
        own, shared = rng.normal(size=(len(group), columns)), rng.normal(size=(GROUPS, columns))
        found: Floats = (own + shared[group]) / np.sqrt(2)
        return found

    def knowing(classes: list[int], signal: float = SIGNAL) -> Floats:
        directions = rng.normal(size=(len(classes), width)) * signal
        found: Floats = has[group][:, classes] @ directions + noise(width)
        return found

    first = knowing([0, 1], STRONG) if world == "planted" else knowing([0, 1, 2, 3])
    rotation = np.linalg.qr(rng.normal(size=(width, width)))[0]
    second = {
        "copy": lambda: first,
        "rotated": lambda: first @ rotation,
        "degraded": lambda: first + 0.7 * rng.normal(size=first.shape),
        "noise": lambda: noise(width),
        "wide noise": lambda: noise(3 * width),
        WRONG: lambda: noise(3 * width),
        "planted": lambda: knowing([2, 3], STRONG),
    }[world]()
    wrong = rng.random(has.shape) < SHARE_WRONG * (world == WRONG)
    return first, second, (has ^ wrong)[group]


def study(world: str, seed: int, head: str, folder: Path) -> pd.DataFrame:
    """Return the table of joined stores of one study."""
    first, second, labels = stores(world, np.random.default_rng([WORLDS.index(world), seed]))
    names = [f"t{row}" for row in range(len(labels))]
    table = pd.DataFrame({"tile_id": names, "fov": names})
    table["group"] = [f"g{row // TILES:02}" for row in range(len(labels))]
    table["labels"] = [
        ";".join(name for name, is_in in zip(CLASSES, row, strict=True) if is_in) for row in labels
    ]
    card = DatasetCard(name=f"s{seed}", sheet="s", channels=["dna"], labels=CLASSES)
    splits = make_splits(table, card, SPLITS)
    parts = [
        ProbeData.of(
            store.astype(np.float32),
            table,
            splits,
            [1.0],
            ["macro_f1"],
            {"dataset": card.name, "backbone": name, "channels": "map"},
        )
        for name, store in (("first", first), ("second", second))
    ]
    files = ScoreFiles(*(folder / f"s{end}.parquet" for end in ("", ".predictions", ".halves")))
    probes = {HEADS: HeadSettings(kinds=[head], epochs=30, hidden=[16])}
    if head == "knn":
        probes = {KNN: KnnSettings(k=[5])}
    join(parts, "first,second", SPLITS, probes, "macro_f1", files)
    rules = Rules(0.95, 0.02, draw_noise(DRAWS, np.random.default_rng(seed)))
    paths = ScorePaths(*([path] for path in vars(files).values()))
    return compare_joined(paths, CompareSettings(bootstrap=DRAWS), rules)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=300)
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=WORLDS)
    parser.add_argument("--head", choices=HEAD_KINDS, default="logreg")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "world          studies  score  gain over chosen  over first  over second  told (+- mc)"
        "  better than chosen  interval holds 0"
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        progress_bar("Studies", len(chosen.worlds) * chosen.studies, "studies") as bar,
    ):
        for world in chosen.worlds:
            found = []
            for seed in range(chosen.studies):
                table = study(world, seed, chosen.head, Path(folder))
                found.append(table.set_index("against"))
                bar.update()
            gains = {
                name: np.mean([t.at[name, "difference"] for t in found])
                for name in (CHOSEN, "part-1", "part-2")
            }
            told = np.mean([t.at[CHOSEN, "gain"] for t in found])
            alone = np.mean([t.at[CHOSEN, "verdict"] == "better" for t in found])
            score = np.mean([t.at[CHOSEN, "first_mean"] for t in found])
            held = np.mean([t.at[CHOSEN, "ci_low"] <= 0 <= t.at[CHOSEN, "ci_high"] for t in found])
            error = np.sqrt(told * (1 - told) / len(found))
            print(
                f"{world:13}  {len(found):7}  {score:.3f}  {gains[CHOSEN]:+16.4f}  "
                f"{gains['part-1']:+10.4f}  {gains['part-2']:+11.4f}  {told:.3f} +- {error:.3f}"
                f"  {alone:18.3f}  {held:16.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
