"""A small dataset of tiles, its embeddings and divisions, as a fine-tuning job reads them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import TypeAdapter

from factories import CLASSES, TINY_NETWORK, field, write_yaml
from training_store import write_tile_store
from transferscope.backbones.embed import embed
from transferscope.cards import BackboneCard, DatasetCard
from transferscope.config.compute import ComputeSettings
from transferscope.config.jobs import FinetuneProbe
from transferscope.config.probes import HeadSettings, SplitSettings
from transferscope.finetuning.run import Tuned, finetune
from transferscope.probes.evaluation import ProbeData
from transferscope.probes.splits import make_splits, write_splits
from transferscope.stores.parquet import write_parquet

DATASET = DatasetCard(
    name="cells",
    sheet="s.tsv",
    channels=["nucleus", "protein"],
    labels=CLASSES,
    task="single-label",
)
COMPUTE = ComputeSettings(device="cpu", threads=1, precision="fp32", batch_size=16)
HEADS = HeadSettings(kinds=["linear"], epochs=8, patience=4, batch_size=8)
FAST = {"epochs": 3, "patience": 3, "batch_size": 8, "augment": False, "ema": 0.5}


@dataclass(frozen=True)
class Job:
    """Files of one dataset and one backbone."""

    folder: Path
    card: BackboneCard
    card_path: Path

    def data(self, channels: str = "map", output: str = "mean") -> ProbeData:
        """Embed the tiles, and return what a probe reads."""
        manifest = self.folder / "embeddings" / f"{channels}.json"
        store = "replicate" if channels in ("mean", "only-protein") else channels
        source = manifest.with_name(f"{store}.json")
        if not source.exists():
            tiles = self.folder / "tiles.json"
            embed(tiles, self.card, store, source, COMPUTE, card_path=self.card_path)
        return ProbeData.read(
            source,
            f"{self.card.name}@{output}",
            channels,
            self.folder / "tiles.parquet",
            self.folder / "splits.parquet",
            DATASET,
            [0.5, 1.0],
            ["macro_f1"],
        )

    def run(self, data: ProbeData, mode: str, name: str = "out", **settings: object) -> Path:
        """Run a fine-tuning job; return its folder."""
        out = self.folder / name
        tuned = Tuned(self.card, self.card_path, mode, self.folder / "tiles.json")
        probe = FinetuneProbe(
            fractions=[0.5, 1.0],
            metrics=["macro_f1"],
            settings={**FAST, **settings},
            heads=HEADS,
        )
        tables = (out / f"{what}.parquet" for what in ("scores", "predictions", "losses"))
        finetune(tuned, data, probe, COMPUTE, *tables)
        return out


def write_job(folder: Path, **network: object) -> Job:
    """Write tiles of three classes, their table and divisions, and a backbone card."""
    rng = np.random.default_rng(0)
    labels = [CLASSES[i // 2 % len(CLASSES)] for i in range(36)]
    images = np.stack([field(rng, label, size=32) for label in labels])
    write_tile_store(folder / "tiles.json", images=images)
    ids = [f"t{i:02d}" for i in range(len(labels))]
    groups = [f"g{i // 2:02d}" for i in range(len(labels))]
    table = pd.DataFrame({"tile_id": ids, "group": groups, "labels": labels, "fov": ids})
    write_parquet(table, folder / "tiles.parquet", {})
    chosen = SplitSettings(schemes=["group"], folds={"group": 2}, seeds=[0], validation=0.3)
    write_splits(make_splits(table, DATASET, chosen), folder / "splits.parquet")
    plain = {"name": "tiny", **TINY_NETWORK, **network}
    card = TypeAdapter(BackboneCard).validate_python(plain)
    return Job(folder, card, write_yaml(folder / "tiny.yaml", plain))
