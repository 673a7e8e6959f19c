"""Fine-tuning from the tile store, against the loop that most papers' code has.

Both train the same network and head by the same loss on the same tiles with the same optimiser. The
plain way is fp32, with a loader whose workers read and augment tile by tile, and without the moving
average of the weights that ours keeps beside.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results import Part, Row
from synthetic import CLASSES
from timing import Timed
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from training import (
    BATCH,
    CHANNELS,
    FIELDS,
    SIZE,
    STEPS,
    THREADS,
    compared,
    our_fabric,
    plain_batches,
    timed_training,
    training_source,
)
from transferscope.backbones.precision import Precision
from transferscope.cards import TimmCard
from transferscope.config.modes import FULL
from transferscope.config.probes import FinetuneSettings
from transferscope.finetuning.layers import prepare
from transferscope.finetuning.network import Classifier, TileInput, TunedNetwork, open_backbone
from transferscope.finetuning.task import FinetuneTask, LabelledRows
from transferscope.probes.evaluation import Division
from transferscope.probes.head_batch import HeadBatch, Scalers
from transferscope.stores.tile_store import TileStore
from transferscope.training.tiles import TrainingTiles

CARD = {
    "source": "timm",
    "name": "bench",
    "architecture": "vit_tiny_patch16_224",
    "pretrained": False,
    "slots": [{"name": channel} for channel in CHANNELS],
    "input_size": SIZE,
    "outputs": [{"name": "cls"}],
}
SETTINGS = FinetuneSettings(batch_size=BATCH)
MODES = (FULL, "lora")
WIDTH = 192
LABELS = np.eye(len(CLASSES), dtype=np.bool_)[np.arange(FIELDS) % len(CLASSES)]


def run(folder: Path) -> Part:
    torch.set_num_threads(THREADS)
    tiles = training_source(folder).tiles
    title = (
        f"Fine-tuning ({FIELDS} tiles of 2 x 256 x 256 uint16; ViT-Ti/16, {SIZE} px, "
        f"batch {BATCH}, {THREADS} threads)"
    )
    return Part(title, [row for mode in MODES for row in _rows(mode, tiles, folder)])


def _rows(mode: str, tiles: Path, folder: Path) -> list[Row]:
    return compared(
        mode,
        lambda: _plain(mode, tiles),
        lambda precision, waits: _ours(mode, tiles, folder, precision, waits),
    )


def _network(mode: str, tiles: Path, precision: Precision) -> TunedNetwork:
    """Return a network with a fresh head, of which those weights are trained that a mode trains."""
    device = torch.device("cpu")
    card = TimmCard.model_validate(CARD)
    backbone, source = open_backbone(
        TileStore(tiles), card, tiles, "map", None, precision, SETTINGS.augmentation, device
    )
    prepare(backbone.network, mode, rank=SETTINGS.lora_rank, alpha=SETTINGS.lora_alpha, seed=0)
    head = HeadBatch(
        Scalers(torch.zeros(1, WIDTH), torch.ones(1, WIDTH)),
        [torch.zeros(1, WIDTH, len(CLASSES))],
        [torch.zeros(1, 1, len(CLASSES))],
    )
    return TunedNetwork(backbone, Classifier(head), source)


def _ours(mode: str, tiles: Path, folder: Path, precision: Precision, waits: list[float]) -> Timed:
    """Train some steps as the step `finetune` does."""
    rows, none = np.arange(FIELDS), np.arange(0)
    division = Division("group", 0, 0, 1.0, rows, none, none, np.ones(FIELDS))
    labelled = LabelledRows(TrainingTiles.open(tiles, rows), LABELS, is_multi_label=True)
    task = FinetuneTask(_network(mode, tiles, precision), labelled, division, SETTINGS, 0)
    timed = timed_training(task, task.optimiser, our_fabric(precision), folder, waits)
    task.close()
    return timed


def _plain(mode: str, tiles: Path) -> Timed:
    """Train as many steps the plain way; the start of the loader's workers is not timed."""
    network = _network(mode, tiles, "fp32")
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=SETTINGS.learning_rate)
    batches = plain_batches(PlainLabelledTiles(tiles, network.source))
    images, targets = next(batches)
    start = time.perf_counter()
    for _ in range(STEPS):
        loss = functional.binary_cross_entropy_with_logits(network(images), targets)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        images, targets = next(batches)
    return Timed([time.perf_counter() - start])


@dataclass
class PlainLabelledTiles(Dataset[Any]):
    """Tiles read and augmented one by one, each with its labels."""

    manifest: Path
    source: TileInput

    def __post_init__(self) -> None:
        self.store = TileStore(self.manifest)

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        raw = torch.from_numpy(self.store.read(row, row + 1))
        image = self.source.training(raw, torch.Generator().manual_seed(row))[0]
        return image, torch.from_numpy(LABELS[row]).float()
