"""The probes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from transferscope.commands.embed import BackboneCardPath, TrainedWeights, _backbone
from transferscope.commands.options import (
    CardPath,
    ManifestIn,
    SettingsJson,
    TableIn,
    settings_from_json,
)

app = typer.Typer()

EmbeddingsIn = Annotated[Path, typer.Option(help="Manifest of the embedding store (.json).")]
Representation = Annotated[str, typer.Option(help="`backbone` or `backbone@output`.")]
Channels = Annotated[str, typer.Option(help="Channel strategy of the store.")]
SplitsIn = Annotated[Path, typer.Option(help="Split table (.parquet).")]
Threads = Annotated[int, typer.Option(help="Processor cores to use.")]
ScoresOut = Annotated[Path, typer.Option(help="Score table to write (.parquet).")]
PredictionsOut = Annotated[Path, typer.Option(help="Table of predictions to write (.parquet).")]


@app.command()
def probe(
    name: Annotated[str, typer.Argument(help="Name of the probe: heads, knn, or another.")],
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
    """Evaluate a store by a probe, on all folds, seeds and fractions."""
    from transferscope.config.jobs import ProbeJob
    from transferscope.config.model import validate
    from transferscope.probes.evaluation import write_tables
    from transferscope.probes.registry import find_probe

    found = find_probe(name, "probe")
    job = settings_from_json(settings, ProbeJob)
    chosen = validate(job.settings, found.settings, "--settings")
    data = _probe_data(
        embeddings, representation, channels, table, splits, card, probe=job, threads=threads
    )
    run = found.load()
    write_tables(data, scores, predictions, lambda sink: run(data, chosen, sink=sink))


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
    from transferscope.config.compute import ComputeSettings
    from transferscope.config.jobs import FinetuneProbe
    from transferscope.config.modes import mode_of_head
    from transferscope.finetuning.run import Tuned
    from transferscope.finetuning.run import finetune as run

    told, machine = (
        settings_from_json(settings, FinetuneProbe),
        settings_from_json(compute, ComputeSettings),
    )
    data = _probe_data(
        embeddings,
        representation,
        channels,
        table,
        splits,
        card,
        probe=told,
        threads=machine.threads,
    )
    network, network_path = _backbone(backbone, weights)
    tuned = Tuned(network, network_path, mode_of_head(head), tiles)
    run(tuned, data, told, machine, scores, predictions, losses)


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
    from transferscope.config.jobs import AggregateProbe
    from transferscope.probes.aggregation import read_fields, score_aggregates
    from transferscope.probes.variants import variants_of

    told = settings_from_json(settings, AggregateProbe)
    data = _probe_data(
        embeddings, representation, channels, table, splits, card, probe=told, threads=threads
    )
    known = None
    if fields is not None and fields_table is not None:
        known = read_fields(fields, representation, channels, fields_table)
    variants = variants_of(told.settings, with_fields=known is not None)
    files = {each.name: predictions / f"{each.name}.predictions.parquet" for each in variants}
    score_aggregates(data, known, told, scores, files)


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
    from transferscope.config.model import read_model
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
