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
BlocksAJob = Annotated[int, typer.Option(help="Blocks that one job fills.")]
PartOut = Annotated[Path, typer.Option(help="Note to write (.json).")]
Started = Annotated[Path, typer.Option(help="What embed-start wrote (.json).")]


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


@app.command("embed-parts")
def embed_parts(
    tiles: ManifestIn,
    block_rows: Annotated[int, typer.Option(help="Tiles a block.")],
    blocks_a_job: BlocksAJob,
    output: PartOut,
) -> None:
    """Say into how many parts the filling of a dataset's stores is divided."""
    from transferscope.parts import write_parts

    write_parts(tiles, block_rows, blocks_a_job, output)


@app.command("embed-start")
def embed_start(
    tiles: ManifestIn,
    backbone: BackboneCardPath,
    channels: StrategyName,
    manifest: ManifestOut,
    output: PartOut,
    settings: SettingsJson = "{}",
    weights: TrainedWeights = None,
) -> None:
    """Make an empty embedding store, which several jobs will fill."""
    from transferscope.backbones.embed_parts import start_store

    start_store(_embed_task(tiles, backbone, channels, manifest, settings, weights), output)


@app.command("embed-part")
def embed_part(
    tiles: ManifestIn,
    backbone: BackboneCardPath,
    channels: StrategyName,
    manifest: ManifestOut,
    started: Started,
    part: Annotated[int, typer.Option(help="Number of the part, from 0.")],
    blocks_a_job: BlocksAJob,
    output: PartOut,
    settings: SettingsJson = "{}",
    weights: TrainedWeights = None,
) -> None:
    """Fill one part of an embedding store that has been started."""
    from transferscope.backbones.embed_parts import fill_part

    task = _embed_task(tiles, backbone, channels, manifest, settings, weights)
    fill_part(task, started, part, blocks_a_job, output)


@app.command("embed-finish")
def embed_finish(
    manifest: ManifestOut,
    started: Started,
    parts: Annotated[Path, typer.Option(help="Folder in which the parts say that they are done.")],
    blocks_a_job: BlocksAJob,
) -> None:
    """Check an embedding store that several jobs have filled, and write its manifest."""
    from transferscope.backbones.embed_parts import finish_store

    finish_store(manifest, started, parts, blocks_a_job)


def _embed_task(
    tiles: Path,
    backbone: Path,
    channels: str,
    manifest: Path,
    settings: str,
    weights: Path | None,
) -> Any:
    from transferscope.backbones.embed_parts import EmbedTask
    from transferscope.config.compute import ComputeSettings

    card, card_path = _backbone(backbone, weights)
    chosen = settings_from_json(settings, ComputeSettings)
    return EmbedTask(tiles, card, card_path, channels, manifest, chosen)


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
