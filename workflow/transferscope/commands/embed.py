"""The steps that make stores and weights: embeddings, their corrections, and trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from typer import Option, Typer

from transferscope.cards import BackboneCard
from transferscope.cards.lookup import Located, cell_of
from transferscope.commands.options import (
    BackboneIn,
    ManifestIn,
    ManifestOut,
    TableIn,
    file_in,
    file_out,
    same_path,
    settings_option,
    strategy_name,
)
from transferscope.config.ablation import Ablation
from transferscope.config.compute import ComputeSettings
from transferscope.config.correction import CorrectionJob
from transferscope.config.jobs import Pretraining
from transferscope.config.probed import Probed
from transferscope.errors import Problem, UserError
from transferscope.runtime.plain_files import name_problem, output_problem

app = Typer()

ALSO_FIX = "Write it as --also map=embeddings/map.json."

TrainedWeights = Annotated[
    Path | None, file_in("Manifest of a backbone that was trained in the study.")
]
StrategyName = Annotated[
    str, Option(parser=strategy_name, help="Channel strategy, such as map-random-0.")
]
CellName = Annotated[
    str | None, Option("--cell", help="Which backbone of the card's grid or sweep, if any.")
]
Siblings = Annotated[
    list[str] | None,
    Option(
        "--also",
        help=(
            "STRATEGY=PATH, a channel strategy whose job writes that manifest (.json): the tiles "
            "are read for its store, too, where that is not finished; may be repeated."
        ),
    ),
]
ComputeOption = Annotated[ComputeSettings, settings_option(ComputeSettings)]


def loadable(
    backbone: Located[BackboneCard], weights: Path | None, cell: str | None = None
) -> tuple[Any, Path]:
    """Return the card from which a backbone is loaded, and the path of that card.

    Parameters
    ----------
    backbone
        The card that a study names.
    weights
        Manifest of the training, for a backbone that is trained in the study.
    cell
        Which backbone of the card's grid or sweep, if it has one.
    """
    from transferscope.backbones.trained import trained_card

    backbone = cell_of(backbone, cell)
    if weights is not None:
        if not backbone.card.trained_here:
            what = f"{backbone.card.name} is not trained in a study: its card names its weights"
            raise UserError(Problem("--weights", what, "Leave --weights out."))
        return trained_card(backbone.card, weights)
    return backbone.card, backbone.path


def siblings_of(given: Sequence[str] | None, strategy: str, manifest: Path) -> dict[str, Path]:
    """Return strategy -> manifest of the stores that are filled in the same pass.

    Parameters
    ----------
    given
        Texts such as ``map=results/map.json``.
    strategy, manifest
        What the command itself embeds.

    Raises
    ------
    UserError
        With every text that names no store of its own.
    """
    found: dict[str, Path] = {}
    problems: list[Problem] = []
    for text in given or ():
        name, _, path = text.partition("=")
        try:
            found[name] = _sibling(name, path, {**found, strategy: manifest})
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(problems)
    return found


def _sibling(name: str, path: str, others: Mapping[str, Path]) -> Path:
    """Return the manifest of one such store, if it is none of the others."""
    strategy_name(name)
    if problem := name_problem(path) or output_problem(Path(path)):
        raise UserError(problem)
    if Path(path).suffix != ".json":
        raise UserError(Problem("--also", f'"{path}" is no manifest (.json)', ALSO_FIX))
    if name in others or any(same_path(Path(path), one) for one in others.values()):
        what = f'"{name}={path}" is a store that is given already'
        raise UserError(Problem("--also", what, "Give each strategy once, with its own path."))
    return Path(path)


def _ablation(name: str) -> Ablation:
    try:
        return Ablation.named(name)
    except ValueError as error:
        raise UserError(Problem("--ablation", str(error), "Name kind and channel.")) from None


@app.command()
def embed(
    tiles: ManifestIn,
    backbone: BackboneIn,
    channels: StrategyName,
    manifest: ManifestOut,
    settings: ComputeOption,
    weights: TrainedWeights = None,
    cell: CellName = None,
    also: Siblings = None,
) -> None:
    """Embed every tile with one backbone and one channel strategy."""
    from transferscope.backbones.embed import embed as run

    siblings = siblings_of(also, channels, manifest)
    card, path = loadable(backbone, weights, cell)
    rows = settings.block_rows
    run(tiles, card, channels, manifest, settings, card_path=path, block_rows=rows, also=siblings)


@app.command("embed-ablated")
def embed_ablated(
    tiles: ManifestIn,
    table: TableIn,
    backbone: BackboneIn,
    channels: StrategyName,
    ablation: Annotated[
        Ablation, Option(parser=_ablation, metavar="NAME", help="Such as zeroed-er, permuted-er.")
    ],
    manifest: ManifestOut,
    settings: ComputeOption,
    seed: Annotated[int, Option(min=0, help="Seed of the exchange between tiles.")] = 0,
    weights: TrainedWeights = None,
    cell: CellName = None,
    also: Siblings = None,
) -> None:
    """Embed every tile once more, one channel black or exchanged with tiles of other groups."""
    from transferscope.backbones.ablated_tiles import TileChange
    from transferscope.backbones.embed import embed as run
    from transferscope.stores.origin import check_tiles
    from transferscope.stores.parquet import read_tile_table
    from transferscope.stores.tile_store import TileStore

    siblings = siblings_of(also, channels, manifest)
    card, path = loadable(backbone, weights, cell)
    read = read_tile_table(table)
    check_tiles(table, read, TileStore(tiles))
    change = TileChange(ablation, [str(name) for name in read["group"]], seed)
    rows = settings.block_rows
    run(
        *(tiles, card, channels, manifest, settings),
        card_path=path,
        block_rows=rows,
        also=siblings,
        change=change,
    )


@app.command()
def correct(
    embeddings: Annotated[Path, file_in("Manifest of the embedding store (.json).")],
    representation: Annotated[str, Option(help="Name of the corrected one, such as dino+tvn.")],
    channels: StrategyName,
    table: TableIn,
    manifest: ManifestOut,
    settings: Annotated[CorrectionJob, settings_option(CorrectionJob)],
) -> None:
    """Correct a store for batches; the result is a store that every probe can read."""
    from transferscope.correction.corrected_store import correct_store

    # The name of the dataset plays no part.
    probed = Probed("", representation, channels)
    if probed.correction != settings.method:
        what = f'"{representation}" is not the name of a correction by {settings.method}'
        fix = f"End it with +{settings.method}."
        raise UserError(Problem("--representation", what, fix))
    correct_store(embeddings, probed, table, settings, manifest)


@app.command("embed-part")
def embed_part(
    tiles: ManifestIn,
    backbone: BackboneIn,
    channels: StrategyName,
    manifest: ManifestOut,
    part: Annotated[int, Option(min=0, help="Number of the part, from 0.")],
    parts: Annotated[int, Option(min=1, help="Number of parts.")],
    output: Annotated[Path, file_out("Record to write when the part is done (.json).")],
    settings: ComputeOption,
    weights: TrainedWeights = None,
    cell: CellName = None,
    also: Siblings = None,
) -> None:
    """Fill one part of an embedding store; the first job creates the store."""
    from transferscope.backbones.embed_parts import fill_part
    from transferscope.backbones.filling import StoreFilling

    if part >= parts:
        what = f"there is no part {part} of {parts}: they are numbered from 0"
        raise UserError(Problem("--part", what, f"Give a number from 0 to {parts - 1}."))
    siblings = siblings_of(also, channels, manifest)
    card, path = loadable(backbone, weights, cell)
    job = StoreFilling.of(tiles, card, channels, manifest, settings, path, settings.block_rows)
    fill_part(job, part, parts, output, siblings)


@app.command("embed-finish")
def embed_finish(
    manifest: ManifestOut,
    part: Annotated[list[Path], file_in("Record of a part; once per part, in order.")],
) -> None:
    """Check an embedding store that several jobs have filled, and write its manifest."""
    from transferscope.backbones.embed_parts import finish_store

    finish_store(manifest, part)


@app.command()
def pretrain(
    backbone: BackboneIn,
    manifest: Annotated[
        Path,
        file_out("Manifest to write; weights and history are written next to it."),
    ],
    settings: Annotated[Pretraining, settings_option(Pretraining)],
) -> None:
    """Train a backbone on tiles of the study, or resume a training that was interrupted."""
    from transferscope.pretraining.run import pretrain as run

    card: Any = cell_of(backbone, settings.cell).card  # with `source: train`
    run(card, backbone.path, settings, manifest)


@app.command()
def snapshot(
    training: Annotated[Path, file_in("Manifest of a training that has kept weights.")],
    cell: Annotated[str, Option(help="Name of the backbone, a cell of a grid.")],
    steps: Annotated[int, Option(min=1, help="Steps after which the weights were kept.")],
    manifest: Annotated[Path, file_out("Manifest to write; weights are written next to it.")],
) -> None:
    """Make a backbone of the weights that a training has kept before its end."""
    from transferscope.pretraining.snapshots import take_snapshot

    take_snapshot(training, cell, steps, manifest)
