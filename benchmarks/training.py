"""Pretraining from the tile store, against the loop that most papers' code has.

Both train the same network by the same loss on the same tiles with the same optimiser. The plain
way is fp32, with a loader whose workers read tile by tile from the store and make each view of each
tile by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from results import Part, Row
from synthetic import CLASSES, write_fields, write_sheet
from timing import Timed, in_turns, ratio
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from transferscope.backbones.precision import Precision, choose_precision
from transferscope.cards import DatasetCard, TrainCard
from transferscope.cards.methods import METHODS
from transferscope.config.compute import ComputeSettings
from transferscope.config.jobs import Pretraining, TrainingSource
from transferscope.config.training import OptimiserSettings
from transferscope.pretraining.data import Batches, TrainingDataset
from transferscope.pretraining.methods.base import Batch, Method
from transferscope.pretraining.methods.dino import Crops
from transferscope.pretraining.methods.registry import build_method
from transferscope.pretraining.task import PretrainingTask
from transferscope.stores.tile_store import TileStore
from transferscope.tiles.build import make_tiles
from transferscope.training.fabric import training_fabric
from transferscope.training.loop import Task, TrainingPlan, train
from transferscope.training.tiles import scaled

FIELDS = 128
BATCH = 32
STEPS = 8
ROUNDS = 3
WORKERS = THREADS = 2
SIZE = 112
CHANNELS = ["nucleus", "protein"]
# Heads and decoders as small as the encoder; a method that is not named keeps its defaults.
LIGHTER: dict[str, dict[str, Any]] = {
    "dino": {"output_width": 4096},
    "mae": {"decoder_width": 192, "decoder_depth": 2},
    "ca-mae": {"decoder_width": 192},
}
ARGUMENTS = {"channel_agnostic_vit": {"embed_dim": 192, "num_heads": 3}}
POOLING = {"resnet18": "pool", "channel_agnostic_vit": "mean"}
DATASET = {
    "name": "bench",
    "sheet": "samples.tsv",
    "channels": CHANNELS,
    "pixel_size_um": 0.206,
    "intensity_range": {channel: [100.0, 2500.0] for channel in CHANNELS},
    "labels": CLASSES,
    "tiles": {"size": 256, "mode": "resize"},
}


def run(folder: Path) -> Part:
    torch.set_num_threads(THREADS)
    source = training_source(folder)
    rows = []
    for name, method in METHODS.items():
        rows += _rows(name, _card(name, method.typical_network), source, folder)
    title = (
        f"Pretraining ({FIELDS} tiles of 2 x 256 x 256 uint16; ViT-Ti/16 or ResNet-18, {SIZE} px, "
        f"batch {BATCH}, {THREADS} threads)"
    )
    return Part(title, rows)


def _rows(name: str, card: TrainCard, source: TrainingSource, folder: Path) -> list[Row]:
    return compared(
        name,
        lambda: _plain(card, source),
        lambda precision, waits: _ours(card, source, folder, precision, waits),
    )


def compared(
    name: str,
    plain_way: Callable[[], Timed],
    our_way: Callable[[Precision, list[float]], Timed],
) -> list[Row]:
    """Compare a plain training with ours, in reduced precision and without."""
    waits: list[float] = []
    fastest = choose_precision(torch.device("cpu"), "auto")
    timed = in_turns(
        {
            "plain": plain_way,
            "ours": lambda: our_way(fastest, waits),
            "ours fp32": lambda: our_way("fp32", []),
        },
        ROUNDS,
    )
    plain, ours, alone = timed["plain"], timed["ours"], timed["ours fp32"]
    wait = f"{np.median(waits):.1%} of the time waiting for data (target: under 5 %)"
    return [
        Row(f"`{name}`", _rate(plain), _rate(ours), ratio(plain, ours), ">= 2", wait),
        Row(f"`{name}`, fp32: the pipeline alone", _rate(plain), _rate(alone), ratio(plain, alone)),
    ]


def our_fabric(precision: Precision) -> Fabric:
    return training_fabric(ComputeSettings(device="cpu", precision=precision, threads=THREADS))


def timed_training(
    task: Task, settings: OptimiserSettings, fabric: Fabric, folder: Path, waits: list[float]
) -> Timed:
    """Train some steps as a step of the workflow does; the start is not timed."""
    plan = TrainingPlan(
        name="bench",
        n_steps=STEPS,
        steps_an_epoch=STEPS,
        batch_size=BATCH,
        seed=0,
        fingerprint="",
        checkpoint=folder / f"{time.perf_counter_ns()}.pt",
    )
    history = train(task, settings, plan, fabric).frame()
    plan.checkpoint.unlink()
    waits.append(float(history["data_wait"].mean()))
    return Timed([STEPS * BATCH / float(history["images_per_second"].mean())])


def _rate(timed: Timed) -> str:
    return f"{STEPS * BATCH / timed.median:.1f} img/s"


def _card(name: str, architecture: str) -> TrainCard:
    pooling = POOLING.get(architecture, "cls")
    return TrainCard.model_validate(
        {
            "source": "train",
            "name": name,
            "architecture": architecture,
            "arguments": ARGUMENTS.get(architecture, {}),
            "objective": {"method": name, **LIGHTER.get(name, {})},
            "slots": [{"name": channel} for channel in CHANNELS],
            "input_size": SIZE,
            "outputs": [{"name": pooling, "pooling": pooling}],
            "datasets": ["bench"],
            "batch_size": BATCH,
        }
    )


def training_source(folder: Path) -> TrainingSource:
    sheet = write_sheet(folder, write_fields(folder, FIELDS, None))
    table = folder / "tiles.parquet"
    make_tiles(
        sheet,
        DatasetCard.model_validate(DATASET),
        manifest=folder / "tiles.json",
        tile_table=table,
        quality=folder / "quality.csv",
        skipped=folder / "skipped.tsv",
        workers=WORKERS,
    )
    return TrainingSource(dataset="bench", tiles=folder / "tiles.json", table=table)


def _method(card: TrainCard) -> Method:
    n_groups = -(-FIELDS // 4)
    return build_method(card, card.objective, card.augmentation, card.seed, n_groups)


def _ours(
    card: TrainCard,
    source: TrainingSource,
    folder: Path,
    precision: Precision,
    waits: list[float],
) -> Timed:
    """Train some steps as the step `pretrain` does."""
    fabric = our_fabric(precision)
    dataset = TrainingDataset.read(source, Pretraining(sources=[source]))
    batches = Batches([dataset], BATCH, 0, rank=0, world_size=1, device=fabric.device)
    task = PretrainingTask(_method(card), batches, STEPS, None)
    timed = timed_training(task, card.optimiser, fabric, folder, waits)
    batches.reader.close()
    return timed


def _plain(card: TrainCard, source: TrainingSource) -> Timed:
    """Train as many steps the plain way; the start of the loader's workers is not timed."""
    method = _method(card)
    optimiser = torch.optim.AdamW(method.parameter_groups(), lr=card.optimiser.learning_rate)
    batches = plain_batches(PlainTiles(source.tiles, method), _collated)
    waiting = next(batches)
    generator = torch.Generator().manual_seed(0)
    start = time.perf_counter()
    for step in range(STEPS):
        loss, _ = method.loss(waiting, step / STEPS, generator)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        method.after_step(step / STEPS)
        waiting = next(batches)
    return Timed([time.perf_counter() - start])


def plain_batches(tiles: Dataset[Any], collate: Callable[..., Any] | None = None) -> Any:
    """Yield batches without end, as a loader with workers makes them."""
    loader = DataLoader(
        tiles,
        batch_size=BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=WORKERS,
        persistent_workers=True,
        collate_fn=collate,
    )
    while True:
        yield from loader


@dataclass
class PlainTiles(Dataset[Any]):
    """Tiles read one by one, each with its views."""

    manifest: Path
    method: Method

    def __post_init__(self) -> None:
        self.store = TileStore(self.manifest)

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, row: int) -> Any:
        raw = torch.from_numpy(self.store.read(row, row + 1))
        images = scaled(raw, self.store.intensity_range)
        groups = torch.tensor([row // 4])
        batch = Batch(images=images, channels=tuple(self.store.channels), groups=groups)
        return self.method.views(batch, torch.Generator().manual_seed(row))


def _collated(views: Sequence[Any]) -> Any:
    """Put the views of single tiles together, crop by crop, as a whole batch has them."""
    first = views[0]
    if isinstance(first, Tensor):
        # [n, ...] of each tile -> [n B, ...]: the first crop of every tile, then the second.
        return torch.stack(list(views)).transpose(0, 1).flatten(0, 1)
    if isinstance(first, Crops):
        sizes = zip(*(each.sizes for each in views), strict=True)
        return Crops([_collated(crops) for crops in sizes], first.dataset)
    return tuple(_collated(part) for part in zip(*views, strict=True))
