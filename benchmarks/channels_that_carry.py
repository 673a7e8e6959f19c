"""Simulate studies in which it is known which channel carries each class, and ablate channels.

The fields are those of the package's simulator: nuclei and three reporters in the same cells. Each
reporter sits in one of three places of its own, drawn per group, so that nine classes hang on three
channels, and none on the nuclei. All goes through the package: tile stores, embeddings of untouched
and ablated tiles, heads, halves, comparison. Counted is how often the channel with the largest
loss is the right one, how often it is said to carry the class, and how often a wrong one is.

    python benchmarks/channels_that_carry.py --studies 60 --output carried.csv
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

# Read at import.
os.environ["TQDM_DISABLE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

from transferscope.backbones.ablated_tiles import TileChange
from transferscope.backbones.embed import embed
from transferscope.cards import BackboneCard, DatasetCard, TimmCard
from transferscope.cards.backbone import HandcraftedCard
from transferscope.compare.ablation import compare_ablations
from transferscope.compare.contests import Rules
from transferscope.compare.drawn_scores import ScorePaths
from transferscope.compare.uncertainty import draw_noise
from transferscope.config.ablation import KINDS, Ablation, AblationKind
from transferscope.config.compute import ComputeSettings
from transferscope.config.probes import HeadSettings, SplitSettings
from transferscope.config.results import CompareSettings
from transferscope.probes.ablation import ablate
from transferscope.probes.evaluation import ProbeData
from transferscope.probes.registry import HEADS
from transferscope.probes.splits import make_splits
from transferscope.probes.written import ScoreFiles
from transferscope.simulate import DOMAINS, draw_proteins, simulate_fov
from transferscope.stores.block_store import BlockStore
from transferscope.stores.embedding_store import EmbeddingStore
from transferscope.stores.manifest import TILES_FORMAT

PLACES = {
    "first": ("golgi", "er", "nucleolus"),
    "second": ("mitochondria", "membrane", "nucleoplasm"),
    "third": ("vesicles", "cytoplasmic", "nuclear_membrane"),
}
CHANNELS = ["nucleus", *PLACES]
CARRIED_BY = {place: channel for channel, places in PLACES.items() for place in places}
SIZE, GROUPS, TILES = 64, 48, 2
DRAWS = 300
COMPUTE = ComputeSettings(device="cpu", precision="fp32", threads=1)
SPLITS = SplitSettings(schemes=["group"], folds={"group": 4}, seeds=[0], fractions=[1.0], halves=2)
MEMORY = Path("/dev/shm") if Path("/dev/shm").is_dir() else None


@dataclass(frozen=True)
class Features:
    """A backbone and its channel strategy."""

    card: BackboneCard
    strategy: str


FEATURES = [
    Features(HandcraftedCard(source="handcrafted", name="handcrafted", input_size=64), "features"),
    Features(
        TimmCard(
            source="timm",
            name="random",
            architecture="resnet18",
            pretrained=False,
            input_size=SIZE,
            slots=[{"name": name} for name in CHANNELS],
            normalization={"mean": [0.1], "std": [0.15]},
            outputs=[{"name": "pooled", "pooling": "mean"}],
        ),
        "map",
    ),
]


def study(
    seed: int, folder: Path, kinds: Sequence[AblationKind], names: Sequence[str]
) -> pd.DataFrame:
    """Run one study, and return the channel of each class with some kinds of features."""
    table, manifest = _tiles(seed, folder)
    labels = sorted(CARRIED_BY)
    card = DatasetCard(name="cells", sheet="s", channels=CHANNELS, labels=labels)
    splits = make_splits(table, card, SPLITS)
    groups = table["group"].tolist()
    files = []
    for features in (one for one in FEATURES if one.card.name in names):
        views = {}
        for change in (
            None,
            *(TileChange(Ablation(kind, c), groups, seed) for kind in kinds for c in CHANNELS),
        ):
            name = "untouched" if change is None else change.ablation.name
            path = folder / features.card.name / f"{name}.json"
            path.parent.mkdir(exist_ok=True)
            embed(manifest, features.card, features.strategy, path, COMPUTE, change=change)
            views[name] = EmbeddingStore(path).read()
        untouched = views.pop("untouched")
        named = {
            "dataset": "cells",
            "backbone": features.card.name,
            "channels": features.strategy,
        }
        data = ProbeData.of(untouched, table, splits, [1.0], ["macro_f1", "class_f1"], named)
        ends = ("", ".predictions", ".halves")
        files.append(ScoreFiles(*(folder / f"{features.card.name}{e}.parquet" for e in ends)))
        ablate(data, views, SPLITS, {HEADS: HeadSettings(kinds=["logreg"])}, files[-1])
    paths = ScorePaths(
        *([getattr(each, kind) for each in files] for kind in ("scores", "predictions", "halves"))
    )
    settings = CompareSettings(bootstrap=DRAWS)
    noise = draw_noise(DRAWS, np.random.default_rng(seed))
    rules = Rules(settings.confidence, settings.margin, noise)
    found = compare_ablations(paths, settings, rules)
    overall = found.ablation[found.ablation["class"] != ""]
    whole = overall.groupby(["backbone", "kind", "class"])["first_mean"].first().reset_index()
    carriers = found.ablation_carriers.merge(whole.rename(columns={"first_mean": "f1"}))
    return carriers.assign(
        study=seed, right=carriers["channel"] == carriers["class"].map(CARRIED_BY)
    )


def _tiles(seed: int, folder: Path) -> tuple[pd.DataFrame, Path]:
    """Simulate fields; return their tile table and the manifest of their store."""
    domain, rng = DOMAINS["opencell"], np.random.default_rng(seed)
    images, rows = [], []
    for number, protein in enumerate(draw_proteins(domain, GROUPS, seed)):
        places = {channel: str(rng.choice(of_channel)) for channel, of_channel in PLACES.items()}
        for index in range(TILES):
            planes = []
            for place in places.values():
                # The same cells: only the place of the reporter differs.
                one = replace(protein, components=((place, 1.0),), labels=(place,))
                image, _ = simulate_fov(domain, one, index, SIZE, seed)
                planes += [image[0], image[1]] if not planes else [image[1]]
            images.append(np.stack(planes))
            rows.append(
                {
                    "tile_id": f"t{number:02}-{index}",
                    "group": protein.name,
                    "labels": ";".join(sorted(places.values())),
                    "fov": f"t{number:02}-{index}",
                }
            )
    stacked = np.stack(images)
    high = np.quantile(stacked, 0.999, axis=(0, 2, 3)).tolist()
    store = BlockStore.open_or_create(
        folder / "cells.zarr",
        format=TILES_FORMAT,
        array="images",
        fingerprint=str(seed),
        shape=stacked.shape,
        dtype="uint16",
        block_rows=32,
        ids=[row["tile_id"] for row in rows],
        attributes={
            "channels": CHANNELS,
            "intensity_range": [[domain.optics.offset, value] for value in high],
        },
    )
    for block, start, stop in store.blocks():
        store.write_block(block, stacked[start:stop])
    store.finish(folder / "cells.json")
    return pd.DataFrame(rows), folder / "cells.json"


def counted(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the shares of classes of which the channel is right, is told, and is told wrongly."""
    told = rows.assign(
        told_right=rows["carries"].astype(bool) & rows["right"],
        told_wrong=rows["carries"].astype(bool) & ~rows["right"],
    )
    grouped = told.groupby(["backbone", "kind"])
    return grouped.agg(
        classes=("right", "size"),
        f1=("f1", "mean"),
        right=("right", "mean"),
        told_right=("told_right", "mean"),
        told_wrong=("told_wrong", "mean"),
    )


def main() -> None:
    """Run studies, and write one row per class."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="seed of the first")
    parser.add_argument("--kinds", nargs="+", default=["permuted"], choices=KINDS)
    names = [features.card.name for features in FEATURES]
    parser.add_argument("--features", nargs="+", default=names[:1], choices=names)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    found: list[pd.DataFrame] = []
    for seed in range(options.first, options.first + options.studies):
        with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
            found.append(study(seed, Path(folder), options.kinds, options.features))
        rows = pd.concat(found, ignore_index=True)
        rows.to_csv(options.output, index=False)
        print(f"{len(found)} studies", counted(rows).round(3).to_string(), sep="\n", flush=True)


if __name__ == "__main__":
    main()
