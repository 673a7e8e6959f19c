"""The step that trains a backbone, or resumes a training that was stopped."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from safetensors.torch import save_file
from torch import nn

from transferscope.backbones.networks import network_without_values
from transferscope.backbones.trained import (
    TrainedManifest,
    history_of,
    kept_weights_of,
    weights_of,
)
from transferscope.cards import BackboneCard, TrainCard
from transferscope.cards.train import REFERENCE_BATCH, grid_problems
from transferscope.checkpoints.sources import file_sha256
from transferscope.config.jobs import Pretraining
from transferscope.config.training import OptimiserSettings
from transferscope.errors import Problem, UserError
from transferscope.pretraining import VERSION
from transferscope.pretraining.data import Batches, TrainingDataset, training_datasets
from transferscope.pretraining.methods.fit import check_trained
from transferscope.pretraining.methods.inputs import NetworkInputs
from transferscope.pretraining.methods.registry import build_method
from transferscope.pretraining.monitor import KnnMonitor
from transferscope.pretraining.operations import operations_per_image
from transferscope.pretraining.snapshots import training_of
from transferscope.pretraining.task import PretrainingTask
from transferscope.runtime.atomic_files import replacing
from transferscope.runtime.fingerprint import fingerprint
from transferscope.runtime.seeds import derive_seed
from transferscope.training.fabric import training_fabric
from transferscope.training.loop import TrainingPlan, train

logger = logging.getLogger(__name__)


def pretrain(card: BackboneCard, card_path: Path, settings: Pretraining, manifest: Path) -> None:
    """Train a backbone, and write its weights, the history of its training and a manifest.

    Weights and history lie next to the manifest, and the checkpoint until they are written. Where
    the weights of this training exist already, only the manifest is written.

    Parameters
    ----------
    card, card_path
        The backbone, and its file.
    settings
        Datasets, device and how often checkpoints are written.
    manifest
        Manifest to write.

    Raises
    ------
    UserError
        Where card, tiles or device do not fit, and where the training is stopped.
    """
    if not card.trained_here:
        what = f"{card.name} is not trained here (source: {card.source})"
        raise UserError(Problem(str(card_path), what, "Give a card of `source: train`."))
    if problems := grid_problems(card, card_path) or check_trained(card, card_path):
        raise UserError(problems)
    fabric = training_fabric(settings.compute, settings.training.processes)
    datasets = training_datasets(settings, card.data_fraction, card.seed)
    batches = Batches(
        datasets,
        card.batch_size,
        card.seed,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
        device=fabric.device,
        whole_batches=card.steps is not None,
    )
    digest = _fingerprint(card, datasets, fabric)
    n_steps = _n_steps(card, batches)
    try:
        if _made_before(manifest, digest, settings.kept_steps):
            logger.info("%s has been trained before: nothing is left to do", card.name)
        else:
            _train(card, settings, batches, manifest, digest, fabric)
    finally:
        batches.reader.close()
    if fabric.is_global_zero:
        TrainedManifest(
            backbone=card.name,
            method=card.objective.method,
            fingerprint=digest,
            weights_sha256=file_sha256(weights_of(manifest)),
            datasets={each.name: each.seen() for each in datasets},
            held_out=None if settings.held_out is None else settings.held_out.model_dump(),
            epochs=card.epochs if card.steps is None else _passes(n_steps, batches),
            steps=n_steps,
            images=n_steps * batches.batch_size,
            **(_axes(card, batches, n_steps) if settings.cell else {}),
        ).write(manifest)
        _checkpoint_of(manifest).unlink(missing_ok=True)


def _train(
    card: TrainCard,
    settings: Pretraining,
    batches: Batches,
    manifest: Path,
    digest: str,
    fabric: Fabric,
) -> None:
    # The encoder has a seed of its own, as in a control; heads and decoders draw from torch's.
    torch.manual_seed(derive_seed(card.seed, card.objective.method, "weights"))
    method = build_method(
        card,
        card.objective,
        card.augmentation,
        card.seed,
        n_groups=batches.n_groups,
        n_datasets=len(batches.datasets),
    )
    n_steps = _n_steps(card, batches)

    def keep(done: int) -> None:
        # Before the checkpoint that is past this step: what it goes on from has left these weights.
        if done in settings.kept_steps and fabric.is_global_zero:
            _save(method.encoder, kept_weights_of(manifest, done), digest)

    task = PretrainingTask(method, batches, n_steps, _probe(card, settings, batches, fabric), keep)
    plan = TrainingPlan(
        name=card.name,
        n_steps=n_steps,
        steps_an_epoch=batches.steps_an_epoch,
        batch_size=batches.batch_size,
        seed=card.seed,
        # A checkpoint may be past a step whose weights were not wanted when it was written.
        fingerprint=fingerprint([digest, settings.kept_steps]) if settings.kept_steps else digest,
        checkpoint=_checkpoint_of(manifest),
        history=history_of(manifest),
        checkpoint_minutes=settings.training.checkpoint_minutes,
    )
    train(task, _scaled_to_batch(card, batches.batch_size), plan, fabric)
    if fabric.is_global_zero:
        _save(method.encoder, weights_of(manifest), digest)


def _axes(card: TrainCard, batches: Batches, n_steps: int) -> dict[str, Any]:
    """Return what curves over a grid are drawn against, in addition to the data."""
    weights = network_without_values(card).parameters()
    each = operations_per_image(card, batches.n_groups)
    return {
        "parameters": sum(weight.numel() for weight in weights),
        "operations": float(each * n_steps * batches.batch_size),
    }


def _n_steps(card: TrainCard, batches: Batches) -> int:
    return card.steps or card.epochs * batches.steps_an_epoch


def _passes(n_steps: int, batches: Batches) -> int:
    """Return the passes over all tiles, at least one."""
    n_tiles = sum(len(each.tiles) for each in batches.datasets)
    return max(1, round(n_steps * batches.batch_size / n_tiles))


def _checkpoint_of(manifest: Path) -> Path:
    return manifest.with_suffix(".checkpoint.pt")


def _fingerprint(card: TrainCard, datasets: list[TrainingDataset], fabric: Fabric) -> str:
    return fingerprint(
        {
            "card": card.training_fingerprint(),
            "datasets": [each.identity() for each in datasets],
            # Each process draws views of its own.
            "processes": fabric.world_size,
            "protocol": VERSION,
        }
    )


def _probe(
    card: TrainCard, settings: Pretraining, batches: Batches, fabric: Fabric
) -> KnnMonitor | None:
    if not settings.training.knn_tiles:
        return None
    inputs = NetworkInputs(card.named_slots, card.normalization)
    n_tiles = settings.training.knn_tiles
    return KnnMonitor(card, inputs, batches.datasets, n_tiles, fabric)


def _scaled_to_batch(card: TrainCard, batch_size: int) -> OptimiserSettings:
    """Return the optimiser's settings with the rate that goes with the batch size."""
    scale, settings = batch_size / REFERENCE_BATCH, card.optimiser
    rates = settings.model_dump(include={"learning_rate", "final_learning_rate"})
    return settings.model_copy(update={key: scale * rate for key, rate in rates.items()})


def _save(encoder: nn.Module, path: Path, digest: str) -> None:
    """Write the weights by rename, with what they depend on."""
    weights = {
        name: value.detach().cpu().contiguous() for name, value in encoder.state_dict().items()
    }
    with replacing(path) as temporary:
        save_file(weights, temporary, metadata={"fingerprint": digest})


def _made_before(manifest: Path, digest: str, kept: Sequence[int]) -> bool:
    files = [weights_of(manifest), *(kept_weights_of(manifest, step) for step in kept)]
    is_there = history_of(manifest).is_file() and all(path.is_file() for path in files)
    return is_there and all(training_of(path) == digest for path in files)
