"""Comparison and figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from transferscope.commands.options import (
    CardPath,
    ManifestIn,
    SettingsJson,
    TableIn,
    settings_from_json,
)

app = typer.Typer()

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
    from transferscope.config.paths import StudyPaths
    from transferscope.config.results import CompareSettings

    paths = StudyPaths(study_folder)
    made = [(name, p) for p in _probed(stores) for name in probe]
    made += [(name, p) for p in _probed(tuned) for name in tuned_head or []]

    def of_each(path_of: Any) -> list[Path]:
        return [path_of(name, p.dataset, p.representation, p.channels) for name, p in made]

    run(
        of_each(paths.scores),
        of_each(paths.predictions),
        settings_from_json(settings, CompareSettings),
        paths.comparison("scores").parent,
        paths.summary_csv,
        paths.summary_md,
    )


def _probed(stores: str) -> list[Any]:
    from transferscope.config.probed import Probed

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
    from transferscope.config.paths import StudyPaths
    from transferscope.config.probes import AggregateSettings
    from transferscope.config.results import CompareSettings, FigureSettings
    from transferscope.figures.aggregation import draw_aggregation

    paths, chosen = StudyPaths(study_folder), settings_from_json(compared, CompareSettings)
    folder = paths.comparison("aggregate").parent
    levels = levels_of(_probed(stores), settings_from_json(aggregate, AggregateSettings), paths)
    compare_levels(levels, chosen, folder)
    draw_aggregation(folder, chosen, settings_from_json(settings, FigureSettings), output)


@app.command()
def figure(
    name: Annotated[str, typer.Argument(help="Name of the figure, such as `strategies`.")],
    study_folder: StudyFolder,
    output: Outputs,
    settings: SettingsJson = "{}",
) -> None:
    """Draw one figure from the tables of the comparison."""
    from transferscope.config.paths import StudyPaths
    from transferscope.config.results import FigureSettings
    from transferscope.figures.dispatch import draw_figure

    paths = StudyPaths(study_folder)
    draw_figure(
        name,
        paths.summary_csv,
        paths.comparison("scores").parent,
        settings_from_json(settings, FigureSettings),
        output,
    )


@app.command("training-curves")
def training_curves(
    manifest: Annotated[Path, typer.Option(help="Manifest of a backbone that was trained.")],
    output: Outputs,
    settings: SettingsJson = "{}",
) -> None:
    """Draw how the training of a backbone went."""
    from transferscope.config.results import FigureSettings
    from transferscope.figures.training import draw_training

    draw_training(manifest, settings_from_json(settings, FigureSettings), output)


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
    from transferscope.config.model import read_model
    from transferscope.config.paths import StudyPaths
    from transferscope.config.results import FigureSettings
    from transferscope.figures.embedding_maps import StoreView, draw_embedding_maps

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
        views,
        table,
        read_model(card, DatasetCard),
        settings_from_json(settings, FigureSettings),
        output,
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
    from transferscope.config.model import read_model
    from transferscope.config.paths import StudyPaths
    from transferscope.config.probes import KnnSettings
    from transferscope.config.results import FigureSettings
    from transferscope.figures.gallery import best_store, draw_gallery

    paths = StudyPaths(study_folder)
    draw_gallery(
        best_store(paths.comparison("chosen"), _probed(stores), paths),
        tiles,
        table,
        read_model(card, DatasetCard),
        settings_from_json(knn, KnnSettings),
        settings_from_json(settings, FigureSettings),
        output,
    )
