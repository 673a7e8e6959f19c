"""Decoders of masks: all together on maps that are computed once, against one after the other.

The plain way is the usual loop: each decoder is trained alone, and each of its steps has a forward
pass of the frozen backbone, without gradients. Decoders, losses, batches and optimiser are equal.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from results import Part, Row
from synthetic import folds_and_seeds
from timing import Timed, in_turns
from torch import nn
from torch.nn import functional

from training import THREADS, training_source
from transferscope.cards import TimmCard
from transferscope.config.segmentation import SegmentationSettings
from transferscope.finetuning.network import open_backbone
from transferscope.probes.evaluation import Division
from transferscope.segmentation.decoder_training import MapProblem, train_decoders, trained_together
from transferscope.segmentation.decoders import Decoder
from transferscope.segmentation.features import MapReader, compute_maps
from transferscope.segmentation.masks import FULL, TrueMasks
from transferscope.stores.tile_store import TileStore
from transferscope.training.tiles import TrainingTiles

FOLDS, SEEDS, STEPS, BATCH = 3, 4, 30, 8
# Decoders that the plain way trains, to stay in time; ours are all trained.
PLAIN_DECODERS = 1
ROUNDS = 3
SIZE, INPUT = 64, 112
NETWORKS = {"ResNet-18": "resnet18", "ViT-Ti/16": "vit_tiny_patch16_224"}
SETTINGS = SegmentationSettings(
    decoders=["linear"], steps=STEPS, check_every=STEPS, batch_size=BATCH, size=SIZE
)
DEVICE = torch.device("cpu")


def run(folder: Path) -> Part:
    torch.set_num_threads(THREADS)
    tiles = training_source(folder).tiles
    store = TileStore(tiles)
    divisions = folds_and_seeds(len(store), FOLDS, SEEDS)
    everything = TrainingTiles.open(tiles)
    masks = _masks(everything)
    rows = [_row(name, store, everything, masks, divisions) for name in NETWORKS]
    title = (
        f"{len(divisions)} linear decoders of masks on a frozen backbone ({FOLDS} folds x {SEEDS} "
        f"seeds; {len(store)} tiles at {INPUT} px, {STEPS} steps of {BATCH}; {THREADS} threads)"
    )
    return Part(title, rows)


def _row(
    name: str,
    store: TileStore,
    tiles: TrainingTiles,
    masks: TrueMasks,
    divisions: list[Division],
) -> Row:
    read = _reader(NETWORKS[name], store)
    chosen = divisions[:PLAIN_DECODERS]
    timed = in_turns(
        {
            "plain": lambda: [_plain(read, tiles, masks, division) for division in chosen],
            "ours": lambda: _ours(read, tiles, masks, divisions),
        },
        ROUNDS,
    )
    plain, ours = timed["plain"], timed["ours"]
    each = [
        (a / PLAIN_DECODERS) / (b / len(divisions))
        for a, b in zip(plain.seconds, ours.seconds, strict=True)
    ]
    losses = f"loss at the end {_mean(plain):.3f} and {_mean(ours):.3f}"
    return Row(
        f"{name}: s a decoder, maps included",
        f"{plain.median / PLAIN_DECODERS:.2f} s",
        f"{ours.median / len(divisions):.2f} s",
        float(np.median(each)),
        ">= 5",
        losses,
    )


def _mean(timed: Timed) -> float:
    return float(np.mean(timed.result[:PLAIN_DECODERS]))


def _reader(architecture: str, store: TileStore) -> MapReader:
    slots = [{"name": channel} for channel in store.channels]
    outputs = [{"name": "mean", "pooling": "mean" if "vit" in architecture else "pool"}]
    card = TimmCard(
        source="timm",
        name="bench",
        architecture=architecture,
        pretrained=False,
        slots=slots,
        input_size=INPUT,
        outputs=outputs,
    )
    backbone, source = open_backbone(store, card, Path(), "map", None, "fp32", None, DEVICE)
    return MapReader(backbone, source)


def _masks(tiles: TrainingTiles) -> TrueMasks:
    """Return masks of what is brighter than the middle of each tile."""
    images = tiles.batch(np.arange(len(tiles))).float().mean(dim=1)
    bright = images > images.flatten(1).median(dim=1).values[:, None, None]
    shares = functional.adaptive_avg_pool2d(bright[:, None].float(), SIZE)
    shares = (FULL * shares).round().to(torch.uint8).numpy()
    known = np.full((len(tiles), SIZE, SIZE), FULL, np.uint8)
    return TrueMasks(tiles.rows, ("object",), bright.numpy().astype(np.uint16), shares, known)


def _ours(
    read: MapReader, tiles: TrainingTiles, masks: TrueMasks, divisions: list[Division]
) -> list[float]:
    """Train all decoders; return the loss of each on its training tiles."""
    maps = compute_maps(tiles, read, BATCH, Path())
    decoder = Decoder("linear", maps.described, 1)
    problem = MapProblem(maps, masks, decoder, SETTINGS, DEVICE)
    found: list[float] = []
    for part in trained_together(problem, divisions):
        found += train_decoders(problem, part, ("bench",)).losses.tolist()
    return found


def _plain(read: MapReader, tiles: TrainingTiles, masks: TrueMasks, division: Division) -> float:
    """Train one decoder by the usual loop; return its loss on the validation tiles."""
    torch.manual_seed(division.fold)
    rng = np.random.default_rng(division.fold)
    strides = 16

    def joined(rows: np.ndarray) -> torch.Tensor:
        levels = read(tiles.batch(rows))
        coarse = [one for one in levels if INPUT / one.shape[-1] >= strides] or levels[-1:]
        size = coarse[0].shape[-2:]
        return torch.cat([functional.interpolate(one, size, mode="bilinear") for one in coarse], 1)

    def loss_of(rows: np.ndarray) -> torch.Tensor:
        shares, _ = masks.learned(rows[:, None], DEVICE)
        logits = decoder((joined(rows) - mean) / deviation)
        logits = functional.interpolate(logits, (SIZE, SIZE), mode="bilinear")
        shares = shares[:, 0]
        entropy = functional.binary_cross_entropy_with_logits(logits, shares)
        likely = logits.sigmoid()
        dice = (2 * (likely * shares).sum() + 1) / ((likely + shares).sum() + 1)
        return entropy + 1 - dice

    first = joined(division.train[: 4 * BATCH])
    mean, deviation = (
        value[None, :, None, None] for value in (first.mean((0, 2, 3)), first.std((0, 2, 3)))
    )
    deviation = deviation.clamp(min=1e-6)
    decoder = nn.Conv2d(first.shape[1], 1, 1)
    optimiser = torch.optim.AdamW(
        decoder.parameters(), lr=SETTINGS.learning_rate, weight_decay=SETTINGS.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for _ in range(STEPS):
        optimiser.zero_grad()
        loss_of(rng.choice(division.train, BATCH, replace=False)).backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        rows = division.validation
        parts = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
        return float(np.mean([loss_of(part).item() for part in parts]))
