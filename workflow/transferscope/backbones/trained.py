"""Backbones that were trained in the study: their manifest, and the card that loads them."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from transferscope.cards import FileCard, TrainCard
from transferscope.cards.network import ArchitectureBase
from transferscope.checkpoints.sources import file_sha256
from transferscope.errors import Problem, UserError
from transferscope.runtime.atomic_files import write_atomically
from transferscope.runtime.json_text import parse_json
from transferscope.stores.origin import check_origin

# What only the manifests of cells say: those of other trainings are the same as ever.
OF_CELLS = ("parameters", "operations")


@dataclass(frozen=True)
class TrainedManifest:
    """What a training has made.

    Parameters
    ----------
    backbone, method
        Names of the card and of the method.
    fingerprint
        sha256 over everything that the weights depend on.
    weights_sha256
        sha256 of the file of weights.
    datasets
        Dataset -> what was seen of it: number of tiles and of groups, sha256 over the names of
        the groups, and number of groups that were left out, if any.
    held_out
        The division whose test groups were not seen; None: all were.
    epochs, steps, images
        Passes over all tiles, steps, and images seen (each time that it was).
    parameters, operations
        Of a cell of a grid: weights of the backbone, and floating-point operations of its training.
    """

    backbone: str
    method: str
    fingerprint: str
    weights_sha256: str
    datasets: dict[str, dict[str, Any]]
    held_out: dict[str, Any] | None
    epochs: int
    steps: int
    images: int
    parameters: int | None = None
    operations: float | None = None

    def write(self, path: Path) -> None:
        """Write the manifest by rename; equal content gives equal bytes."""
        known = {key: value for key, value in asdict(self).items() if key not in OF_CELLS or value}
        write_atomically(path, json.dumps(known, indent=2, sort_keys=True) + "\n")

    @classmethod
    def read(cls, path: Path) -> TrainedManifest:
        """Read a manifest.

        Raises
        ------
        UserError
            Where it is missing or damaged.
        """
        removal = shlex.join(["rm", "-f", str(path)])
        fix = f"Remake it: {removal}, then the same snakemake command."
        try:
            return cls(**parse_json(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise UserError(Problem(str(path), "the manifest does not exist", fix)) from None
        except (ValueError, TypeError):
            raise UserError(Problem(str(path), "the manifest is damaged", fix)) from None


def trained_card(card: TrainCard, manifest: Path) -> tuple[FileCard, Path]:
    """Return the card that loads a trained backbone as any other file of weights.

    Parameters
    ----------
    card
        The card that it was trained by.
    manifest
        The manifest of the training.

    Returns
    -------
    card, path
        The card, and the file to which its path of weights is relative.

    Raises
    ------
    UserError
        Where the weights are missing, are not those that the manifest describes, or are of another
        backbone.
    """
    found, weights = TrainedManifest.read(manifest), weights_of(manifest)
    check_origin(manifest, asdict(found), {"backbone": card.name})
    if not weights.is_file() or file_sha256(weights) != found.weights_sha256:
        what = "is missing, or is not what its manifest describes"
        removal = shlex.join(["rm", "-f", str(manifest), str(weights)])
        fix = f"Train it again: {removal}, then the same snakemake command."
        raise UserError(Problem(str(weights), what, fix))
    shared = {key: getattr(card, key) for key in ArchitectureBase.model_fields}
    # An architecture of our own is recognised; timm's names are known without a look.
    layout: Literal["auto", "timm"] = "auto" if card.takes_any_channels else "timm"
    loaded = FileCard(source="file", weights=Path(weights.name), layout=layout, **shared)
    return loaded, manifest


def weights_of(manifest: Path) -> Path:
    """Return the weights that the manifest of a trained backbone describes.

    Examples
    --------
    >>> weights_of(Path("backbones/dino.json")).name
    'dino.safetensors'
    """
    return manifest.with_suffix(".safetensors")


def kept_weights_of(manifest: Path, n_steps: int) -> Path:
    """Return the weights that a training has kept after some of its steps.

    Examples
    --------
    >>> kept_weights_of(Path("backbones/mae_at400_seed0.json"), 100).name
    'mae_at400_seed0.step100.safetensors'
    """
    return manifest.with_suffix(f".step{n_steps}.safetensors")


def history_of(manifest: Path) -> Path:
    """Return the table of the training of a backbone.

    Examples
    --------
    >>> history_of(Path("backbones/dino.json")).name
    'dino.history.parquet'
    """
    return manifest.with_suffix(".history.parquet")
