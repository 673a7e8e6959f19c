"""A small dataset of tiles with masks, its divisions and a backbone, for segmentation jobs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import TypeAdapter

from factories import CLASSES, TINY_NETWORK, write_yaml
from target_stores import write_targets
from training_store import write_tile_store
from transferscope.cards import BackboneCard, DatasetCard
from transferscope.config.compute import ComputeSettings
from transferscope.config.jobs import SegmentationProbe
from transferscope.config.probes import SplitSettings
from transferscope.probes.splits import make_splits, write_splits
from transferscope.segmentation.elsewhere import OtherFiles
from transferscope.segmentation.pictures import Picture
from transferscope.segmentation.run import MaskFiles, segment
from transferscope.stores.parquet import write_parquet

DATASET = DatasetCard(
    name="cells",
    sheet="s.tsv",
    channels=["nucleus", "protein"],
    labels=CLASSES[:2],
    task="single-label",
)
COMPUTE = ComputeSettings(device="cpu", threads=1, precision="fp32", batch_size=16)
FAST = {"steps": 80, "check_every": 10, "batch_size": 4, "size": 16}
SIZE, GROUPS, PER_GROUP = 32, 12, 2


def squares(seed: int = 0, n_tiles: int = GROUPS * PER_GROUP) -> tuple[np.ndarray, np.ndarray]:
    """Return tiles [N, 2, 32, 32], in which a square is bright, and where it is, uint32."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((n_tiles, SIZE, SIZE), np.uint32)
    for mask in masks:
        top, left = rng.integers(0, SIZE // 2, 2)
        mask[top : top + 16, left : left + 16] = 1
    images = rng.integers(0, 400, (n_tiles, 2, SIZE, SIZE)).astype(np.uint16)
    return images + (2500 * masks[:, None]).astype(np.uint16), masks


@dataclass(frozen=True)
class MaskJob:
    """Files of one dataset and one backbone."""

    folder: Path
    card: Any
    card_path: Path
    files: MaskFiles
    pictures: list[Picture] = field(default_factory=list)

    @property
    def elsewhere(self) -> Path:
        """Where scores of tiles of other datasets are."""
        return self.folder / "out" / "map.elsewhere.parquet"

    @property
    def predicted(self) -> Path:
        """Manifest of the store of predicted masks."""
        return self.folder / "out" / "map.json"

    @property
    def as_other(self) -> OtherFiles:
        """The dataset, as one to test the decoders of another on."""
        return OtherFiles(self.files.tiles, self.files.targets, self.files.table)

    def run(
        self,
        channels: str = "map",
        fractions: tuple[float, ...] = (0.5, 1.0),
        others: Sequence[OtherFiles] = (),
        **settings: Any,
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Run a job; return its scores and those of the tiles. Pictures are in `pictures`."""
        probe = SegmentationProbe(settings={**FAST, **settings}, fractions=list(fractions))
        out = self.folder / "out" / "map.parquet", self.folder / "out" / "map.tiles.parquet"
        places = *out, self.elsewhere if others else None
        given = self.card, self.card_path, channels, self.files, probe, COMPUTE, *places
        masks = self.predicted if probe.settings.keep_masks else None
        self.pictures[:] = segment(*given, others=others, masks=masks)
        scores, images = map(pd.read_parquet, out)
        return scores, images


def write_mask_job(
    folder: Path,
    images: np.ndarray,
    masks: np.ndarray,
    *,
    kind: str = "binary",
    classes: tuple[str, ...] = ("object",),
    without_mask: tuple[tuple[int, int], ...] = (),
    network: dict[str, Any] | None = None,
    dataset: str = "cells",
    group: str = "g",
) -> MaskJob:
    """Write tiles, masks, table and divisions of 12 groups of two tiles, and a backbone card."""
    write_tile_store(folder / "tiles.json", images=images)
    ids = [f"t{i:02d}" for i in range(len(images))]
    targets = folder / f"{dataset}.json"
    write_targets(targets, masks, kind, classes, ids=ids, without_mask=without_mask)
    groups = [f"{group}{i // PER_GROUP:02d}" for i in range(len(images))]
    labels = [CLASSES[i // PER_GROUP % 2] for i in range(len(images))]
    table = pd.DataFrame({"tile_id": ids, "group": groups, "labels": labels, "fov": ids})
    write_parquet(table, folder / "tiles.parquet", {})
    chosen = SplitSettings(schemes=["group"], folds={"group": 2}, seeds=[0], validation=0.3)
    write_splits(make_splits(table, DATASET, chosen), folder / "splits.parquet")
    small = {"arguments": {**TINY_NETWORK["arguments"], "patch_size": 8}}  # type: ignore[dict-item]
    plain = {"name": "tiny", **TINY_NETWORK, **small, **(network or {})}
    card = TypeAdapter(BackboneCard).validate_python(plain)
    files = MaskFiles(
        dataset,
        folder / "tiles.json",
        targets,
        folder / "tiles.parquet",
        folder / "splits.parquet",
    )
    return MaskJob(folder, card, write_yaml(folder / "tiny.yaml", plain), files)
