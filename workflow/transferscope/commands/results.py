"""Comparison and figures."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option, Typer

from transferscope.commands.options import (
    CardIn,
    ManifestIn,
    TableIn,
    file_in,
    file_out,
    json_option,
    parsed_json,
    settings_from_json,
    settings_option,
)
from transferscope.config.ablation import ABLATION, CHANNEL_WEIGHTS
from transferscope.config.jobs import Comparison
from transferscope.config.joining import JOINING
from transferscope.config.paths import StudyPaths
from transferscope.config.probed import Probed
from transferscope.config.probes import AggregateSettings, KnnSettings, SplitSettings
from transferscope.config.results import CompareSettings, FigureSettings
from transferscope.config.roles import RoleSettings
from transferscope.errors import Problem, UserError
from transferscope.report.figures import ReportFigure
from transferscope.runtime.plain_files import folder_problem, name_problem

if TYPE_CHECKING:
    from transferscope.compare.drawn_scores import ScorePaths
    from transferscope.compare.transfer import TransferPaths

app = Typer()
TILE_FILES = ("card", "table", "tiles")
_NAME = re.compile(r"[\w.@+,-]+")


def _probed(stores: str) -> list[Probed]:
    named = parsed_json(stores, "--stores")
    try:
        found = [
            Probed(dataset, representation, channels)
            for dataset, representations in named.items()
            for representation, strategies in representations.items()
            for channels in [*strategies]
        ]
        are_names = all(_NAME.fullmatch(text) for p in found for text in astuple(p))
    except (TypeError, AttributeError):
        are_names = False
    if not are_names:
        what = "is no mapping of dataset -> representation -> list of strategies"
        fix = """Write it as '{"cells": {"dino": ["map"]}}'."""
        raise UserError(Problem("--stores", what, fix))
    return found


def _transferred(text: str) -> dict[str, list[Probed]]:
    found = parsed_json(text, "--transferred")
    if not isinstance(found, dict) or not all(_NAME.fullmatch(str(name)) for name in found):
        what = "is no mapping of dataset -> what is tested"
        fix = """Write it as '{"cells": {"others": {"dino": ["map"]}}}'."""
        raise UserError(Problem("--transferred", what, fix))
    return {name: _probed(json.dumps(stores)) for name, stores in found.items()}


def _named(text: str) -> Mapping[str, Any]:
    settings = parsed_json(text, "--settings")
    if not isinstance(settings, dict) or not isinstance(settings.get("study"), str):
        fix = """Write it as '{"study": "my-study"}'."""
        raise UserError(Problem("--settings", "names no study", fix))
    return settings


def _figures(described: str) -> list[ReportFigure]:
    try:
        found = [ReportFigure(**each) for each in parsed_json(described, "--figures")]
        are_within = all(one.is_within for one in found)
    except (TypeError, AttributeError):
        are_within = False
    if not are_within:
        what = "is no list of figures in the folder of the study"
        fix = """Write it as '[{"path": ..., "caption": ..., "category": ...}]'."""
        raise UserError(Problem("--figures", what, fix))
    return found


def _shown(described: str) -> dict[str, dict[str, Path]]:
    try:
        found = {
            name: {key: Path(path) for key, path in files.items()}
            for name, files in parsed_json(described, "--datasets").items()
        }
        are_known = all({"card", "table"} <= set(f) <= set(TILE_FILES) for f in found.values())
    except (TypeError, AttributeError):
        are_known = False
    if not are_known:
        what = "is no mapping of dataset -> card, table and tiles"
        fix = """Write it as '{"cells": {"card": ..., "table": ..., "tiles": ...}}'."""
        raise UserError(Problem("--datasets", what, fix))
    return found


def _paths(folder: str) -> StudyPaths:
    if problem := name_problem(folder) or folder_problem(Path(folder)):
        raise UserError(problem)
    return StudyPaths(Path(folder))


def _some_probed(stores: str) -> list[Probed]:
    found = _probed(stores)
    if not found:
        raise UserError(Problem("--stores", "names no store", "Name at least one."))
    return found


StudyFolder = Annotated[
    StudyPaths,
    Option(parser=_paths, metavar="PATH", help="Folder of the study, <results>/<study>."),
]
StoresIn = Annotated[
    Sequence[Probed],
    json_option(
        _some_probed, "What was evaluated, as JSON: dataset -> representation -> strategies."
    ),
]
Outputs = Annotated[list[Path], file_out("Figure to write; once per format.")]
FigureOption = Annotated[FigureSettings, settings_option(FigureSettings)]
CompareOption = Annotated[CompareSettings, settings_option(CompareSettings)]


@app.command()
def compare(
    study_folder: StudyFolder,
    stores: StoresIn,
    probe: Annotated[list[str], Option(help="heads, knn and so on; once per probe.")],
    settings: Annotated[Comparison, settings_option(Comparison)],
    tuned: Annotated[
        Sequence[Probed], json_option(_probed, "What was fine-tuned, as in --stores.", "{}")
    ],
    transferred: Annotated[
        Mapping[str, Sequence[Probed]],
        json_option(
            _transferred, "What was trained on each dataset and tested on others, as JSON.", "{}"
        ),
    ],
    ablated: Annotated[
        Sequence[Probed],
        json_option(_probed, "What was tested without single channels, as in --stores.", "{}"),
    ],
    weighted: Annotated[
        Sequence[Probed],
        json_option(_probed, "Where heads have weighted channels, as in --stores.", "{}"),
    ],
    joined: Annotated[
        Sequence[Probed],
        json_option(_probed, "What was joined, as in --stores.", "{}"),
    ],
    tuned_head: Annotated[
        list[str] | None, Option(help="finetune-full and so on; once per mode.")
    ] = None,
    related: Annotated[
        list[str] | None, Option(help="A dataset whose stores were related; once per dataset.")
    ] = None,
    segmented: Annotated[
        bool, Option("--segmented", help="Also tell what `segment-compare` has found.")
    ] = False,
    nuisances: Annotated[
        bool, Option("--nuisances", help="Also tell what `nuisance-compare` has found.")
    ] = False,
) -> None:
    """Compare everything that was evaluated: summary, paired differences, sentences."""
    from transferscope.compare.images import looked_at
    from transferscope.compare.study import compare as run

    paths = study_folder
    frozen = [(name, p) for p in stores for name in probe]
    evaluated = frozen + [(name, p) for p in tuned for name in tuned_head or []]
    scores, predictions, halves = (
        [path_of(name, p.dataset, p.representation, p.channels) for name, p in each]
        for path_of, each in (
            (paths.scores, evaluated),
            (paths.predictions, evaluated),
            (paths.halves, frozen),
        )
    )
    folder = paths.comparison("scores").parent
    texts = paths.summary_csv, paths.summary_md
    relations = {name: paths.relations(name) for name in related or []}
    looked = {name: looked_at(paths, name) for name in dict.fromkeys(p.dataset for p in stores)}
    trained = {name: paths.trained(name) for name in settings.cells}
    elsewhere = {name: _transfer_paths(paths, name, own) for name, own in transferred.items()}
    run(
        scores,
        predictions,
        settings,
        folder,
        *texts,
        halves,
        relations,
        trained,
        segmented=segmented,
        nuisances=nuisances,
        looked=looked,
        transferred=elsewhere,
        ablated=_score_paths(paths, ABLATION, ablated) if ablated else None,
        weighted=_weight_paths(paths, weighted) if weighted else None,
        joined=_score_paths(paths, JOINING, joined) if joined else None,
    )


def _transfer_paths(paths: StudyPaths, source: str, tested: Sequence[Probed]) -> TransferPaths:
    from transferscope.compare.transfer import TransferPaths

    scores = [paths.transfer(source, p.dataset, p.representation, p.channels) for p in tested]
    ends = (".predictions.parquet", ".halves.parquet")
    predictions, halves = ([path.with_suffix(end) for path in scores] for end in ends)
    return TransferPaths(scores, predictions, halves)


def _score_paths(paths: StudyPaths, probe: str, stores: Sequence[Probed]) -> ScorePaths:
    from transferscope.compare.drawn_scores import ScorePaths

    named = [(probe, p.dataset, p.representation, p.channels) for p in stores]
    return ScorePaths(
        [paths.scores(*store) for store in named],
        [paths.predictions(*store) for store in named],
        [paths.halves(*store) for store in named],
    )


def _weight_paths(paths: StudyPaths, probed: Sequence[Probed]) -> tuple[ScorePaths, Sequence[Path]]:
    weights = [paths.channel_weights(p.dataset, p.representation, p.channels) for p in probed]
    return _score_paths(paths, CHANNEL_WEIGHTS, probed), weights


@app.command("segment-compare")
def segment_compare(
    study_folder: StudyFolder,
    stores: StoresIn,
    output: Outputs,
    compared: CompareOption,
    settings: FigureOption,
    out_of_domain: Annotated[
        bool, Option("--out-of-domain", help="Also compare what is lost on other datasets.")
    ] = False,
) -> None:
    """Compare backbones by the masks that decoders predict: tables with intervals, and a figure."""
    from transferscope.compare.mask_shifts import compare_shifts, remove_shifts
    from transferscope.compare.masks import compare_masks
    from transferscope.figures.dice import draw_dice

    names = [("segment", p.dataset, p.representation, p.channels) for p in stores]
    tables = [(study_folder.scores(*n), study_folder.predictions(*n)) for n in names]
    folder = study_folder.comparison("masks").parent
    found = compare_masks(tables, compared, folder)
    if out_of_domain:
        compare_shifts(*found, [study_folder.elsewhere(*n) for n in names], compared, folder)
    else:
        remove_shifts(folder)
    draw_dice(folder, compared, settings, output)


@app.command("nuisance-compare")
def nuisance_compare(
    study_folder: StudyFolder,
    stores: StoresIn,
    output: Outputs,
    compared: CompareOption,
    settings: FigureOption,
) -> None:
    """Compare what stores know besides biology: tables with intervals, and a figure."""
    from transferscope.compare.nuisance import compare_nuisances
    from transferscope.config.nuisance import NUISANCE, TABLES
    from transferscope.figures.nuisance import draw_nuisances

    found = {
        p: {
            table: study_folder.nuisance(table, p.dataset, p.representation, p.channels)
            for table in TABLES
        }
        for p in stores
    }
    folder = study_folder.comparison(NUISANCE).parent
    compare_nuisances(found, compared, folder)
    draw_nuisances(folder, compared, settings, output)


@app.command()
def aggregation(
    study_folder: StudyFolder,
    stores: StoresIn,
    output: Outputs,
    aggregate: Annotated[AggregateSettings, settings_option(AggregateSettings)],
    compared: CompareOption,
    settings: FigureOption,
) -> None:
    """Compare tiles, fields and groups: tables with paired differences, and a figure."""
    from transferscope.compare.levels import compare_levels, levels_of
    from transferscope.figures.aggregation import draw_aggregation

    folder = study_folder.comparison("aggregate").parent
    compare_levels(levels_of(stores, aggregate, study_folder), compared, folder)
    draw_aggregation(folder, compared, settings, output)


@app.command()
def report(
    study_folder: StudyFolder,
    settings: Annotated[
        Mapping[str, Any],
        json_option(_named, "Name of the study, and settings that captions quote, as JSON."),
    ],
    figures: Annotated[
        Sequence[ReportFigure],
        json_option(_figures, "What is shown, as JSON: a list of path, caption and category."),
    ],
    output: Annotated[Path, file_out("Page to write (.html).")],
    stores: Annotated[
        Sequence[Probed], json_option(_probed, "What was evaluated, as in `compare`.", "{}")
    ],
    datasets: Annotated[
        Mapping[str, Any],
        json_option(_shown, "Datasets whose tiles are shown, as JSON: name -> card, table, tiles."),
    ],
    probe: Annotated[list[str] | None, Option(help="heads, knn and so on; once per probe.")] = None,
) -> None:
    """Write the report: the answer, all stores, their tiles and every figure in one file."""
    from transferscope.report.page import CONTEST, SHOWN, report_page, unscored_page
    from transferscope.report.tiles import ShownDataset, shown_tiles
    from transferscope.runtime.atomic_files import write_atomically
    from transferscope.stores.parquet import read_parquet
    from transferscope.upkeep.costs import costs_so_far

    costs = costs_so_far(study_folder.usage("").parent)
    if not settings.get("scored", True):
        reasons = _why_not_scored(datasets, settings_from_json(_splits(settings), SplitSettings))
        page = unscored_page(study_folder.root, settings, reasons, figures, costs)
        write_atomically(output, page)
        return
    leaderboard = read_parquet(study_folder.comparison("leaderboard"), [*CONTEST, *SHOWN])
    chosen = read_parquet(study_folder.comparison("chosen"), [*CONTEST, "backbone", "channels"])
    places = {name: ShownDataset(**files) for name, files in datasets.items()}
    per_class = read_parquet(study_folder.comparison("per_class"))
    drawn = settings_from_json(json.dumps(settings.get("figures", {})), FigureSettings)
    tiles = shown_tiles(places, stores, probe or [], study_folder, chosen, per_class, drawn)
    page = report_page(study_folder.root, settings, leaderboard, chosen, figures, tiles, costs)
    write_atomically(output, page)


def _splits(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings.get("splits", {}))


def _why_not_scored(
    datasets: Mapping[str, Mapping[str, Path]], settings: SplitSettings
) -> list[str]:
    from transferscope.cards import DatasetCard
    from transferscope.config.model import read_model
    from transferscope.probes.splits import why_not_scored
    from transferscope.stores.parquet import read_tile_table

    found = []
    for name, files in datasets.items():
        card = read_model(files["card"], DatasetCard)
        table = read_tile_table(files["table"])
        found.append(why_not_scored(name, table, card, settings, str(card.sheet)))
    return found


@app.command()
def figure(
    name: Annotated[str, Argument(help="Name of the figure, such as `strategies`.")],
    study_folder: StudyFolder,
    output: Outputs,
    settings: FigureOption,
) -> None:
    """Draw one figure from the tables of the comparison."""
    from transferscope.figures.dispatch import draw_figure

    folder = study_folder.comparison("scores").parent
    draw_figure(name, study_folder.summary_csv, folder, settings, output)


@app.command("training-curves")
def training_curves(
    manifest: Annotated[Path, file_in("Manifest of a trained backbone.")],
    output: Outputs,
    settings: FigureOption,
) -> None:
    """Draw the training curves of a backbone."""
    from transferscope.figures.training import draw_training

    draw_training(manifest, settings, output)


@app.command("embedding-maps")
def embedding_maps(
    study_folder: StudyFolder,
    stores: StoresIn,
    table: TableIn,
    card: CardIn,
    output: Outputs,
    settings: FigureOption,
) -> None:
    """Draw the embeddings of each store of a dataset in two dimensions."""
    from transferscope.figures.embedding_maps import StoreView, draw_embedding_maps

    views = [
        StoreView(
            f"{p.representation} / {p.channels}",
            study_folder.embeddings_of(p),
            p.output,
            p.channels,
        )
        for p in stores
    ]
    draw_embedding_maps(views, table, card.card, settings, output)


@app.command()
def gallery(
    study_folder: StudyFolder,
    stores: StoresIn,
    tiles: ManifestIn,
    table: TableIn,
    card: CardIn,
    output: Outputs,
    knn: Annotated[KnnSettings, settings_option(KnnSettings)],
    settings: FigureOption,
) -> None:
    """Draw tiles with their nearest neighbours in the best store of a dataset."""
    from transferscope.figures.gallery import best_store, draw_gallery

    best = best_store(study_folder.comparison("chosen"), stores, study_folder)
    draw_gallery(best, tiles, table, card.card, knn, settings, output)


@app.command("occlusion-maps")
def occlusion_maps(
    losses: Annotated[Path, file_in("Table that `occlude` has written (.parquet).")],
    tiles: ManifestIn,
    card: CardIn,
    output: Outputs,
    settings: FigureOption,
) -> None:
    """Draw what heads lose where tiles are covered, as maps over these tiles."""
    from transferscope.figures.occlusion import draw_occlusion

    draw_occlusion(losses, tiles, card.card, settings, output)


@app.command()
def new_pairs(
    relations: Annotated[Path, Option(help="Folder that `relate` has written for a dataset.")],
    tiles: ManifestIn,
    table: TableIn,
    card: CardIn,
    output: Outputs,
    roles: Annotated[RoleSettings, settings_option(RoleSettings)],
    settings: FigureOption,
) -> None:
    """Draw the most similar pairs that no source has."""
    from transferscope.figures.new_pairs import draw_new_pairs

    draw_new_pairs(relations, tiles, table, card.card, roles, settings, output)
