"""The steps that compare everything, and draw it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transferscope.config.channel_strategies import family_of, single_channel
from transferscope.config.jobs import Comparison, FamilyMember, TrainedCell
from transferscope.config.joining import JOINED
from transferscope.config.nuisance import COMPARED
from transferscope.config.nuisance import TABLES as TABLES_OF_NUISANCE
from transferscope.config.probed import Probed
from transferscope.costs.needs import TABLES_MB, TORCH_MB, Need, matrices_mb, table_mb
from transferscope.costs.sizes import Sizes
from transferscope.figures.registry import FIGURES, GRID_TABLES, ComparisonFigure
from transferscope.probes.registry import probe_names
from transferscope.probes.variants import scored_at_levels
from transferscope.segmentation.table_names import MASK_TABLES, OBJECT_TABLES, SHIFT_TABLES
from transferscope.steps.ablate import ablation_files
from transferscope.steps.embed import embedded_tiles
from transferscope.steps.join import joining_files
from transferscope.steps.segment import SEGMENT
from transferscope.steps.step import Job, Shown, Step, Wildcards, per_dataset, per_probed
from transferscope.steps.transfer import transfer_files
from transferscope.study.ablations import (
    ablated_probed,
    ablated_stores,
    not_ablated,
    occluded_stores,
    weighted_probed,
)
from transferscope.study.joinings import joined_stores, not_joined
from transferscope.study.study import Study
from transferscope.study.transfers import not_transferred, transfers

EXTENSIONS = ("svg", "png")
# 10,000 random weights of each bootstrap draw, float32, and the products with them.
MB_PER_DRAW = 0.08
TABLES = (
    "scores",
    "differences",
    "leaderboard",
    "across_datasets",
    "chosen",
    "confusion",
    "per_class",
    "finetuning",
    "number_format",
)
# Those that are written as CSV, too.
CSV_TABLES = ("differences", "leaderboard", "across_datasets")
LAYER_TABLE, FAMILY_TABLE, LADDER_TABLE = "layers", "families", "ladder"
FEW_GROUPS_TABLE = "groups_per_class"
ABLATION_TABLES = ("ablation", "ablation_carriers")
TRANSFER_TABLES = ("transfer", "transfer_costs", "transfer_ranks", "transfer_pairs")
WEIGHT_TABLES = ("channel_gains", "channel_weights")
LEVEL_TABLES = ("aggregate", "aggregate_differences")
FIGURES_VERSION = 8


class _Drawing(Step):
    """A step that draws a figure."""

    version = FIGURES_VERSION

    @property
    def family(self) -> str:
        return "figures"


class _Comparison(Step):
    """A step on the scores of the whole study."""

    def jobs(self) -> Sequence[Job]:
        return [{}]

    def need(self, wildcards: Wildcards) -> Need:
        """Return the need of the comparison: all scores, predictions a fold at a time."""
        n_tiles = max(self.sizes.tiles(dataset)[0] for dataset in self.study.datasets)
        draws, n_scored = self.config.compare.bootstrap, len(self.study.probed())
        seconds = 5 * n_scored * (1 + n_tiles / 10_000) * draws / 1000
        memory = table_mb(n_tiles) + n_scored + MB_PER_DRAW * draws
        return Need.of(memory, seconds)


class Compare(_Comparison):
    """Compare all scores: summary, paired differences, sentences."""

    name = "compare"
    version = 8
    options = ("study_folder=folder", "stores", "settings")

    def inputs(self) -> dict[str, Any]:
        frozen = [(probe, p) for p in self.study.probed() for probe in probe_names(self.config)]
        tables = ("recall.csv", "differences.csv")
        recalled = [self.paths.relations(name, t) for name in self.related() for t in tables]
        of_probes = {
            kind: [
                path_of(probe, p.dataset, p.representation, p.channels) for probe, p in evaluated
            ]
            for kind, path_of, evaluated in (
                ("scores", self.paths.scores, self.evaluated()),
                ("predictions", self.paths.predictions, self.evaluated()),
                ("halves", self.paths.halves, frozen),
            )
        }
        made = [self.paths.tiles(name) for name in self.study.image_datasets]
        described = list(map(self.paths.tile_table, self.study.datasets))
        of_probes |= {"tiles": made, "tile_tables": described}
        cells = [self.paths.trained(name) for name in self.study.cells]
        given = {"recalled": recalled, "cells": cells, "segmented": mask_tables(self)}
        given["nuisance"] = nuisance_tables(self)
        given |= transfer_files(self) | ablation_files(self) | joining_files(self)
        return of_probes | {name: paths for name, paths in given.items() if paths}

    def related(self) -> list[str]:
        """Return the datasets whose stores are related to known pairs."""
        return list(self.study.datasets) if self.config.relations.sources else []

    def outputs(self) -> dict[str, Any]:
        return {
            "tables": [self.paths.comparison(table) for table in [*TABLES, *self.further()]],
            "summary": self.paths.summary_csv,
            "sentences": self.paths.summary_md,
            "details": self.paths.details_md,
            "page": Shown(self.paths.summary_html, "report/summary.rst", "Summary"),
        }

    def companions(self, job: Job) -> list[Path]:
        tables = [*CSV_TABLES, *self.further()]
        return [self.paths.comparison(table).with_suffix(".csv") for table in tables]

    def further(self) -> list[str]:
        """Return the names of the tables that not every study has."""
        of_grids = list(GRID_TABLES) if self.study.cells else []
        asked = {
            LAYER_TABLE: self.study.layered,
            FAMILY_TABLE: self.study.families or self.study.swept,
            LADDER_TABLE: self.config.splits.columns,
            JOINED: joined_stores(self.study),
            FEW_GROUPS_TABLE: self.config.splits.groups_per_class,
        }
        elsewhere = list(TRANSFER_TABLES) if transfers(self.study) else []
        elsewhere += list(ABLATION_TABLES) if ablated_stores(self.study) else []
        elsewhere += list(WEIGHT_TABLES) if weighted_probed(self.study) else []
        return of_grids + [table for table, values in asked.items() if values] + elsewhere

    def params(self) -> dict[str, Any]:
        return {
            "folder": self.paths.root,
            "stores": nested(self.study.probed()),
            # Left out where it is empty: a comparison without these is not out of date.
            "settings": self.settings().model_dump_json(exclude=self.not_asked_for()),
            "more": self.evaluated_arguments(),
        }

    def not_asked_for(self) -> set[str]:
        """Return the settings of what this study does not do."""
        asked = {
            "cells": self.study.cells,
            "layered": self.study.layered,
            "nuisances": self.study.nuisances(),
            "families": self.study.families or self.study.swept,
            "columns": self.config.splits.columns,
            "not_transferred": not_transferred(self.study),
            "not_ablated": not_ablated(self.study),
            "not_joined": not_joined(self.study),
        }
        return {name for name, value in asked.items() if not value}

    def settings(self) -> Comparison:
        """Return the study's settings, and what the cards say of the backbones."""
        return Comparison(
            **self.config.compare.model_dump(),
            may_have_seen=self.study.may_have_seen(),
            controls=self.study.controls(),
            nuisances=self.study.nuisances(),
            operations=self.operations(),
            cells={name: TrainedCell(**asdict(cell)) for name, cell in self.study.cells.items()},
            layered=list(self.study.layered),
            families=self.members(),
            columns=self.config.splits.columns,
            not_transferred=not_transferred(self.study),
            not_ablated=not_ablated(self.study),
            not_joined=not_joined(self.study),
        )

    def members(self) -> dict[str, FamilyMember]:
        """Return the backbones of families and sweeps, with their sizes."""
        found = {}
        for name, family in self.study.families.items():
            cost = self.sizes.known_cost(name)
            weights = None if cost is None else cost.parameters
            found[name] = FamilyMember(family=family, size=weights)
        for name, one in self.study.swept.items():
            found[name] = FamilyMember(family=one.card, axis=one.axis, size=one.value)
        return found

    def operations(self) -> dict[str, dict[str, float]]:
        """Return dataset -> store -> operations per tile, where they are known."""
        found: dict[str, dict[str, float]] = {}
        for p in self.study.probed():
            if self.study.is_table(p.dataset):
                continue
            store = f"{p.representation} / {family_of(p.channels)}"
            if not self.sizes.card(p.backbone).is_network:
                found.setdefault(p.dataset, {})[p.representation] = 0
                continue
            cost, n_passes = self.sizes.cost(p.dataset, p.backbone, p.stored_channels)
            if cost is not None:
                passes = 1 if single_channel(p.channels) else n_passes
                found.setdefault(p.dataset, {})[store] = cost.operations * passes
        return found

    def evaluated(self) -> list[tuple[str, Probed]]:
        """Return every probe, or mode of fine-tuning, of everything that it evaluates."""
        frozen = [(probe, p) for p in self.study.probed() for probe in probe_names(self.config)]
        tuned = [(head, p) for p in self.study.fine_tuned() for head in self.study.tuned_heads()]
        return frozen + tuned

    def evaluated_arguments(self) -> list[str]:
        """Return the probes, and what is fine-tuned, as arguments of the step."""
        words = [text for probe in probe_names(self.config) for text in ("--probe", probe)]
        if heads := self.study.tuned_heads():
            words += ["--tuned", nested(self.study.fine_tuned())]
            words += [text for head in heads for text in ("--tuned-head", head)]
        words += [text for name in self.related() for text in ("--related", name)]
        if elsewhere := transferred(self):
            words += ["--transferred", elsewhere]
        if ablated := ablated_probed(self.study):
            words += ["--ablated", nested(ablated)]
        if weighted := weighted_probed(self.study):
            words += ["--weighted", nested(weighted)]
        if joined := joined_stores(self.study):
            words += ["--joined", nested([each.probed for each in joined])]
        words += ["--segmented"] * bool(mask_tables(self))
        return words + ["--nuisances"] * (self.config.nuisance is not None)


class SegmentCompare(_Comparison):
    """Compare backbones by the masks that decoders predict."""

    name = "segment_compare"
    options = (
        "study_folder=folder",
        "stores",
        "compared",
        "settings",
        "output=svg",
        "output=png",
    )

    def jobs(self) -> Sequence[Job]:
        return [{}] if self.study.segmented() else []

    def inputs(self) -> dict[str, Any]:
        stores = [
            (SEGMENT, p.dataset, p.representation, p.channels) for p in self.study.segmented()
        ]
        return {
            "scores": [self.paths.scores(*store) for store in stores],
            "predictions": [self.paths.predictions(*store) for store in stores],
            **({"elsewhere": [self.paths.elsewhere(*s) for s in stores]} if self.shifts else {}),
        }

    @property
    def shifts(self) -> bool:
        """Whether decoders are tested out of domain."""
        return bool(self.config.segmentation and self.config.segmentation.out_of_domain)

    def outputs(self) -> dict[str, Any]:
        figure = figure_files(self, "dice", "dice", "Segmentation", figure="dice")
        return {"tables": mask_tables(self), **figure}

    def companions(self, job: Job) -> list[Path]:
        return [path.with_suffix(".csv") for path in mask_tables(self)]

    def params(self) -> dict[str, Any]:
        return {
            "folder": self.paths.root,
            "stores": nested(self.study.segmented()),
            "compared": self.config.compare.model_dump_json(),
            "settings": self.config.figures.model_dump_json(),
            **({"more": ["--out-of-domain"]} if self.shifts else {}),
        }


def mask_tables(step: Step) -> list[Path]:
    """Return the tables of the comparison of masks; none of a study that does not segment."""
    settings = step.config.segmentation
    if settings is None or not step.study.segmented():
        return []
    names = MASK_TABLES
    names += OBJECT_TABLES if step.study.with_objects else ()
    names += SHIFT_TABLES if settings.out_of_domain else ()
    return [step.paths.comparison(name) for name in names]


class NuisanceCompare(_Comparison):
    """Compare what stores know besides biology."""

    name = "nuisance_compare"
    options = (
        "study_folder=folder",
        "stores",
        "compared",
        "settings",
        "output=svg",
        "output=png",
    )

    def jobs(self) -> Sequence[Job]:
        return [{}] if self.config.nuisance is not None else []

    def inputs(self) -> dict[str, Any]:
        return {
            table: [
                self.paths.nuisance(table, p.dataset, p.representation, p.channels)
                for p in self.study.probed()
            ]
            for table in TABLES_OF_NUISANCE
        }

    def outputs(self) -> dict[str, Any]:
        figure = figure_files(self, "nuisance", "nuisance", "Figures", figure="besides biology")
        return {"tables": nuisance_tables(self), **figure}

    def companions(self, job: Job) -> list[Path]:
        return [path.with_suffix(".csv") for path in nuisance_tables(self)]

    def params(self) -> dict[str, Any]:
        return {
            "folder": self.paths.root,
            "stores": nested(self.study.probed()),
            "compared": self.config.compare.model_dump_json(),
            "settings": self.config.figures.model_dump_json(),
        }


def nuisance_tables(step: Step) -> list[Path]:
    """Return the tables of what stores know besides biology; none where that is not asked."""
    if step.config.nuisance is None:
        return []
    return [step.paths.comparison(name) for name in COMPARED]


class Aggregation(_Comparison):
    """Compare tiles, fields and groups."""

    name = "aggregation"
    version = 4
    options = (
        "study_folder=folder",
        "stores",
        "aggregate",
        "compared",
        "settings",
        "output=svg",
        "output=png",
    )

    def jobs(self) -> Sequence[Job]:
        return [{}] if self._levels() else []

    def inputs(self) -> dict[str, Any]:
        levels = [(p.dataset, p.representation, p.channels) for p in self._levels()]
        return {
            "scores": [self.paths.aggregate_scores(*level) for level in levels],
            "halves": [self.paths.aggregate_halves(*level) for level in levels],
        }

    def outputs(self) -> dict[str, Any]:
        tables = [self.paths.comparison(table) for table in LEVEL_TABLES]
        figure = figure_files(self, "aggregation", "aggregation", "Figures", figure="aggregation")
        return {"tables": tables, **figure}

    def params(self) -> dict[str, Any]:
        return {
            "folder": self.paths.root,
            "stores": nested(self.study.probed()),
            "aggregate": self.config.aggregate.model_dump_json(),
            "compared": self.config.compare.model_dump_json(),
            "settings": self.config.figures.model_dump_json(),
        }

    def _levels(self) -> list[Probed]:
        return scored_at_levels(self.study.probed(), self.config.aggregate)


class Figure(_Drawing):
    """Draw one figure of the comparison.

    Parameters
    ----------
    study, sizes
        As of every step.
    figure
        The figure.
    """

    options = ("study_folder=folder", "settings", "output=svg", "output=png")

    def __init__(self, study: Study, sizes: Sizes, figure: ComparisonFigure) -> None:
        super().__init__(study, sizes)
        self.figure = figure
        self.name = f"figure_{figure.name}"  # type: ignore[misc]

    def jobs(self) -> Sequence[Job]:
        return [{}]

    @property
    def command(self) -> str:
        return f"figure {self.figure.name}"

    def inputs(self) -> dict[str, Any]:
        tables = [self.paths.comparison(name) for name in [*TABLES, *self.figure.tables]]
        return {"summary": self.paths.summary_csv, "tables": tables}

    def outputs(self) -> dict[str, Any]:
        name = self.figure.name
        return figure_files(self, name, name, "Figures", figure=name.replace("_", " "))

    def params(self) -> dict[str, Any]:
        return {"folder": self.paths.root, "settings": self.config.figures.model_dump_json()}

    def need(self, wildcards: Wildcards) -> Need:
        n_scored = len(self.study.probed())
        return Need.of(2 * TABLES_MB + n_scored, n_scored)


class _EmbeddingFigure(_Drawing):
    """A figure of the embeddings of one dataset."""

    wildcards = ("dataset",)

    def jobs(self) -> Sequence[Job]:
        return per_dataset(self.study.datasets)

    def params(self) -> dict[str, Any]:
        return {
            "card": self.dataset_card,
            "folder": self.paths.root,
            "stores": self.stores,
            "settings": self.config.figures.model_dump_json(),
        }

    def dataset_card(self, wildcards: Wildcards) -> Path:
        """Return the path of a dataset's card."""
        return self.study.all_datasets[wildcards.dataset].path

    def stores(self, wildcards: Wildcards) -> str:
        """Return what is evaluated in a dataset, as JSON."""
        return nested(self._probed(wildcards.dataset))

    def embeddings(self, wildcards: Wildcards) -> list[Path]:
        """Return the manifests of every store of a dataset."""
        manifests = (self.paths.embeddings_of(p) for p in self._probed(wildcards.dataset))
        return list(dict.fromkeys(manifests))

    def need(self, wildcards: Wildcards) -> Need:
        """Return the need of a figure of embeddings: one matrix at a time."""
        stores = self._probed(wildcards.dataset)
        largest = max(matrices_mb(*self.sizes.probed(p)) for p in stores)
        return Need.of(TORCH_MB + largest, 60 * len(stores))

    def _probed(self, dataset: str) -> list[Probed]:
        return [p for p in self.study.probed() if p.dataset == dataset]


class EmbeddingMaps(_EmbeddingFigure):
    """Draw the embeddings of each store of a dataset in two dimensions."""

    name = "embedding_maps"
    # Maps of datasets without labels show all tiles.
    version = FIGURES_VERSION + 1
    options = (
        "study_folder=folder",
        "stores",
        "table",
        "card",
        "settings",
        "output=svg",
        "output=png",
    )

    def inputs(self) -> dict[str, Any]:
        return {"embeddings": self.embeddings, "table": self.labelled_table()}

    def outputs(self) -> dict[str, Any]:
        place = "embedding_maps/{dataset}"
        return figure_files(self, place, "embedding_maps", "Embedding maps", dataset="{dataset}")


class Gallery(_EmbeddingFigure):
    """Draw tiles with their nearest neighbours in the best store of a dataset."""

    name = "gallery"
    options = (
        "study_folder=folder",
        "stores",
        "tiles",
        "table",
        "card",
        "knn",
        "settings",
        "output=svg",
        "output=png",
    )

    def jobs(self) -> Sequence[Job]:
        wanted = self.config.scored and self.config.figures.gallery_tiles
        return per_dataset(self.study.image_datasets if wanted else [])

    def inputs(self) -> dict[str, Any]:
        return {
            "chosen": self.paths.comparison("chosen"),
            "tiles": self.paths.tiles(),
            "table": self.labelled_table(),
            "embeddings": self.embeddings,
        }

    def outputs(self) -> dict[str, Any]:
        place = "gallery/{dataset}"
        return figure_files(self, place, "gallery", "Galleries", dataset="{dataset}")

    def params(self) -> dict[str, Any]:
        return {**super().params(), "knn": self.config.knn.model_dump_json()}


class OcclusionMaps(_Drawing):
    """Draw what heads on a store lose where tiles are covered."""

    name = "occlusion_maps"
    wildcards = ("dataset", "representation", "channels")
    options = ("losses", "tiles", "card", "settings", "output=svg", "output=png")

    def jobs(self) -> Sequence[Job]:
        return per_probed(occluded_stores(self.study))

    def inputs(self) -> dict[str, Any]:
        return {"losses": self.paths.occlusion(), "tiles": embedded_tiles(self)}

    def outputs(self) -> dict[str, Any]:
        place = "{dataset}", "{representation}", "{channels}"
        labels = {"dataset": place[0], "store": f"{place[1]} / {place[2]}"}
        file = f"occlusion/{'/'.join(place)}"
        return figure_files(self, file, "occlusion", "Occlusion maps", **labels)

    def params(self) -> dict[str, Any]:
        return {
            "card": lambda wildcards: self.study.all_datasets[wildcards.dataset].path,
            "settings": self.config.figures.model_dump_json(),
        }

    def need(self, wildcards: Wildcards) -> Need:
        return Need.of(TORCH_MB + TABLES_MB, 60)


class NewPairs(_EmbeddingFigure):
    """Draw the most similar pairs of a dataset that no source has."""

    name = "new_pairs"
    options = (
        "relations",
        "tiles",
        "table",
        "card",
        "roles",
        "settings",
        "output=svg",
        "output=png",
    )

    def jobs(self) -> Sequence[Job]:
        related = self.config.relations.sources
        return per_dataset(self.study.image_datasets if related else [])

    def inputs(self) -> dict[str, Any]:
        return {
            "tables": [self.paths.relations(name=f"{t}.csv") for t in ("recall", "new_pairs")],
            "tiles": self.paths.tiles(),
            "table": self.labelled_table(),
        }

    def outputs(self) -> dict[str, Any]:
        place = "new_pairs/{dataset}"
        return figure_files(self, place, "new_pairs", "Known biology", dataset="{dataset}")

    def params(self) -> dict[str, Any]:
        return {
            "card": self.dataset_card,
            "relations": lambda wildcards: self.paths.relations(wildcards.dataset),
            "roles": self.config.roles.model_dump_json(),
            "settings": self.config.figures.model_dump_json(),
        }

    def need(self, wildcards: Wildcards) -> Need:
        return Need.of(TORCH_MB + 2 * TABLES_MB, 60)


class TrainingCurves(_Drawing):
    """Draw how the training of a backbone went."""

    name = "training_curves"
    wildcards = ("backbone",)
    options = ("manifest", "settings", "output=svg", "output=png")

    def jobs(self) -> Sequence[Job]:
        return [{"backbone": name} for name in self.study.trainings]

    def inputs(self) -> dict[str, Any]:
        return {"manifest": self.paths.trained()}

    def outputs(self) -> dict[str, Any]:
        place = "training/{backbone}"
        return figure_files(self, place, "training", "Training", backbone="{backbone}")

    def params(self) -> dict[str, Any]:
        return {"settings": self.config.figures.model_dump_json()}

    def need(self, wildcards: Wildcards) -> Need:
        return Need.of(2 * TABLES_MB)


def figure_files(
    step: Step, place: str, caption: str, category: str, **labels: str
) -> dict[str, Any]:
    """Return the files of a figure, of which the report shows the SVG.

    Parameters
    ----------
    step
        The step that draws it.
    place
        Name in the folder of figures; may hold folders and wildcards.
    caption
        Module of `figures` next to which the caption is.
    category, labels
        Where the report shows it.
    """
    file = f"transferscope/figures/{caption}.rst"
    svg, png = (step.paths.figure(place, extension) for extension in EXTENSIONS)
    return {"svg": Shown(svg, file, category, labels=labels), "png": png}


def figure_steps(study: Study, sizes: Sizes) -> list[Step]:
    """Return a step for each figure for which the study computes what it shows."""
    shown = (figure for figure in FIGURES.values() if figure.shown(study))
    return [Figure(study, sizes, figure) for figure in shown]


def transferred(step: Step) -> str:
    """Return what is trained on each dataset and tested on others, as JSON; empty: nothing."""
    found: dict[str, list[Probed]] = {}
    for each in transfers(step.study):
        found.setdefault(each.source, []).append(each.probed)
    named = {source: json.loads(nested(tested)) for source, tested in found.items()}
    return json.dumps(named, separators=(",", ":")) if named else ""


def nested(probed: Iterable[Probed]) -> str:
    """Return what is evaluated as JSON: dataset over representation over channel strategies.

    Nested, because a shell command must stay below 128 KiB.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for p in probed:
        found.setdefault(p.dataset, {}).setdefault(p.representation, []).append(p.channels)
    return json.dumps(found, separators=(",", ":"))


STEPS: tuple[type[Step], ...] = (
    SegmentCompare,
    NuisanceCompare,
    Compare,
    Aggregation,
    EmbeddingMaps,
    Gallery,
    OcclusionMaps,
    NewPairs,
    TrainingCurves,
)
