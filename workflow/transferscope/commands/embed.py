"""The steps that run a network: embeddings and trainings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from transferscope.commands.options import ManifestIn, ManifestOut, SettingsJson, settings_from_json

app = typer.Typer()

BackboneCardPath = Annotated[Path, typer.Option(help="Backbone card (.yaml).")]
TrainedWeights = Annotated[
    Path | None, typer.Option(help="Manifest of a backbone that the study has trained.")
]
StrategyName = Annotated[str, typer.Option(help="Channel strategy, such as map-random-0.")]


@app.command()
def embed(
    tiles: ManifestIn,
    backbone: BackboneCardPath,
    channels: StrategyName,
    manifest: ManifestOut,
    settings: SettingsJson = "{}",
    weights: TrainedWeights = None,
) -> None:
    """Embed every tile with one backbone and one channel strategy."""
    from transferscope.backbones.embed import embed as run
    from transferscope.config.compute import ComputeSettings

    chosen = settings_from_json(settings, ComputeSettings)
    card, card_path = _backbone(backbone, weights)
    run(
        tiles,
        card,
        channels,
        manifest,
        chosen,
        card_path=card_path,
        block_rows=chosen.block_rows,
    )


def _backbone(backbone: Path, weights: Path | None) -> tuple[Any, Path]:
    """Return the card that loads a backbone, and the file to which its paths are relative."""
    from transferscope.backbones.trained import trained_card
    from transferscope.cards import BackboneCard
    from transferscope.config.model import read_model

    card = read_model(backbone, BackboneCard)
    if card.trained_here and weights is not None:
        return trained_card(card, weights)
    return card, backbone


@app.command("embed-part")
def embed_part(
    tiles: ManifestIn,
    backbone: BackboneCardPath,
    channels: StrategyName,
    manifest: ManifestOut,
    part: Annotated[int, typer.Option(help="Number of the part, from 0.")],
    parts: Annotated[int, typer.Option(help="Number of parts.")],
    output: Annotated[Path, typer.Option(help="Note to write when the part is done (.json).")],
    settings: SettingsJson = "{}",
    weights: TrainedWeights = None,
) -> None:
    """Fill one part of an embedding store, which is made by the first that comes."""
    from transferscope.backbones.embed import StoreFilling
    from transferscope.backbones.embed_parts import fill_part
    from transferscope.config.compute import ComputeSettings

    chosen = settings_from_json(settings, ComputeSettings)
    card, path = _backbone(backbone, weights)
    job = StoreFilling.of(tiles, card, channels, manifest, chosen, path, chosen.block_rows)
    fill_part(job, part, parts, output)


@app.command("embed-finish")
def embed_finish(
    manifest: ManifestOut,
    part: Annotated[list[Path], typer.Option(help="Note of a part, in their order; once each.")],
) -> None:
    """Check an embedding store that several jobs have filled, and write its manifest."""
    from transferscope.backbones.embed_parts import finish_store

    finish_store(manifest, part)


@app.command()
def pretrain(
    backbone: Annotated[Path, typer.Option(help="Backbone card of `source: train` (.yaml).")],
    manifest: Annotated[
        Path, typer.Option(help="Manifest to write; the weights and the history lie beside it.")
    ],
    settings: Annotated[str, typer.Option(help="Datasets and settings of this step as JSON.")],
) -> None:
    """Train a backbone on tiles of the study, or go on with a training that was stopped."""
    from transferscope.cards import BackboneCard
    from transferscope.config.jobs import Pretraining
    from transferscope.config.model import read_model
    from transferscope.pretraining.run import pretrain as run

    run(
        read_model(backbone, BackboneCard),
        backbone,
        settings_from_json(settings, Pretraining),
        manifest,
    )
