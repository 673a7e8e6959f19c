"""What the Snakemake rules ask for: targets, inputs, parameters and messages of a study."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from transferscope.cards import DatasetCard
from transferscope.config.jobs import (
    AggregateProbe,
    FinetuneProbe,
    HeadProbe,
    KnnProbe,
    Pretraining,
    TrainingSource,
)
from transferscope.config.modes import head_of_mode
from transferscope.config.probes import FinetuneSettings
from transferscope.costs.needs import Needs
from transferscope.datasets.inputs import fetch_fingerprint, fetch_inputs, is_fetched
from transferscope.labelling.label_table import label_table_of
from transferscope.parts import read_parts
from transferscope.probes.variants import fields_of, scored_at_levels
from transferscope.runtime.fingerprint import fingerprint
from transferscope.study.signatures import with_signatures
from transferscope.study.study import Probed, Study
from transferscope.tiles.published import published_digest

FIGURES = ("strategies", "scaling", "neighbours", "classes", "confusion", "split_gap")
EXTENSIONS = ("svg", "png")
AGGREGATE_TABLES = ("aggregate", "aggregate_differences")
TABLES = ("scores", "differences", "chosen", "confusion", "per_class", "finetuning")
PROBES = ("heads", "knn")
SHIPPED = Path(__file__).resolve().parents[2]


@with_signatures
class Plan:
    """Answers of one study to the questions of the rules.

    Methods that take ``wildcards`` are input, parameter or resource functions of a rule.

    Parameters
    ----------
    study
        The study.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self.paths = study.paths
        self.config = study.config
        self.needs = Needs(study)

    def targets(self) -> list[Path]:
        """Return the files that a finished study consists of.

        Stores and tables are among them, though figures need them anyway: what is lost or removed
        as damaged is made again, also where all that follows from it is still there.
        """
        paths = self.paths
        datasets = self.study.datasets
        figures = [*self.figures(), *(f"embedding_maps/{d}" for d in datasets)]
        figures += [f"gallery/{d}" for d in self.galleries()]
        figures += ["aggregation"] * bool(self.aggregated())
        figures += [f"training/{backbone}" for backbone in self.study.trained]
        return [
            paths.summary_csv,
            paths.summary_md,
            *self.stores(),
            *(paths.splits(dataset) for dataset in datasets),
            *self.probe_files("scores"),
            *self.probe_files("predictions"),
            *(paths.quality(dataset) for dataset in self.study.all_datasets),
            *(paths.contact_sheets(dataset) for dataset in self.study.datasets),
            *(paths.plausibility(dataset) for dataset in self.cut_into("cells")),
            *(paths.overlays(dataset) for dataset in self.cut_into("cells")),
            *(paths.figure(name, extension) for name in figures for extension in EXTENSIONS),
        ]

    def stores(self) -> list[Path]:
        """Return the manifests of all stores."""
        paths = self.paths
        embedded = (
            paths.embeddings(p.dataset, p.backbone, p.stored_channels) for p in self.study.probed()
        )
        return [*map(paths.tiles, self.study.all_datasets), *dict.fromkeys(embedded)]

    def figures(self) -> list[str]:
        """Return the figures for which the config computes what they show."""
        config = self.config
        shown = {
            "scaling": len(config.splits.fractions) > 1,
            "neighbours": bool(config.knn.k),
            "split_gap": len(config.splits.schemes) > 1,
        }
        return [name for name in FIGURES if shown.get(name, True)]

    def galleries(self) -> list[str]:
        """Return the datasets of which a gallery is asked for."""
        return list(self.study.datasets) if self.config.figures.gallery else []

    def aggregated(self) -> list[Probed]:
        """Return what is scored at several levels."""
        return scored_at_levels(self.study.probed(), self.config.aggregate)

    def probes(self) -> list[str]:
        """Return the probes that the config asks for."""
        return [p for p in PROBES if p != "knn" or self.config.knn.k]

    def probe_files(self, kind: str) -> list[Path]:
        """Return the "scores" or the "predictions" of every probe of everything evaluated."""
        path_of = getattr(self.paths, kind)
        frozen = [(probe, p) for p in self.study.probed() for probe in self.probes()]
        tuned = [(head, p) for p in self.study.fine_tuned() for head in self.tuned_heads()]
        return [
            path_of(probe, p.dataset, p.representation, p.channels) for probe, p in frozen + tuned
        ]

    def tuned_heads(self) -> list[str]:
        """Return the modes of fine-tuning, as the tables and the paths name them."""
        settings = self.config.finetune
        return [head_of_mode(mode) for mode in settings.modes] if settings.backbones else []

    def sheet(self, wildcards: Any) -> Path:
        """Return the sample sheet of a dataset: the user's, or that of the raw data made here."""
        return self.study.sheet_of(wildcards.dataset)

    def given_sheet(self, wildcards: Any) -> list[Path]:
        """Return the sample sheet of a dataset that is not fetched."""
        fetched = self._dataset(wildcards).fetch is not None
        return [] if fetched else [self.sheet(wildcards)]

    def fetched_anew(self, wildcards: Any) -> list[Path]:
        """Return the manifest of a dataset whose fetch is to come, or has to be done again."""
        return [] if self._is_fetched(wildcards) else self._manifest(wildcards)

    def fetched_before(self, wildcards: Any) -> list[Path]:
        """Return the manifest of a dataset that has been fetched as its card says now.

        It counts by its content: a fetch that is merely repeated makes nothing again.
        """
        return self._manifest(wildcards) if self._is_fetched(wildcards) else []

    def _manifest(self, wildcards: Any) -> list[Path]:
        fetched = self._dataset(wildcards).fetch is not None
        return [self.paths.fetched(wildcards.dataset)] if fetched else []

    def _is_fetched(self, wildcards: Any) -> bool:
        located = self.study.all_datasets[wildcards.dataset]
        return is_fetched(located.card, located.path, self.paths.fetched(wildcards.dataset))

    def made_by(self, source: str) -> list[str]:
        """Return the datasets whose raw data come by `simulate`, or by `fetch`."""
        datasets = self.study.all_datasets
        return [name for name in datasets if getattr(datasets[name].card, source) is not None]

    def cut_into(self, what: str) -> list[str]:
        """Return the datasets whose fields become `cells` or `tiles`, or did: `published`."""
        datasets = self.study.all_datasets
        return [name for name in datasets if _cut_into(datasets[name].card) == what]

    def fetch_inputs(self, wildcards: Any) -> list[Path]:
        """Return the files of this machine that a fetch reads: annotation table, or list."""
        located = self.study.all_datasets[wildcards.dataset]
        return fetch_inputs(located.card, located.path)

    def fetch_dependencies(self, wildcards: Any) -> str:
        """Return a digest of what a fetched sample sheet depends on."""
        located = self.study.all_datasets[wildcards.dataset]
        return fetch_fingerprint(located.card, located.path)

    def simulate_settings(self, wildcards: Any) -> str:
        """Return the simulator's settings as JSON."""
        settings = self._dataset(wildcards).simulate
        return settings.model_dump_json() if settings else ""

    def dataset_card(self, wildcards: Any) -> Path:
        """Return the path of a dataset's card."""
        return self.study.all_datasets[wildcards.dataset].path

    def tile_dependencies(self, wildcards: Any) -> str:
        """Return a digest of what a tile store depends on beside the sheet."""
        card = self._dataset(wildcards)
        return fingerprint([card.image_fingerprint(), self._raw_dependencies(card)])

    def published_dependencies(self, wildcards: Any) -> str:
        """Return a digest of what tiles that were published depend on."""
        card = self._dataset(wildcards)
        return fingerprint([card.image_fingerprint(), card.published, published_digest(card)])

    def cell_dependencies(self, wildcards: Any) -> str:
        """Return a digest of what the cells and their figures depend on beside the sheet."""
        cells = self._dataset(wildcards).cells
        overlays = cells.overlays if cells is not None else 0
        return fingerprint([self.tile_dependencies(wildcards), overlays])

    def _raw_dependencies(self, card: DatasetCard) -> str:
        if card.simulate is not None:
            return ""
        if card.fetch is None:
            return self.study.raw_digest(card.name)
        # Snakemake asks again after the fetch, so that this is never an older manifest.
        manifest = self.paths.fetched(card.name)
        return manifest.read_text(encoding="utf-8") if manifest.is_file() else ""

    def labelled_table(self, wildcards: Any) -> Path:
        """Return the tile table whose labels count: with those given by hand, if there are any."""
        name = wildcards.dataset
        by_hand = self._dataset(wildcards).label_table is not None
        return self.paths.relabelled(name) if by_hand else self.paths.tile_table(name)

    def label_table(self, wildcards: Any) -> Path:
        """Return the table of the labels given by hand."""
        located = self.study.all_datasets[wildcards.dataset]
        return label_table_of(located.card, located.path)

    def labelled_by_hand(self) -> list[str]:
        """Return the datasets whose cards name a label table."""
        datasets = self.study.datasets
        return [name for name in datasets if datasets[name].card.label_table is not None]

    def label_dependencies(self, wildcards: Any) -> str:
        """Return a digest of what a dataset card says about labels."""
        card = self._dataset(wildcards)
        return fingerprint([card.task, card.labels])

    def split_settings(self, _: Any) -> str:
        """Return the settings of the splits as JSON."""
        return self.config.splits.model_dump_json(exclude={"fractions"})

    def backbone_card(self, wildcards: Any) -> Path:
        """Return the path of a backbone's card."""
        return self.study.backbones[_backbone(wildcards)].path

    def backbone_dependencies(self, wildcards: Any) -> str:
        """Return a digest of what a backbone's embeddings depend on in its card."""
        return self.study.backbones[_backbone(wildcards)].card.fingerprint()

    def training_inputs(self, wildcards: Any) -> list[Path]:
        """Return what a training reads: tiles, tile tables, and splits that it has to respect."""
        return [
            path
            for source in self._training_sources(wildcards)
            for path in (source.tiles, source.table, source.splits)
            if path is not None
        ]

    def training_dependencies(self, wildcards: Any) -> str:
        """Return a digest of what a training depends on in its card."""
        return self.study.trained[wildcards.backbone].training_fingerprint()

    def training_settings(self, wildcards: Any) -> str:
        """Return the settings of a training as JSON."""
        return Pretraining(
            sources=self._training_sources(wildcards),
            held_out=self.study.held_out(self.study.trained[wildcards.backbone]),
            compute=self.config.compute,
            training=self.config.training,
        ).model_dump_json(exclude={"compute": {"blocks_a_job"}})

    def training_threads(self, _: Any) -> int:
        """Return how many processor cores a training asks for."""
        return self.config.compute.threads * self.config.training.processes

    def training_gpus(self, _: Any) -> int:
        """Return how many GPUs a training asks for."""
        return 0 if self.config.compute.device == "cpu" else self.config.training.processes

    def _training_sources(self, wildcards: Any) -> list[TrainingSource]:
        card = self.study.trained[wildcards.backbone]
        held_out = self.study.held_out(card) is not None
        return [
            TrainingSource(
                dataset=name,
                tiles=self.paths.tiles(name),
                # Labels given by hand come later, and change no training.
                table=self.paths.tile_table(name),
                splits=self.paths.splits(name)
                if held_out and name in self.study.datasets
                else None,
            )
            for name in card.datasets
        ]

    def trained_weights(self, wildcards: Any) -> list[Path]:
        """Return the manifest of a backbone that is trained here; nothing for any other."""
        name = _backbone(wildcards)
        return [self.paths.trained(name)] if name in self.study.trained else []

    def weights_arguments(self, wildcards: Any) -> list[str]:
        """Return the same as arguments of the step."""
        return [
            text for path in self.trained_weights(wildcards) for text in ("--weights", str(path))
        ]

    def embed_settings(self, _: Any) -> str:
        """Return the settings of the embedding as JSON."""
        # How the work is divided changes no embedding.
        return self.config.compute.model_dump_json(exclude={"blocks_a_job"})

    def part_files(self, wildcards: Any, parts: Path) -> list[Path]:
        """Return what the jobs that fill a store write, given their number."""
        w = wildcards
        return [
            self.paths.embedding_part(w.dataset, w.backbone, w.channels, str(part))
            for part in range(read_parts(Path(parts)))
        ]

    def embedding_manifest(self, wildcards: Any) -> Path:
        """Return the manifest of the store that several jobs fill."""
        return self.paths.embeddings(wildcards.dataset, wildcards.backbone, wildcards.channels)

    def parts_folder(self, wildcards: Any) -> Path:
        """Return the folder of these files."""
        w = wildcards
        return self.paths.embedding_start(w.dataset, w.backbone, w.channels).parent

    def finetune_settings(self, wildcards: Any) -> str:
        """Return the settings of a fine-tuning as JSON; what else is fine-tuned is none of them."""
        settings = self.config.finetune.model_dump(exclude={"backbones", "channels", "modes"})
        shared = self._shared(wildcards)
        probe = FinetuneProbe(
            **{**shared, "fractions": self.config.finetune.fractions or shared["fractions"]},
            settings=FinetuneSettings(**settings),
            heads=self.config.heads,
        )
        return probe.model_dump_json()

    def tuning_compute(self, _: Any) -> str:
        """Return where and how a fine-tuning runs, as JSON."""
        return self.config.compute.model_dump_json(include={"device", "precision", "threads"})

    def gpus(self, wildcards: Any) -> int:
        """Return how many GPUs an embedding or a fine-tuning asks for."""
        card = self.study.backbones[_backbone(wildcards)].card
        on_processor = self.config.compute.device == "cpu" or not card.is_network
        return 0 if on_processor else 1

    def embeddings_of(self, wildcards: Any) -> Path:
        """Return the manifest of the store that a probe reads."""
        p = Probed(wildcards.dataset, wildcards.representation, wildcards.channels)
        return self.paths.embeddings(p.dataset, p.backbone, p.stored_channels)

    def head_settings(self, wildcards: Any) -> str:
        """Return the settings of the heads as JSON."""
        return HeadProbe(settings=self.config.heads, **self._shared(wildcards)).model_dump_json()

    def knn_settings(self, wildcards: Any) -> str:
        """Return the settings of k-NN as JSON."""
        return KnnProbe(settings=self.config.knn, **self._shared(wildcards)).model_dump_json()

    def aggregate_settings(self, wildcards: Any) -> str:
        """Return the settings of the levels as JSON."""
        config = self.config
        probe = AggregateProbe(
            **{**self._shared(wildcards), "fractions": [1.0]},
            settings=config.aggregate,
            heads=config.heads,
            knn=config.knn,
        )
        return probe.model_dump_json()

    def fields_in(self, wildcards: Any) -> list[Path]:
        """Return manifest and tile table of the whole fields of a dataset of cells, if any."""
        probed = Probed(wildcards.dataset, wildcards.representation, wildcards.channels)
        fields = fields_of(probed, self.config.aggregate)
        if fields is None or fields not in self.study.probed():
            return []
        manifest = self.paths.embeddings(fields.dataset, fields.backbone, fields.stored_channels)
        return [manifest, self.paths.tile_table(fields.dataset)]

    def fields_arguments(self, wildcards: Any) -> list[str]:
        """Return the same as arguments of the step."""
        options = ("--fields", "--fields-table")
        paths = self.fields_in(wildcards)
        pairs = zip(options, map(str, paths), strict=False)
        return [text for pair in pairs for text in pair]

    def aggregate_files(self) -> list[Path]:
        """Return the score tables of everything that is scored at several levels."""
        return [
            self.paths.aggregate_scores(p.dataset, p.representation, p.channels)
            for p in self.aggregated()
        ]

    def aggregate_tables(self) -> list[Path]:
        """Return the tables that compare levels."""
        return [self.paths.comparison(table) for table in AGGREGATE_TABLES]

    def _shared(self, wildcards: Any) -> dict[str, Any]:
        backbone = _backbone(wildcards)
        return {
            "fractions": self.config.splits.fractions,
            "metrics": self.config.metrics,
            "leakage": self.study.leakage(backbone, wildcards.dataset),
        }

    def embeddings_in(self, wildcards: Any) -> list[Path]:
        """Return the manifests of every store of a dataset."""
        stores = [p for p in self.study.probed() if p.dataset == wildcards.dataset]
        manifests = (
            self.paths.embeddings(p.dataset, p.backbone, p.stored_channels) for p in stores
        )
        return list(dict.fromkeys(manifests))

    def probed_in(self, wildcards: Any = None) -> str:
        """Return what is evaluated, in one dataset or in all, as JSON.

        Nested, dataset over representation over channel strategies, because a shell command must
        stay below 128 KiB.
        """
        return _nested(
            p for p in self.study.probed() if wildcards is None or p.dataset == wildcards.dataset
        )

    def tuned_arguments(self) -> list[str]:
        """Return what is fine-tuned as arguments of a step; none where nothing is."""
        heads = [text for head in self.tuned_heads() for text in ("--tuned-head", head)]
        return ["--tuned", _nested(self.study.fine_tuned()), *heads] if heads else []

    def comparison_tables(self) -> list[Path]:
        """Return the tables of the comparison."""
        return [self.paths.comparison(table) for table in TABLES]

    def figure_settings(self, _: Any) -> str:
        """Return the settings of the figures as JSON."""
        return self.config.figures.model_dump_json()

    def closing_message(self) -> str:
        """Say where the results of a finished run are."""
        paths = self.paths
        if not all(target.exists() for target in self.targets()):
            return (
                f"\nThe files that were asked for are made; study {self.config.study} has more.\n"
            )
        lines = [
            ("What won, in sentences", paths.summary_md),
            ("All scores with intervals", paths.summary_csv),
            ("Figures (SVG and PNG)", paths.root / "figures"),
            ("Embedding stores (Zarr)", paths.root / "embeddings"),
            ("Logs, one a job", paths.root / "logs"),
        ]
        if self.study.trained:
            lines.insert(-1, ("Backbones trained here", paths.trained("").parent))
        width = max(len(what) for what, _ in lines)
        listing = "\n".join(f"  {what:<{width}}  {path}" for what, path in lines)
        report = f"  One page to share: snakemake --report {paths.root / 'report.html'}"
        return f"\nStudy {self.config.study} is complete.\n{listing}\n{report}\n"

    def failure_message(self) -> str:
        """Say where to look after a failed run."""
        return (
            f"\nStudy {self.config.study} is not complete. The message of the step that failed is "
            f"above and in {self.paths.root / 'logs'}.\nFinished results are kept: mend the cause "
            "and give the same command again; it goes on from there.\n"
        )

    def _dataset(self, wildcards: Any) -> DatasetCard:
        return self.study.all_datasets[wildcards.dataset].card


def _cut_into(card: DatasetCard) -> str:
    if card.published is not None:
        return "published"
    return "tiles" if card.cells is None else "cells"


def _backbone(wildcards: Any) -> str:
    """Return the backbone of a job on a store, or on one of its representations."""
    name: str = getattr(wildcards, "backbone", None) or wildcards.representation.partition("@")[0]
    return name


def _nested(probed: Iterable[Probed]) -> str:
    nested: dict[str, dict[str, list[str]]] = {}
    for p in probed:
        nested.setdefault(p.dataset, {}).setdefault(p.representation, []).append(p.channels)
    return json.dumps(nested, separators=(",", ":"))


def card_roots() -> Sequence[Path]:
    """Return the folders in which cards are looked up: the working folder, then this package's."""
    return [Path(), SHIPPED]
