"""Backbones of the weights that a training has kept before its end."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import safe_open

from transferscope.backbones.trained import TrainedManifest, kept_weights_of, weights_of
from transferscope.checkpoints.sources import file_sha256
from transferscope.errors import Problem, UserError
from transferscope.runtime.atomic_files import replacing


def training_of(weights: Path) -> str | None:
    """Return the fingerprint of the training that a file of weights is of; None: it tells none."""
    try:
        with safe_open(weights, framework="numpy") as file:
            metadata: dict[str, Any] = file.metadata() or {}
    except Exception:  # safetensors raises an error of its own, without a public name
        return None
    return metadata.get("fingerprint")


def take_snapshot(training: Path, cell: str, n_steps: int, manifest: Path) -> None:
    """Write weights and manifest of a backbone that is a training before its end.

    Parameters
    ----------
    training
        Manifest of the training, which has kept the weights.
    cell
        Name of the backbone.
    n_steps
        Steps after which they were kept.
    manifest
        Manifest to write; the weights are written next to it.

    Raises
    ------
    UserError
        Where the weights are missing, or are not of this training.
    """
    whole, kept = TrainedManifest.read(training), kept_weights_of(training, n_steps)
    if training_of(kept) != whole.fingerprint:
        what = f"is missing, or is not of the training that {training.name} describes"
        removal = shlex.join(["rm", "-f", str(training), str(weights_of(training))])
        fix = f"Train it again: {removal}, then the same snakemake command."
        raise UserError(Problem(str(kept), what, fix))
    with replacing(weights_of(manifest)) as temporary:
        shutil.copyfile(kept, temporary)
    share = n_steps / whole.steps
    replace(
        whole,
        backbone=cell,
        weights_sha256=file_sha256(weights_of(manifest)),
        epochs=max(1, round(share * whole.epochs)),
        steps=n_steps,
        images=round(share * whole.images),
        operations=None if whole.operations is None else share * whole.operations,
    ).write(manifest)
