"""The one command line: each step of the workflow, and what a user needs beside it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from transferscope.commands import backbone, label, strategies, study, upkeep
from transferscope.disk import disk_problem, writing
from transferscope.errors import Problem, UserError

logger = logging.getLogger(__name__)

app = typer.Typer(
    name="transferscope",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Find which pretrained backbone transfers to a microscope, and how many labels it needs.",
)

app.add_typer(backbone.app, name="backbone")
app.add_typer(label.app, name="label")
app.add_typer(strategies.app, name="strategies")
app.add_typer(study.app, name="study")
upkeep.mount(app)

ManifestIn = Annotated[Path, typer.Option(help="Manifest (.json) of the store to read.")]
CardPath = Annotated[Path, typer.Option(help="Dataset card (.yaml).")]
SettingsJson = Annotated[
    str, typer.Option(help="Settings of this step as JSON; the defaults else.")
]
ManifestOut = Annotated[Path, typer.Option(help="Manifest to write; the store lies beside it.")]
TileTableOut = Annotated[Path, typer.Option(help="Tile table to write (.parquet).")]
QualityOut = Annotated[Path, typer.Option(help="Quality table to write (.csv).")]
SkippedOut = Annotated[Path, typer.Option(help="Table of skipped fields to write (.tsv).")]
BadFields = Annotated[str, typer.Option(help="stop or skip, for an unusable field.")]
TableIn = Annotated[Path, typer.Option(help="Tile table (.parquet).")]


class _Tee:
    """Write to several streams; never a terminal, so that bars come as lines."""

    def __init__(self, *streams: IO[str]) -> None:
        self._streams = streams

    def write(self, text: str) -> int:
        for stream in self._streams:
            # A disk that is full must not hide the message that says so.
            with contextlib.suppress(OSError):
                stream.write(text)
        self.flush()
        return len(text)

    def flush(self) -> None:
        for stream in self._streams:
            with contextlib.suppress(OSError):
                stream.flush()

    def isatty(self) -> bool:
        return False


@app.callback()
def _global_options(
    context: typer.Context,
    log: Annotated[
        Path | None,
        typer.Option(help="Copy messages, progress and errors into this file, too."),
    ] = None,
) -> None:
    _log_to_stderr()
    # The first of several processes that train together writes the log.
    if log is not None and os.environ.get("LOCAL_RANK", "0") == "0":
        context.with_resource(_alone_with(log))
        with writing(log):
            copy = log.open("w", encoding="utf-8")
        sys.stderr = _Tee(sys.__stderr__ or sys.stderr, copy)
        _log_to_stderr()


def _log_to_stderr() -> None:
    logging.basicConfig(
        level=logging.INFO, format="%(levelname)s: %(message)s", stream=sys.stderr, force=True
    )


@contextlib.contextmanager
def _alone_with(log: Path) -> Iterator[None]:
    """Wait for the same job of an earlier run, whose log this is.

    A worker outlives a Snakemake that is killed. Two writers of one result, perhaps with different
    settings, would spoil it.
    """
    from transferscope.downloads.locks import alone

    with contextlib.ExitStack() as held:
        with writing(log):
            lock = alone(log.with_name(f".{log.name}.lock"), "the same job, of an earlier run")
            held.enter_context(lock)
        yield


def main() -> None:
    """Run the command line; a user's mistake ends in a message, not in a traceback."""
    try:
        app()
    except UserError as error:
        print(f"transferscope: {error}", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        if problem := disk_problem(error):
            print(f"transferscope: {UserError(problem)}", file=sys.stderr)
            sys.exit(1)
        # Also into the log file, which the default hook would miss.
        logging.getLogger(__name__).exception("an unexpected error; please report it")
        sys.exit(2)


def _settings(text: str, kind: Any) -> Any:
    from transferscope.models import validate

    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(Problem("--settings", f"not valid JSON: {error}")) from None
    return validate(value, kind, "--settings")


@app.command()
def simulate(
    sheet: Annotated[Path, typer.Option(help="Sample sheet to write; images go beside it.")],
    settings: SettingsJson = "",
    domain: Annotated[str, typer.Option(help="opencell or hpa; unless given in --settings.")] = "",
    seed: Annotated[int, typer.Option(help="Seed of the dataset.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes.")] = 1,
) -> None:
    """Write the raw fields and the sample sheet of a demo dataset."""
    from transferscope.cards import SimulateSettings
    from transferscope.progress import progress_bar
    from transferscope.simulate import simulate_dataset

    given = settings or json.dumps({"domain": domain, "seed": seed})
    chosen: SimulateSettings = _settings(given, SimulateSettings)
    total = chosen.n_groups * chosen.fovs_per_group
    with progress_bar(f"simulate {chosen.domain}", total, "fields") as bar:

        def show(done: int, _: int) -> None:
            bar.update(done - bar.n)

        simulate_dataset(
            chosen.domain,
            sheet.parent,
            n_groups=chosen.n_groups,
            fovs_per_group=chosen.fovs_per_group,
            fov_size=chosen.fov_size,
            seed=chosen.seed,
            workers=workers,
            progress=show,
        )
    logger.info("the sample sheet is %s", sheet)


@app.command()
def fetch(
    card: CardPath,
    sheet: Annotated[Path, typer.Option(help="Sample sheet to write; the files lie beside it.")],
    manifest: Annotated[
        Path | None, typer.Option(help="Manifest to write; fetched.json beside the sheet else.")
    ] = None,
) -> None:
    """Fetch the raw files of a public dataset, and write its sample sheet."""
    from transferscope.cards import DatasetCard
    from transferscope.datasets.fetch import fetch as run
    from transferscope.models import read_model

    run(read_model(card, DatasetCard), card, sheet, manifest or sheet.with_name("fetched.json"))


@app.command()
def tiles(
    sheet: Annotated[Path, typer.Option(help="Sample sheet (TSV or CSV).")],
    card: CardPath,
    manifest: ManifestOut,
    table: TileTableOut,
    quality: QualityOut,
    skipped: SkippedOut,
    bad_tiles: BadFields = "stop",
    workers: Annotated[int, typer.Option(help="Fields decoded at a time.")] = 2,
) -> None:
    """Decode raw fields once, into a tile store."""
    from transferscope.cards import DatasetCard
    from transferscope.models import read_model
    from transferscope.tiles.build import make_tiles

    make_tiles(
        sheet,
        read_model(card, DatasetCard),
        manifest=manifest,
        tile_table=table,
        quality=quality,
        skipped=skipped,
        bad_tiles=bad_tiles,
        workers=workers,
    )


@app.command()
def published(
    card: CardPath,
    manifest: ManifestOut,
    table: TileTableOut,
    quality: QualityOut,
    skipped: SkippedOut,
) -> None:
    """Take tiles that were published: copy their tables, and read the store where it is."""
    from transferscope.cards import DatasetCard
    from transferscope.models import read_model
    from transferscope.tiles.published import take_published

    take_published(
        read_model(card, DatasetCard),
        card,
        manifest=manifest,
        tile_table=table,
        quality=quality,
        skipped=skipped,
    )


@app.command()
def relabel(
    table: TableIn,
    card: CardPath,
    output: TileTableOut,
    bad_tiles: Annotated[str, typer.Option(help="stop or skip, for a label of no tile.")] = "stop",
) -> None:
    """Put the labels given by hand in place of those of a tile table."""
    from transferscope.cards import DatasetCard
    from transferscope.labelling.label_table import relabel as run
    from transferscope.models import read_model

    run(table, read_model(card, DatasetCard), card, output, skip=bad_tiles == "skip")


@app.command()
def cells(
    sheet: Annotated[Path, typer.Option(help="Sample sheet (TSV or CSV), one row a field.")],
    card: CardPath,
    manifest: ManifestOut,
    table: TileTableOut,
    quality: QualityOut,
    skipped: SkippedOut,
    plausibility: Annotated[Path, typer.Option(help="Table of the fields to write (.csv).")],
    overlays: Annotated[Path, typer.Option(help="Folder to draw the cells' outlines into.")],
    bad_tiles: BadFields = "stop",
    workers: Annotated[int, typer.Option(help="Fields at a time.")] = 2,
) -> None:
    """Segment raw fields, and cut one tile a cell into a tile store."""
    from transferscope.cards import DatasetCard
    from transferscope.cells.build import make_cells
    from transferscope.models import read_model

    make_cells(
        sheet,
        read_model(card, DatasetCard),
        manifest=manifest,
        tile_table=table,
        quality=quality,
        skipped=skipped,
        plausibility=plausibility,
        overlays=overlays,
        bad_tiles=bad_tiles,
        workers=workers,
    )


@app.command("contact-sheets")
def contact_sheets(
    tiles: ManifestIn,
    table: TableIn,
    card: CardPath,
    output: Annotated[Path, typer.Option(help="Folder to write a figure a class into.")],
) -> None:
    """Draw a contact sheet of tiles for each class."""
    from transferscope.cards import DatasetCard
    from transferscope.models import read_model
    from transferscope.tiles.contact_sheets import draw_contact_sheets

    draw_contact_sheets(tiles, table, read_model(card, DatasetCard), output)


@app.command()
def splits(
    table: TableIn,
    card: CardPath,
    splits: Annotated[Path, typer.Option(help="Split table to write (.parquet).")],
    settings: SettingsJson = "{}",
) -> None:
    """Divide the tiles into folds, once for all probes."""
    from transferscope.cards import DatasetCard
    from transferscope.config import SplitSettings
    from transferscope.models import read_model
    from transferscope.parquet import read_parquet
    from transferscope.probes.splits import make_splits, write_splits

    chosen = _settings(settings, SplitSettings)
    divided = make_splits(read_parquet(table), read_model(card, DatasetCard), chosen, str(table))
    write_splits(divided, splits)


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
    from transferscope.config import ComputeSettings

    chosen = _settings(settings, ComputeSettings)
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
    from transferscope.cards import BackboneCard, TrainCard
    from transferscope.models import read_model

    card = read_model(backbone, BackboneCard)
    if isinstance(card, TrainCard) and weights is not None:
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
    from transferscope.config import ComputeSettings

    card, card_path = _backbone(backbone, weights)
    chosen = _settings(settings, ComputeSettings)
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
    from transferscope.config import Pretraining
    from transferscope.models import read_model
    from transferscope.pretraining.run import pretrain as run

    run(read_model(backbone, BackboneCard), backbone, _settings(settings, Pretraining), manifest)


EmbeddingsIn = Annotated[Path, typer.Option(help="Manifest of the embedding store (.json).")]
Representation = Annotated[str, typer.Option(help="`backbone` or `backbone@output`.")]
Channels = Annotated[str, typer.Option(help="Channel strategy of the store.")]
SplitsIn = Annotated[Path, typer.Option(help="Split table (.parquet).")]
Threads = Annotated[int, typer.Option(help="Processor cores to use.")]
ScoresOut = Annotated[Path, typer.Option(help="Score table to write (.parquet).")]
PredictionsOut = Annotated[Path, typer.Option(help="Table of predictions to write (.parquet).")]


@app.command()
def heads(
    embeddings: EmbeddingsIn,
    representation: Representation,
    channels: Channels,
    table: TableIn,
    splits: SplitsIn,
    card: CardPath,
    scores: ScoresOut,
    predictions: PredictionsOut,
    settings: SettingsJson = "{}",
    threads: Threads = 2,
) -> None:
    """Train and test supervised heads on all folds, seeds and fractions of a store."""
    from transferscope.config import HeadProbe
    from transferscope.probes.heads import score_heads

    probe = _settings(settings, HeadProbe)
    data = _probe_data(
        embeddings, representation, channels, table, splits, card, probe=probe, threads=threads
    )
    score_heads(data, probe.settings, scores, predictions)


@app.command()
def knn(
    embeddings: EmbeddingsIn,
    representation: Representation,
    channels: Channels,
    table: TableIn,
    splits: SplitsIn,
    card: CardPath,
    scores: ScoresOut,
    predictions: PredictionsOut,
    settings: SettingsJson = "{}",
    threads: Threads = 2,
) -> None:
    """Classify by nearest neighbours, at every k, on all folds, seeds and fractions of a store."""
    from transferscope.config import KnnProbe
    from transferscope.probes.knn import score_knn

    probe = _settings(settings, KnnProbe)
    data = _probe_data(
        embeddings, representation, channels, table, splits, card, probe=probe, threads=threads
    )
    score_knn(data, probe.settings, scores, predictions)


@app.command()
def finetune(
    tiles: ManifestIn,
    backbone: BackboneCardPath,
    head: Annotated[
        str, typer.Option(help="finetune-full, finetune-last-<n>, finetune-lora or finetune-head.")
    ],
    embeddings: EmbeddingsIn,
    representation: Representation,
    channels: Channels,
    table: TableIn,
    splits: SplitsIn,
    card: CardPath,
    scores: ScoresOut,
    predictions: PredictionsOut,
    losses: Annotated[Path, typer.Option(help="Table of the losses to write (.parquet).")],
    settings: SettingsJson = "{}",
    compute: SettingsJson = "{}",
    weights: TrainedWeights = None,
) -> None:
    """Train a backbone with labels on all folds, seeds and fractions, and test it."""
    from transferscope.config import ComputeSettings, FinetuneProbe
    from transferscope.finetuning.modes import mode_of_head
    from transferscope.finetuning.run import Tuned
    from transferscope.finetuning.run import finetune as run

    probe, machine = _settings(settings, FinetuneProbe), _settings(compute, ComputeSettings)
    data = _probe_data(
        embeddings,
        representation,
        channels,
        table,
        splits,
        card,
        probe=probe,
        threads=machine.threads,
    )
    network, network_path = _backbone(backbone, weights)
    tuned = Tuned(network, network_path, mode_of_head(head), tiles)
    run(tuned, data, probe, machine, scores, predictions, losses)


@app.command()
def aggregate(
    embeddings: EmbeddingsIn,
    representation: Representation,
    channels: Channels,
    table: TableIn,
    splits: SplitsIn,
    card: CardPath,
    scores: ScoresOut,
    predictions: Annotated[
        Path, typer.Option(help="Folder to write a table of predictions a level into.")
    ],
    settings: SettingsJson = "{}",
    threads: Threads = 2,
    fields: Annotated[
        Path | None, typer.Option(help="Manifest of the whole fields' embedding store.")
    ] = None,
    fields_table: Annotated[
        Path | None, typer.Option(help="Tile table of the whole fields (.parquet).")
    ] = None,
) -> None:
    """Score tiles, fields and groups of a store by the same head, on the same folds."""
    from transferscope.config import AggregateProbe
    from transferscope.probes.aggregation import read_fields, score_aggregates
    from transferscope.probes.variants import variants_of

    probe = _settings(settings, AggregateProbe)
    data = _probe_data(
        embeddings, representation, channels, table, splits, card, probe=probe, threads=threads
    )
    known = None
    if fields is not None and fields_table is not None:
        known = read_fields(fields, representation, channels, fields_table)
    variants = variants_of(probe.settings, with_fields=known is not None)
    files = {each.name: predictions / f"{each.name}.predictions.parquet" for each in variants}
    score_aggregates(data, known, probe, scores, files)


def _probe_data(
    embeddings: Path,
    representation: str,
    channels: str,
    table: Path,
    splits: Path,
    card: Path,
    *,
    probe: Any,
    threads: int,
) -> Any:
    import torch

    from transferscope.cards import DatasetCard
    from transferscope.models import read_model
    from transferscope.probes.evaluation import ProbeData

    # Results may differ in the last digit between thread counts: the workflow fixes the count.
    torch.set_num_threads(threads)
    return ProbeData.read(
        embeddings,
        representation,
        channels,
        table,
        splits,
        read_model(card, DatasetCard),
        probe.fractions,
        probe.metrics,
        probe.leakage,
    )


StudyFolder = Annotated[Path, typer.Option(help="Folder of the study, <results>/<study>.")]
StoresJson = Annotated[
    str, typer.Option(help="What was evaluated, as JSON: dataset -> representation -> strategies.")
]
Outputs = Annotated[list[Path], typer.Option(help="Figure to write; once for each format.")]


@app.command()
def compare(
    study_folder: StudyFolder,
    stores: StoresJson,
    probe: Annotated[list[str], typer.Option(help="heads, knn; once for each.")],
    settings: SettingsJson = "{}",
    tuned: Annotated[str, typer.Option(help="What was fine-tuned, as --stores has it.")] = "{}",
    tuned_head: Annotated[
        list[str] | None, typer.Option(help="finetune-full and so on; once for each mode.")
    ] = None,
) -> None:
    """Compare everything that was evaluated: summary, paired differences, sentences."""
    from transferscope.compare.study import compare as run
    from transferscope.config import CompareSettings
    from transferscope.paths import StudyPaths

    paths = StudyPaths(study_folder)
    made = [(name, p) for p in _probed(stores) for name in probe]
    made += [(name, p) for p in _probed(tuned) for name in tuned_head or []]

    def of_each(path_of: Any) -> list[Path]:
        return [path_of(name, p.dataset, p.representation, p.channels) for name, p in made]

    run(
        of_each(paths.scores),
        of_each(paths.predictions),
        _settings(settings, CompareSettings),
        paths.comparison("scores").parent,
        paths.summary_csv,
        paths.summary_md,
    )


def _probed(stores: str) -> list[Any]:
    from transferscope.study import Probed

    nested: dict[str, dict[str, list[str]]] = json.loads(stores)
    return [
        Probed(dataset, representation, channels)
        for dataset, representations in nested.items()
        for representation, strategies in representations.items()
        for channels in strategies
    ]


@app.command()
def aggregation(
    study_folder: StudyFolder,
    stores: StoresJson,
    output: Outputs,
    aggregate: SettingsJson = "{}",
    compared: SettingsJson = "{}",
    settings: SettingsJson = "{}",
) -> None:
    """Compare tiles, fields and groups: tables with paired differences, and a figure."""
    from transferscope.compare.levels import compare_levels, levels_of
    from transferscope.config import AggregateSettings, CompareSettings, FigureSettings
    from transferscope.figures.aggregation import draw_aggregation
    from transferscope.paths import StudyPaths

    paths, chosen = StudyPaths(study_folder), _settings(compared, CompareSettings)
    folder = paths.comparison("aggregate").parent
    levels = levels_of(_probed(stores), _settings(aggregate, AggregateSettings), paths)
    compare_levels(levels, chosen, folder)
    draw_aggregation(folder, chosen, _settings(settings, FigureSettings), output)


@app.command()
def figure(
    name: Annotated[str, typer.Argument(help="Name of the figure, such as `strategies`.")],
    study_folder: StudyFolder,
    output: Outputs,
    settings: SettingsJson = "{}",
) -> None:
    """Draw one figure from the tables of the comparison."""
    from transferscope.config import FigureSettings
    from transferscope.figures.dispatch import draw_figure
    from transferscope.paths import StudyPaths

    paths = StudyPaths(study_folder)
    draw_figure(
        name,
        paths.summary_csv,
        paths.comparison("scores").parent,
        _settings(settings, FigureSettings),
        output,
    )


@app.command("training-curves")
def training_curves(
    manifest: Annotated[Path, typer.Option(help="Manifest of a backbone that was trained.")],
    output: Outputs,
    settings: SettingsJson = "{}",
) -> None:
    """Draw how the training of a backbone went."""
    from transferscope.config import FigureSettings
    from transferscope.figures.training import draw_training

    draw_training(manifest, _settings(settings, FigureSettings), output)


@app.command("embedding-maps")
def embedding_maps(
    study_folder: StudyFolder,
    stores: StoresJson,
    table: TableIn,
    card: CardPath,
    output: Outputs,
    settings: SettingsJson = "{}",
) -> None:
    """Draw the embeddings of each store of a dataset in two dimensions."""
    from transferscope.cards import DatasetCard
    from transferscope.config import FigureSettings
    from transferscope.figures.embedding_maps import StoreView, draw_embedding_maps
    from transferscope.models import read_model
    from transferscope.paths import StudyPaths

    paths = StudyPaths(study_folder)
    views = [
        StoreView(
            f"{p.representation} / {p.channels}",
            paths.embeddings(p.dataset, p.backbone, p.stored_channels),
            p.output,
            p.channels,
        )
        for p in _probed(stores)
    ]
    draw_embedding_maps(
        views, table, read_model(card, DatasetCard), _settings(settings, FigureSettings), output
    )


@app.command()
def gallery(
    study_folder: StudyFolder,
    stores: StoresJson,
    tiles: ManifestIn,
    table: TableIn,
    card: CardPath,
    output: Outputs,
    knn: SettingsJson = "{}",
    settings: SettingsJson = "{}",
) -> None:
    """Draw tiles with their nearest neighbours in the best store of a dataset."""
    from transferscope.cards import DatasetCard
    from transferscope.config import FigureSettings, KnnSettings
    from transferscope.figures.gallery import best_store, draw_gallery
    from transferscope.models import read_model
    from transferscope.paths import StudyPaths

    paths = StudyPaths(study_folder)
    draw_gallery(
        best_store(paths.comparison("chosen"), _probed(stores), paths),
        tiles,
        table,
        read_model(card, DatasetCard),
        _settings(knn, KnnSettings),
        _settings(settings, FigureSettings),
        output,
    )


@app.command()
def schemas(
    output: Annotated[Path, typer.Option(help="Folder to write them into.")],
) -> None:
    """Write the JSON schemas of config and cards."""
    from transferscope.schemas import write_schemas

    write_schemas(output)


@app.command()
def sheet(
    folder: Annotated[Path, typer.Argument(help="Folder of the images.")],
    pattern: Annotated[
        str | None,
        typer.Option(help="Names of the files, such as '{group}_{fov}.tif'."),
    ] = None,
    regex: Annotated[
        str | None,
        typer.Option(help="A regular expression with named groups, in place of --pattern."),
    ] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(help="raw=channel: what a raw channel name shows; once for each."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="table.csv:key_column:label_column: where labels are looked up."),
    ] = None,
    unlabelled: Annotated[
        list[str] | None,
        typer.Option(help="A label that means no label, such as Unknown; once for each."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Sheet to write; samples.tsv in the folder, else."),
    ] = None,
) -> None:
    """Write a sample sheet from a folder and a file-name pattern."""
    from transferscope.raw.sheet_builder import LabelTable, build_sheet

    if (pattern is None) == (regex is None):
        mend = "Write it as --pattern '{group}_{fov}.tif'."
        raise UserError(Problem("transferscope sheet", "give --pattern or --regex", mend))
    built = build_sheet(
        folder,
        pattern or regex or "",
        output or folder / "samples.tsv",
        regex=pattern is None,
        channel_names=_channel_names(channel) if channel else None,
        labels=LabelTable.parse(labels, unlabelled or ()) if labels else None,
    )
    logger.info("%s: %d rows, %d without a label", built.path, built.n_rows, built.n_unlabelled)
    if built.n_unused:
        logger.info("%d files match no part of the pattern and were left out", built.n_unused)
    for key, values in (("channels", built.channels), ("labels", built.labels)):
        if values:
            logger.info("for the dataset card:  %s: [%s]", key, ", ".join(values))
    if built.root is not None:
        logger.info("for the dataset card:  roots: [%s]", built.root)


def _channel_names(pairs: list[str]) -> dict[str, str]:
    wrong = [pair for pair in pairs if pair.count("=") != 1]
    if wrong:
        mend = "Write it as --channel red=microtubules."
        raise UserError(Problem("--channel", f'"{wrong[0]}" names no raw name and channel', mend))
    return dict(pair.split("=") for pair in pairs)
