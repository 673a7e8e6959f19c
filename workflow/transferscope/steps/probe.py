"""The steps that evaluate stores: probes of frozen embeddings, levels, and fine-tuning."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any, ClassVar

from transferscope import finetuning
from transferscope.config.jobs import AggregateProbe, FinetuneProbe, Leakage, ProbeJob
from transferscope.config.model import Model
from transferscope.config.modes import mode_of_head
from transferscope.config.probes import FinetuneSettings
from transferscope.costs.needs import (
    CUDA_MB,
    LEAST_MINUTES,
    MIB,
    TORCH_MB,
    Need,
    matrices_mb,
    network_rate,
    on_gpu,
    probes_on_gpu,
    training_mb,
)
from transferscope.costs.sizes import UNKNOWN_COST, Sizes
from transferscope.costs.tuning import tuning_passes
from transferscope.probes.probe import FrozenProbe, Load
from transferscope.probes.registry import HEADS, KNN, wanted_probes
from transferscope.probes.variants import fields_of, scored_at_levels
from transferscope.runtime import gpus
from transferscope.steps.embed import BackboneStep
from transferscope.steps.step import (
    Folder,
    Job,
    Step,
    Wildcards,
    backbone_of,
    per_probed,
    probed_of,
)
from transferscope.study.study import Study

CPU = "cpu"


class Evaluation(BackboneStep):
    """A step with one job per representation and channel strategy."""

    wildcards: ClassVar[tuple[str, ...]] = ("dataset", "representation", "channels")
    options: ClassVar[tuple[str, ...]] = (
        "embeddings",
        "representation",
        "channels",
        "table",
        "splits",
        "card",
        "settings",
        "threads",
        "scores",
        "predictions",
    )

    def inputs(self) -> dict[str, Any]:
        return {
            "embeddings": self.embeddings(),
            "table": self.labelled_table(),
            "splits": self.paths.splits(),
        }

    def embeddings(self) -> Any:
        """Return the manifest of the store that is evaluated: a pattern where one serves all."""
        probed = self.study.probed()
        named = (self.paths.embeddings(*astuple(p)) for p in probed)
        if all(map(operator.eq, named, map(self.paths.embeddings_of, probed))):
            return self.paths.embeddings(backbone="{representation}")
        return self.embeddings_of

    def embeddings_of(self, wildcards: Wildcards) -> Path:
        """Return the manifest of the store that a job reads."""
        return self.paths.embeddings_of(probed_of(wildcards))

    def dataset_card(self, wildcards: Wildcards) -> Path:
        """Return the path of a dataset's card."""
        return self.study.all_datasets[wildcards.dataset].path

    def shared(self, wildcards: Wildcards) -> dict[str, Any]:
        """Return the settings that all evaluations share.

        Only what a backbone has seen in a training of this study differs from job to job; without
        trainings, the wildcards may be None.
        """
        trained = self.study.trained
        leakage = (
            self.study.leakage(backbone_of(wildcards), wildcards.dataset) if trained else Leakage()
        )
        return {
            "fractions": self.config.splits.fractions,
            "metrics": self.config.metrics,
            "leakage": leakage,
        }

    def once(self, settings: Callable[[Wildcards], str]) -> Any:
        """Return settings that are the same for all jobs, or the function that finds a job's."""
        return settings if self.study.trained else settings(None)

    @property
    def threads(self) -> int:
        return self.config.compute.probe_threads

    @property
    def uses_gpus(self) -> bool:
        return False

    def load(self, wildcards: Wildcards) -> Load:
        """Return what a job of a probe has to do."""
        n_tiles, width = self.sizes.probed(probed_of(wildcards))
        n_classes = len(self.study.datasets[wildcards.dataset].card.labels)
        return Load(n_tiles, width, n_classes, self.config.splits)

    def probe_need(self, probe: FrozenProbe, settings: Model, wildcards: Wildcards) -> Need:
        """Return the need of a probe on a store: its matrix, and what the probe holds."""
        load = self.load(wildcards)
        memory = TORCH_MB + probe.memory_bytes / MIB
        memory += matrices_mb(load.n_tiles, load.n_features)
        return Need.of(memory, probe.seconds(settings, load))


class Probe(Evaluation):
    """Evaluate stores by one probe of frozen embeddings.

    Parameters
    ----------
    study, sizes
        As of every step.
    probe, settings
        The probe and its settings in the study.
    """

    options = (*Evaluation.options, "halves")

    def __init__(self, study: Study, sizes: Sizes, probe: FrozenProbe, settings: Model) -> None:
        super().__init__(study, sizes)
        self.probe, self.chosen = probe, settings
        self._devices: dict[str, str] = {}
        self.name, self.version = probe.name, probe.version  # type: ignore[misc]

    def jobs(self) -> Sequence[Job]:
        return per_probed(self.study.probed())

    @property
    def command(self) -> str:
        return f"probe {self.probe.name}"

    def outputs(self) -> dict[str, Any]:
        name = self.probe.name
        return {
            "scores": self.paths.scores(name),
            "predictions": self.paths.predictions(name),
            "halves": self.paths.halves(name),
        }

    def params(self) -> dict[str, Any]:
        return {"card": self.dataset_card, "settings": self.once(self.settings)}

    def settings(self, wildcards: Wildcards) -> str:
        """Return the settings of a job as JSON."""
        settings = self.chosen.model_dump(mode="json")
        job = ProbeJob(settings=settings, splits=self.config.splits, **self.shared(wildcards))
        return job.model_dump_json()

    def need(self, wildcards: Wildcards) -> Need:
        need = self.probe_need(self.probe, self.chosen, wildcards)
        if self.device(wildcards) == CPU:
            return need
        return Need(need.mem_mb + CUDA_MB, need.minutes)

    @property
    def uses_gpus(self) -> bool:
        return self.probe.on_gpu and probes_on_gpu(self.config)

    def gpus(self, wildcards: Wildcards) -> int:
        return int(self.device(wildcards) != CPU)

    def gpus_here(self, wildcards: Wildcards) -> int:
        # A job that would not use a GPU here waits for none.
        return self.gpus(wildcards) if self._must or gpus.may_be_here() else 0

    def unrecorded(self, wildcards: Wildcards) -> list[str]:
        # The same results but for rounding: a GPU that appears makes nothing again.
        device = self.device(wildcards)
        return [] if device == CPU else ["--device", device]

    def device(self, wildcards: Wildcards) -> str:
        """Return where a job runs; `auto`: on a GPU where there is one.

        It follows from the config and the size of the store, not from the machine.
        """
        job = str(wildcards)
        if job not in self._devices:
            used = self.uses_gpus and (self._must or self._is_worth_a_gpu(wildcards))
            self._devices[job] = self.config.compute.probes if used else CPU
        return self._devices[job]

    def _is_worth_a_gpu(self, wildcards: Wildcards) -> bool:
        return self.probe.is_worth_a_gpu(self.chosen, self.load(wildcards), self.threads)

    @property
    def _must(self) -> bool:
        return self.config.compute.probes == "cuda"


class Aggregate(Evaluation):
    """Score tiles, fields and groups of a store by the same head, on the same folds."""

    name = "aggregate"
    version = 5
    options = (*Evaluation.options, "halves")

    def jobs(self) -> Sequence[Job]:
        return per_probed(scored_at_levels(self.study.probed(), self.config.aggregate))

    def inputs(self) -> dict[str, Any]:
        return {**super().inputs(), "fields": self.fields}

    def outputs(self) -> dict[str, Any]:
        predictions = Folder(self.paths.aggregate_predictions("tile").parent)
        return {
            "scores": self.paths.aggregate_scores(),
            "predictions": predictions,
            "halves": self.paths.aggregate_halves(),
        }

    def params(self) -> dict[str, Any]:
        return {
            "card": self.dataset_card,
            "settings": self.once(self.settings),
            "more": self.fields_arguments,
        }

    def settings(self, wildcards: Wildcards) -> str:
        """Return the settings of the levels as JSON."""
        config = self.config
        probe = AggregateProbe(
            **{**self.shared(wildcards), "fractions": [1.0]},
            settings=config.aggregate,
            splits=config.splits.by_fraction.model_copy(update={"fractions": [1.0]}),
            heads=config.heads,
            knn=config.knn,
        )
        return probe.model_dump_json()

    def fields(self, wildcards: Wildcards) -> list[Path]:
        """Return manifest and tile table of the whole fields of a dataset of cells, if any."""
        fields = fields_of(probed_of(wildcards), self.config.aggregate)
        if fields is None or fields not in self.study.probed():
            return []
        return [self.paths.embeddings_of(fields), self.paths.tile_table(fields.dataset)]

    def fields_arguments(self, wildcards: Wildcards) -> list[str]:
        """Return the same as arguments of the step."""
        pairs = zip(("--fields", "--fields-table"), self.fields(wildcards), strict=False)
        return [text for option, path in pairs for text in (option, str(path))]

    def need(self, wildcards: Wildcards) -> Need:
        """Return the need of the same heads at several levels, one after the other."""
        settings = self.config.aggregate
        heads = self.probe_need(HEADS, self.config.heads, wildcards)
        knn = self.probe_need(KNN, self.config.knn, wildcards)
        variants = 1 + len(settings.levels) * len(settings.methods)
        minutes = heads.minutes + knn.minutes - 2 * LEAST_MINUTES
        return Need(heads.mem_mb, LEAST_MINUTES + variants * minutes)


class Finetune(Evaluation):
    """Train backbones with labels, on the divisions of the heads."""

    name = "finetune"
    version = finetuning.VERSION
    # Filed by mode, as its scores are.
    place = "{tuned_head}/{dataset}/{representation}/{channels}"
    wildcards = ("tuned_head", "dataset", "representation", "channels")
    options = (
        "head=tuned_head",
        "tiles",
        "backbone",
        *(option for option in Evaluation.options if option != "threads"),
        "compute",
        "losses",
    )

    def jobs(self) -> Sequence[Job]:
        heads = self.study.tuned_heads()
        probed = per_probed(self.study.fine_tuned())
        return [{"tuned_head": head, **job} for job in probed for head in heads]

    def inputs(self) -> dict[str, Any]:
        tiles, weights = self.paths.tiles(), self.trained_weights()
        return {"tiles": tiles, "weights": weights, **super().inputs()}

    def outputs(self) -> dict[str, Any]:
        head = "{tuned_head}"
        return {
            "scores": self.paths.scores(head),
            "predictions": self.paths.predictions(head),
            "losses": self.paths.losses(head),
        }

    def params(self) -> dict[str, Any]:
        return {
            "backbone": self.backbone_card,
            "depends": self.backbone_digest,
            "more": self.weights_arguments(),
            "card": self.dataset_card,
            "settings": self.once(self.settings),
            "compute": self.config.compute.model_dump_json(
                include={"device", "precision", "threads"}
            ),
        }

    def settings(self, wildcards: Wildcards) -> str:
        """Return the settings of a fine-tuning as JSON; what else is fine-tuned is none of them."""
        settings = self.config.finetune.model_dump(exclude={"backbones", "channels", "modes"})
        shared = self.shared(wildcards)
        probe = FinetuneProbe(
            **{**shared, "fractions": self.config.finetune.fractions or shared["fractions"]},
            settings=FinetuneSettings(**settings),
            heads=self.config.heads,
        )
        return probe.model_dump_json()

    @property
    def threads(self) -> int:
        return self.config.compute.threads

    @property
    def uses_gpus(self) -> bool:
        return on_gpu(self.config)

    def need(self, wildcards: Wildcards) -> Need:
        """Return the need of a fine-tuning: tiles in memory, weights, steps of a batch."""
        dataset, backbone = wildcards.dataset, backbone_of(wildcards)
        card, config = self.sizes.card(backbone), self.config
        found, passes = self.sizes.cost(dataset, backbone, wildcards.channels)
        cost, size = found or UNKNOWN_COST, self.sizes.tiles(dataset)
        images = passes * config.finetune.batch_size
        batch = images * len(card.named_slots) * card.input_size**2
        memory = training_mb(config, [size], cost, batch)
        memory += matrices_mb(*self.sizes.probed(probed_of(wildcards)))
        shown = size[0] * tuning_passes(config, mode_of_head(wildcards.tuned_head))
        heads = self.probe_need(HEADS, config.heads, wildcards)
        seconds = shown * passes * cost.operations / network_rate(config) + 60 * heads.minutes
        return Need.of(memory, seconds)


def probe_steps(study: Study, sizes: Sizes) -> list[Step]:
    """Return a step for each probe of frozen embeddings that the study asks for."""
    wanted = wanted_probes(study.config)
    return [Probe(study, sizes, probe, settings) for probe, settings in wanted.items()]


STEPS: tuple[type[Step], ...] = (Finetune, Aggregate)
