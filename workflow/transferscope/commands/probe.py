"""The probes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Argument, Option, Typer

from transferscope.cards import DatasetCard
from transferscope.cards.lookup import Located
from transferscope.commands.embed import CellName, ComputeOption, TrainedWeights, loadable
from transferscope.commands.options import (
    BackboneIn,
    CardIn,
    ManifestIn,
    TableIn,
    file_in,
    file_out,
    folder_out,
    settings_option,
    strategy_name,
)
from transferscope.config.ablation import Ablation
from transferscope.config.jobs import (
    AblationProbe,
    AggregateProbe,
    FinetuneProbe,
    JoiningProbe,
    NuisanceProbe,
    OcclusionProbe,
    Probe,
    ProbeJob,
    SegmentationProbe,
    TransferProbe,
    WeightProbe,
)
from transferscope.errors import Problem, UserError
from transferscope.runtime.plain_files import name_problem

if TYPE_CHECKING:
    from transferscope.config.model import Model
    from transferscope.probes.evaluation import ProbeData
    from transferscope.probes.probe import FrozenProbe

app = Typer()

EmbeddingsIn = Annotated[Path, file_in("Manifest of the embedding store (.json).")]
Representation = Annotated[str, Option(help="`backbone` or `backbone@output`.")]
Channels = Annotated[str, Option(parser=strategy_name, help="Channel strategy of the store.")]
SplitsIn = Annotated[Path, file_in("Split table (.parquet).")]
ProbeDevice = Literal["auto", "cpu", "cuda"]
Threads = Annotated[int, Option(min=1, max=1024, help="Processor cores to use.")]
ScoresOut = Annotated[Path, file_out("Score table to write (.parquet).")]
PredictionsOut = Annotated[Path, file_out("Table of predictions to write (.parquet).")]
HalvesOut = Annotated[Path, file_out("Table of scores in halves to write (.parquet).")]


@app.command()
def probe(
    name: Annotated[str, Argument(help="Name of the probe, such as heads or knn.")],
    embeddings: EmbeddingsIn,
    representation: Representation,
    channels: Channels,
    table: TableIn,
    splits: SplitsIn,
    card: CardIn,
    scores: ScoresOut,
    predictions: PredictionsOut,
    halves: HalvesOut,
    settings: Annotated[ProbeJob, settings_option(ProbeJob)],
    threads: Threads = 2,
    device: Annotated[
        ProbeDevice, Option(help="Where it runs; auto: a GPU if one is here.")
    ] = "cpu",
) -> None:
    """Evaluate a store by a probe, on all folds, seeds and fractions, and in halves of groups."""
    from transferscope.config.model import validate
    from transferscope.probes.evaluation import write_halves, write_tables
    from transferscope.probes.few_groups import of_few_groups
    from transferscope.probes.halves import halves_of
    from transferscope.probes.registry import find_probe

    found = find_probe(name, "probe")
    chosen = validate(settings.settings, found.settings, "--settings")
    store = embeddings, representation, channels
    data = _probe_data(store, table, splits, card, settings, threads)
    run = partial(found.load(), **_gpu(found, device, data.embeddings.nbytes))
    divisions = halves_of(data, settings.splits, max(settings.fractions))
    few = of_few_groups(data.tiles, data.divisions, settings.splits.groups_per_class)
    data = replace(data, divisions=[*data.divisions, *few])
    with _enough_gpu_memory():
        write_halves(data, divisions, halves, lambda half, sink: run(half, chosen, sink=sink))
        write_tables(data, scores, predictions, lambda sink: run(data, chosen, sink=sink))


def _gpu(probe: FrozenProbe, device: ProbeDevice, embedding_bytes: int) -> dict[str, Any]:
    """Return a GPU for a probe that can use one, by the name of the argument."""
    if device == "cpu" or not probe.on_gpu:
        return {}
    from transferscope.probes.probe import GPU_BYTES, GPU_COPIES
    from transferscope.runtime.devices import gpu_for_probes

    return {"device": gpu_for_probes(device, GPU_COPIES * embedding_bytes + GPU_BYTES)}


@contextmanager
def _enough_gpu_memory() -> Iterator[None]:
    import torch

    try:
        yield
    except torch.cuda.OutOfMemoryError:
        what = "the memory of the GPU is too small for this store"
        raise UserError(Problem("compute.probes", what, "Set `compute.probes: cpu`.")) from None


@app.command()
def transfer(
    source_embeddings: Annotated[Path, file_in("Manifest of the store that is trained on.")],
    source_table: Annotated[Path, file_in("Its tile table (.parquet).")],
    source_splits: Annotated[Path, file_in("Its split table (.parquet).")],
    source_card: CardIn,
    embeddings: EmbeddingsIn,
    representation: Representation,
    channels: Channels,
    table: TableIn,
    splits: SplitsIn,
    card: CardIn,
    scores: ScoresOut,
    predictions: PredictionsOut,
    halves: HalvesOut,
    settings: Annotated[TransferProbe, settings_option(TransferProbe)],
    threads: Threads = 2,
) -> None:
    """Train all probes on the store of one dataset, and test them on that of another one."""
    from transferscope.probes.transfer import transfer as run
    from transferscope.probes.written import ScoreFiles

    probes = _probes(settings.probes)
    shared = Probe(fractions=[1.0], metrics=settings.metrics)
    first = source_embeddings, representation, channels
    source = _probe_data(first, source_table, source_splits, source_card, shared, threads)
    second = embeddings, representation, channels
    target = _probe_data(second, table, splits, card, shared, threads)
    files = ScoreFiles(scores, predictions, halves)
    classes, k, divided = settings.shared, settings.few_shot, settings.splits
    run(source, target, classes, k, divided, probes, files)


@app.command()
def nuisance(
    embeddings: EmbeddingsIn,
    representation: Representation,
    channels: Channels,
    table: TableIn,
    splits: SplitsIn,
    card: CardIn,
    settings: Annotated[NuisanceProbe, settings_option(NuisanceProbe)],
    targets: Annotated[Path, file_out("Table of what is predicted to write (.parquet).")],
    predictions: PredictionsOut,
    halves: HalvesOut,
    index: Annotated[Path, file_out("Table of robustness indices to write (.parquet).")],
    replicates: Annotated[
        Path, file_out("Table of the indices without each group to write (.parquet).")
    ],
    threads: Threads = 2,
    measures: Annotated[Path | None, file_in("Measures of the tiles (.parquet).")] = None,
) -> None:
    """Predict batch, site, well and image quality from a store, and find its robustness index."""
    from transferscope.probes.nuisance_job import measure_nuisances
    from transferscope.stores.parquet import read_tile_table

    store = embeddings, representation, channels
    data = _probe_data(store, table, splits, card, settings, threads)
    files = targets, predictions, halves, index, replicates
    measure_nuisances(data, read_tile_table(table), measures, settings, table, files)


@app.command()
def measures(
    tiles: ManifestIn,
    backbone: BackboneIn,
    output: Annotated[Path, file_out("Table of the measures to write (.parquet).")],
    threads: Threads = 2,
) -> None:
    """Count cells and measure brightness and focus of all tiles."""
    from transferscope.backbones.tile_measures import measure_tiles

    if backbone.card.is_network:
        what = f"{backbone.card.name} is a network"
        raise UserError(Problem("--backbone", what, "Name the card count-and-quality."))
    measure_tiles(tiles, backbone.card, threads, output)


@app.command()
def ablate(
    embeddings: EmbeddingsIn,
    representation: Representation,
    channels: Channels,
    table: TableIn,
    splits: SplitsIn,
    card: CardIn,
    scores: ScoresOut,
    predictions: PredictionsOut,
    halves: HalvesOut,
    settings: Annotated[AblationProbe, settings_option(AblationProbe)],
    ablated: Annotated[
        list[str],
        Option(help="NAME=PATH, such as zeroed-er, and its store (.json); once per ablation."),
    ],
    threads: Threads = 2,
) -> None:
    """Test all probes of a store on the same tiles without one channel, after the other."""
    from transferscope.probes.ablation import ablate as run
    from transferscope.probes.ablation import read_view
    from transferscope.probes.written import ScoreFiles

    probes = _probes(settings.probes)
    data = _probe_data(
        (embeddings, representation, channels), table, splits, card, settings, threads
    )
    views = {ablation.name: read_view(path, ablation, data) for ablation, path in _ablated(ablated)}
    run(data, views, settings.splits, probes, ScoreFiles(scores, predictions, halves))


@app.command("weigh-channels")
def weigh_channels(
    embeddings: EmbeddingsIn,
    representation: Representation,
    channels: Channels,
    table: TableIn,
    splits: SplitsIn,
    card: CardIn,
    scores: ScoresOut,
    predictions: PredictionsOut,
    halves: HalvesOut,
    channel_weights: Annotated[Path, file_out("Table of the weights to write (.parquet).")],
    settings: Annotated[WeightProbe, settings_option(WeightProbe)],
    threads: Threads = 2,
) -> None:
    """Let heads weight the channels of a store, and test them next to heads that do not."""
    from transferscope.config.probed import output_of
    from transferscope.probes.channel_weights import weigh_channels as run
    from transferscope.probes.written import ScoreFiles
    from transferscope.stores.embedding_store import EmbeddingStore

    store = embeddings, representation, channels
    data = _probe_data(store, table, splits, card, settings, threads)
    passes = EmbeddingStore(embeddings).passes(output_of(representation))
    files = ScoreFiles(scores, predictions, halves)
    run(data, passes, settings.splits, settings.heads, files, channel_weights)


@app.command()
def occlude(
    tiles: ManifestIn,
    backbone: BackboneIn,
    embeddings: EmbeddingsIn,
    representation: Representation,
    channels: Channels,
    table: TableIn,
    splits: SplitsIn,
    card: CardIn,
    scores: Annotated[Path, file_in("Score table of the heads on this store (.parquet).")],
    predictions: Annotated[Path, file_in("Table of their predictions (.parquet).")],
    settings: Annotated[OcclusionProbe, settings_option(OcclusionProbe)],
    compute: ComputeOption,
    output: Annotated[Path, file_out("Table to write (.parquet).")],
    weights: TrainedWeights = None,
    cell: CellName = None,
) -> None:
    """Cover chosen tiles patch by patch, and see what trained heads lose."""
    from transferscope.probes.occlusion import occlude as run

    store = embeddings, representation, channels
    data = _probe_data(store, table, splits, card, settings, compute.threads)
    network = loadable(backbone, weights, cell)
    run(data, tiles, network, scores, predictions, settings, compute, output)


def _ablated(given: Sequence[str]) -> Iterator[tuple[Ablation, Path]]:
    """Yield the ablations and their manifests."""
    for text in given:
        name, _, path = text.partition("=")
        try:
            ablation = Ablation.named(name)
        except ValueError as error:
            fix = "Write it as --ablated zeroed-er=ablated/zeroed-er.json."
            raise UserError(Problem("--ablated", str(error), fix)) from None
        if problem := name_problem(path):
            raise UserError(problem)
        yield ablation, Path(path)


@app.command()
def join(
    part: Annotated[
        list[str],
        Option(help="REPRESENTATION/CHANNELS=PATH of a store (.json); once per store, in order."),
    ],
    channels: Channels,
    table: TableIn,
    splits: SplitsIn,
    card: CardIn,
    scores: ScoresOut,
    predictions: PredictionsOut,
    halves: HalvesOut,
    settings: Annotated[JoiningProbe, settings_option(JoiningProbe)],
    threads: Threads = 2,
) -> None:
    """Test all probes on several stores as one, on each alone, and on the better one of them."""
    from transferscope.config.joining import joined_name
    from transferscope.probes.joining import join as run
    from transferscope.probes.written import ScoreFiles

    stores = [_part(text) for text in part]
    if len(stores) < 2:
        what = "one store is named: there is nothing to join"
        raise UserError(Problem("--part", what, "Give it once per store."))
    parts = [_probe_data(store, table, splits, card, settings, threads) for store in stores]
    # All are called by the strategy that they have in common, which not each of them has.
    parts = [replace(p, identity={**p.identity, "channels": channels}) for p in parts]
    name = joined_name([representation for _, representation, _ in stores])
    files = ScoreFiles(scores, predictions, halves)
    run(parts, name, settings.splits, _probes(settings.probes), settings.metric, files)


def _part(text: str) -> tuple[Path, str, str]:
    """Return manifest, representation and strategy of a store that is joined."""
    name, _, path = text.partition("=")
    representation, _, strategy = name.partition("/")
    if not representation or not strategy or not path:
        fix = "Write it as --part dino/map=embeddings/cells/dino/map.json."
        raise UserError(Problem("--part", f'"{text}" names no store', fix))
    if problem := name_problem(path):
        raise UserError(problem)
    return Path(path), representation, strategy


def _probes(given: Mapping[str, Any]) -> dict[FrozenProbe, Model]:
    """Return probes with their settings, which the model of each checks."""
    from transferscope.config.model import validate
    from transferscope.probes.registry import find_probe

    probes: dict[FrozenProbe, Model] = {}
    for name, settings in given.items():
        found = find_probe(name, "--settings, probes")
        probes[found] = validate(settings, found.settings, f"--settings, probes.{name}")
    return probes


@app.command()
def finetune(
    tiles: ManifestIn,
    backbone: BackboneIn,
    head: Annotated[
        str, Option(help="finetune-full, finetune-last-<n>, finetune-lora or finetune-head.")
    ],
    embeddings: EmbeddingsIn,
    representation: Representation,
    channels: Channels,
    table: TableIn,
    splits: SplitsIn,
    card: CardIn,
    scores: ScoresOut,
    predictions: PredictionsOut,
    losses: Annotated[Path, file_out("Table of the losses to write (.parquet).")],
    settings: Annotated[FinetuneProbe, settings_option(FinetuneProbe)],
    compute: ComputeOption,
    weights: TrainedWeights = None,
    cell: CellName = None,
) -> None:
    """Fine-tune a backbone with labels on all folds, seeds and fractions, and test it."""
    from transferscope.config.modes import mode_of_head
    from transferscope.finetuning.run import Tuned
    from transferscope.finetuning.run import finetune as run

    try:
        mode = mode_of_head(head)
    except ValueError as error:
        fix = "Give finetune-full, finetune-last-<n>, finetune-lora or finetune-head."
        raise UserError(Problem("--head", str(error), fix)) from None
    store = embeddings, representation, channels
    data = _probe_data(store, table, splits, card, settings, compute.threads)
    tuned = Tuned(*loadable(backbone, weights, cell), mode, tiles)
    run(tuned, data, settings, compute, scores, predictions, losses)


@app.command()
def segment(
    tiles: ManifestIn,
    targets: Annotated[Path, file_in("Manifest of the target store (.json).")],
    backbone: BackboneIn,
    channels: Annotated[str, Option(parser=strategy_name, help="Channel strategy.")],
    table: TableIn,
    splits: SplitsIn,
    card: CardIn,
    scores: ScoresOut,
    predictions: Annotated[Path, file_out("Table of the scores of each tile to write (.parquet).")],
    settings: Annotated[SegmentationProbe, settings_option(SegmentationProbe)],
    compute: ComputeOption,
    weights: TrainedWeights = None,
    cell: CellName = None,
    other_tiles: Annotated[
        list[Path] | None, file_in("Tiles of a dataset out of domain; may be repeated.")
    ] = None,
    other_targets: Annotated[
        list[Path] | None, file_in("Its targets, once per --other-tiles.")
    ] = None,
    other_table: Annotated[
        list[Path] | None, file_in("Its tile table, once per --other-tiles.")
    ] = None,
    elsewhere: Annotated[
        Path | None, file_out("Table of the scores of its tiles to write (.parquet).")
    ] = None,
    pictures: Annotated[Path | None, file_out("Figure of predicted masks to write (.png).")] = None,
    masks: Annotated[
        Path | None, file_out("Manifest of the store of predicted masks to write (.json).")
    ] = None,
) -> None:
    """Train decoders of masks on a frozen backbone on all folds, seeds and fractions, and test."""
    from transferscope.segmentation.elsewhere import OtherFiles
    from transferscope.segmentation.run import MaskFiles
    from transferscope.segmentation.run import segment as run

    files = MaskFiles(card.card.name, tiles, targets, table, splits)
    network = loadable(backbone, weights, cell)
    given = other_tiles or [], other_targets or [], other_table or []
    if len(set(map(len, given))) > 1:
        what = "tiles, targets and tables of other datasets are not as many"
        raise UserError(Problem("--other-tiles", what, "Give all three for each dataset."))
    others = [OtherFiles(*one) for one in zip(*given, strict=True)]
    if pictures is not None or masks is not None:
        asked = {"pictures": pictures is not None, "keep_masks": masks is not None}
        wanted = settings.settings.model_copy(update=asked)
        settings = settings.model_copy(update={"settings": wanted})
    found = run(
        *network,
        channels,
        files,
        settings,
        compute,
        scores,
        predictions,
        elsewhere=elsewhere,
        others=others,
        masks=masks,
    )
    if pictures is not None:
        from transferscope.figures.mask_pictures import draw_pictures

        draw_pictures(found, tiles, card.card, network[0].name, pictures)


@app.command()
def aggregate(
    embeddings: EmbeddingsIn,
    representation: Representation,
    channels: Channels,
    table: TableIn,
    splits: SplitsIn,
    card: CardIn,
    scores: ScoresOut,
    predictions: Annotated[
        Path, folder_out("Folder to write one table of predictions per level into.")
    ],
    halves: HalvesOut,
    settings: Annotated[AggregateProbe, settings_option(AggregateProbe)],
    threads: Threads = 2,
    fields: Annotated[
        Path | None, file_in("Manifest of the whole fields' embedding store.")
    ] = None,
    fields_table: Annotated[
        Path | None, file_in("Tile table of the whole fields (.parquet).")
    ] = None,
) -> None:
    """Score tiles, fields and groups of a store by the same head, on the same folds and halves."""
    from transferscope.probes.aggregation import LevelFiles, read_fields, score_aggregates
    from transferscope.probes.evaluation import without_controls
    from transferscope.probes.halves import halves_of
    from transferscope.probes.variants import variants_of

    store = embeddings, representation, channels
    data = _probe_data(store, table, splits, card, settings, threads)
    if (fields is None) != (fields_table is None):
        what = "one of --fields and --fields-table is missing"
        raise UserError(Problem("transferscope aggregate", what, "Give both, or none."))
    known = None
    if fields is not None and fields_table is not None:
        known = read_fields(fields, representation, channels, fields_table)
    variants = variants_of(settings.settings, with_fields=known is not None)
    of_variants = {each.name: predictions / f"{each.name}.predictions.parquet" for each in variants}
    files = LevelFiles(scores, of_variants, halves)
    # Levels are compared with each other, in each split by itself: controls say nothing of them.
    halved = without_controls(halves_of(data, settings.splits, max(settings.fractions)))
    data = replace(data, divisions=without_controls(data.divisions))
    score_aggregates(data, halved, known, settings, files)


def _probe_data(
    store: tuple[Path, str, str],
    table: Path,
    splits: Path,
    card: Located[DatasetCard],
    probe: Probe,
    threads: int,
) -> ProbeData:
    """Read what a probe evaluates.

    Parameters
    ----------
    store
        Manifest of the embedding store, representation and channel strategy.
    table, splits, card
        Tile table, split table and card of the dataset.
    probe
        Settings that all probes share.
    threads
        Processor cores of this process.
    """
    import torch

    from transferscope.pretraining.leakage import confirmed
    from transferscope.probes.evaluation import ProbeData

    # Results may differ in the last digit between thread counts: the workflow fixes the count.
    torch.set_num_threads(threads)
    told = probe.fractions, probe.metrics, confirmed(probe.leakage, table, splits)
    return ProbeData.read(*store, table, splits, card.card, *told)
