"""The steps that ablate channels, or cover tiles, and test trained heads on what is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from transferscope.config.ablation import (
    ABLATION,
    CHANNEL_WEIGHTS,
    SHARPNESS,
    Ablation,
    AblationSettings,
    OcclusionSettings,
)
from transferscope.config.jobs import AblationProbe, OcclusionProbe, WeightProbe
from transferscope.config.paths import StudyPaths
from transferscope.config.probed import Probed
from transferscope.costs.needs import LEAST_MINUTES, MIB, TORCH_MB, Need, matrices_mb
from transferscope.probes.probe import Load
from transferscope.probes.registry import HEADS, wanted_probes
from transferscope.steps.embed import EmbeddingStep, embedded_tiles
from transferscope.steps.probe import Evaluation
from transferscope.steps.step import Job, Step, Wildcards, backbone_of, per_probed, probed_of
from transferscope.study.ablations import (
    ablated_probed,
    ablated_stores,
    occluded_stores,
    weighted_probed,
)


class _Ablating(Step):
    """A step that knows what is taken from which store."""

    @cached_property
    def ablations(self) -> dict[Probed, tuple[Ablation, ...]]:
        """What is done to the tiles of each store."""
        return {each.probed: each.ablations for each in ablated_stores(self.study)}


class EmbedAblated(_Ablating, EmbeddingStep):
    """Embed every tile once more, without one channel or with that of another tile."""

    name = "embed_ablated"
    wildcards = ("dataset", "backbone", "channels", "ablation")
    options = (
        "tiles",
        "table",
        "backbone",
        "channels",
        "ablation",
        "settings",
        "manifest",
        "seed",
    )

    def jobs(self) -> Sequence[Job]:
        return self.stores()

    def stores(self) -> list[Job]:
        """Return the wildcards of every store of ablated tiles."""
        found = {
            (p.dataset, p.backbone, p.stored_channels, ablation.name): None
            for p, ablations in self.ablations.items()
            for ablation in ablations
        }
        return [dict(zip(self.wildcards, store, strict=True)) for store in found]

    def inputs(self) -> dict[str, Any]:
        return {
            "tiles": embedded_tiles(self),
            "table": self.paths.tile_table(),
            "weights": self.trained_weights(),
        }

    def outputs(self) -> dict[str, Any]:
        return {"manifest": self.paths.ablated()}

    def params(self) -> dict[str, Any]:
        settings = self.config.ablation or AblationSettings()
        return {**self.filling(), "seed": settings.seed}

    @cached_property
    def _strategies_of(self) -> dict[tuple[str, str, str], list[str]]:
        found: dict[tuple[str, str, str], list[str]] = {}
        for s in self.stores():
            key = s["dataset"], s["backbone"], s["ablation"]
            found.setdefault(key, []).append(s["channels"])
        return found

    def siblings(self, wildcards: Wildcards) -> list[str]:
        # Only the same tiles are read in one pass.
        key = wildcards.dataset, wildcards.backbone, wildcards.ablation
        found = self._strategies_of.get(key, [])
        return [channels for channels in found if channels != wildcards.channels]

    def manifest_of(self, wildcards: Wildcards, channels: str) -> Path:
        w = wildcards
        return self.paths.ablated(w.dataset, w.backbone, channels, w.ablation)

    def need(self, wildcards: Wildcards) -> Need:
        return self.whole(wildcards)


class Ablate(_Ablating, Evaluation):
    """Test the probes of a store on tiles that lack one channel, after the other."""

    name = "ablate"
    options = (*Evaluation.options, "halves")

    def jobs(self) -> Sequence[Job]:
        return per_probed(self.ablations)

    def inputs(self) -> dict[str, Any]:
        return {**super().inputs(), "embeddings": self.embeddings_of, "ablated": self.ablated}

    def ablated(self, wildcards: Wildcards) -> list[Path]:
        """Return the manifests of the stores that a job tests on."""
        return list(self._ablated(wildcards).values())

    def _ablated(self, wildcards: Wildcards) -> dict[str, Path]:
        p = probed_of(wildcards)
        return {
            ablation.name: self.paths.ablated(
                p.dataset, p.backbone, p.stored_channels, ablation.name
            )
            for ablation in self.ablations.get(p, ())
        }

    def outputs(self) -> dict[str, Any]:
        return _tables(self.paths, ABLATION)

    def params(self) -> dict[str, Any]:
        return {
            "card": self.dataset_card,
            "settings": self.once(self.settings),
            "more": self._more,
        }

    def _more(self, wildcards: Wildcards) -> list[str]:
        named = self._ablated(wildcards).items()
        return [word for name, path in named for word in ("--ablated", f"{name}={path}")]

    def settings(self, wildcards: Wildcards) -> str:
        """Return the settings of a job as JSON."""
        probes = wanted_probes(self.config)
        job = AblationProbe(
            **{**self.shared(wildcards), "fractions": [self._fraction]},
            probes={probe.name: each.model_dump(mode="json") for probe, each in probes.items()},
            splits=self.config.splits.by_fraction,
        )
        return job.model_dump_json()

    @property
    def _fraction(self) -> float:
        return max(self.config.splits.fractions)

    def need(self, wildcards: Wildcards) -> Need:
        """Return the need of a job: the matrix once per ablation, and each probe once."""
        p = probed_of(wildcards)
        n_tiles, width = self.sizes.probed(p)
        n_classes = len(self.study.datasets[wildcards.dataset].card.labels)
        kept = {"schemes": ["group"], "fractions": [self._fraction]}
        load = Load(n_tiles, width, n_classes, self.config.splits.model_copy(update=kept))
        probes = wanted_probes(self.config)
        seconds = sum(probe.seconds(settings, load) for probe, settings in probes.items())
        n_views = 1 + len(self.ablations.get(p, ()))
        memory = TORCH_MB + max(probe.memory_bytes for probe in probes) / MIB
        return Need.of(memory + n_views * matrices_mb(n_tiles, width), 2 * seconds)


class Occlude(EmbeddingStep):
    """Cover chosen tiles patch by patch, and see what the heads of a store lose."""

    name = "occlude"
    wildcards = ("dataset", "representation", "channels")
    options = (
        "tiles",
        "backbone",
        "embeddings",
        "representation",
        "channels",
        "table",
        "splits",
        "card",
        "scores",
        "predictions",
        "settings",
        "compute",
        "output=losses",
    )
    # What heads lose, however their store was made, is of this step alone.
    version = 1

    @cached_property
    def covered(self) -> dict[Probed, list[str]]:
        """The channels of each store that are covered alone."""
        return occluded_stores(self.study)

    def jobs(self) -> Sequence[Job]:
        return per_probed(self.covered)

    def inputs(self) -> dict[str, Any]:
        return {
            "tiles": embedded_tiles(self),
            "weights": self.trained_weights(),
            "embeddings": lambda job: self.paths.embeddings_of(probed_of(job)),
            "table": self.labelled_table(),
            "splits": self.paths.splits(),
            "scores": self.paths.scores(HEADS.name),
            "predictions": self.paths.predictions(HEADS.name),
        }

    def outputs(self) -> dict[str, Any]:
        return {"losses": self.paths.occlusion()}

    def params(self) -> dict[str, Any]:
        filling = self.filling()
        return {
            **filling,
            "card": lambda job: self.study.all_datasets[job.dataset].path,
            "settings": self.settings,
            "compute": filling["settings"],
        }

    def unrecorded(self, wildcards: Wildcards) -> list[str]:
        return []

    def settings(self, wildcards: Wildcards) -> str:
        """Return the settings of a job as JSON."""
        config = self.config
        seen = self.study.leakage(backbone_of(wildcards), wildcards.dataset)
        job = OcclusionProbe(
            fractions=config.splits.fractions,
            metrics=config.metrics,
            leakage=seen,
            occlusion=self.occlusion,
            heads=config.heads,
            metric=config.compare.metric,
            covered=self.covered[probed_of(wildcards)],
        )
        return job.model_dump_json()

    @property
    def occlusion(self) -> OcclusionSettings:
        """Settings of the study, where there are jobs."""
        ablation = self.config.ablation
        return (ablation and ablation.occlusion) or OcclusionSettings()

    def need(self, wildcards: Wildcards) -> Need:
        """Return the need of a job: a part of an embedding, and heads of one kind."""
        p = probed_of(wildcards)
        n_tiles, shape = self.sizes.embedded(p.dataset, p.backbone)
        store = SimpleNamespace(dataset=p.dataset, backbone=p.backbone, channels=p.stored_channels)
        whole = self.whole(store)
        share = self.occlusion.n_images(shape[-2:], len(self.covered[p])) / n_tiles
        seconds = 60 * (whole.minutes - LEAST_MINUTES) * share
        width = self.sizes.probed(p)[1]
        n_classes = len(self.study.datasets[p.dataset].card.labels)
        load = Load(n_tiles, width, n_classes, self.config.splits)
        seconds += HEADS.seconds(self.config.heads, load)
        memory = whole.mem_mb + matrices_mb(n_tiles, width) + HEADS.memory_bytes / MIB
        return Need.of(memory, seconds)


class WeighChannels(Evaluation):
    """Let heads weight the channels of a store, and test them next to heads that do not."""

    name = "weigh_channels"
    options = (*Evaluation.options, "halves", "channel_weights=weights")

    def jobs(self) -> Sequence[Job]:
        return per_probed(weighted_probed(self.study))

    def inputs(self) -> dict[str, Any]:
        return {**super().inputs(), "embeddings": self.embeddings_of}

    def outputs(self) -> dict[str, Any]:
        weights = {"weights": self.paths.channel_weights()}
        return {**_tables(self.paths, CHANNEL_WEIGHTS), **weights}

    def params(self) -> dict[str, Any]:
        return {"card": self.dataset_card, "settings": self.once(self.settings)}

    def settings(self, wildcards: Wildcards) -> str:
        """Return the settings of a job as JSON."""
        shared = {**self.shared(wildcards), "fractions": [max(self.config.splits.fractions)]}
        splits = self.config.splits.by_fraction
        probe = WeightProbe(**shared, splits=splits, heads=self.config.heads)
        return probe.model_dump_json()

    def need(self, wildcards: Wildcards) -> Need:
        """Return the need of a job: a few logistic regressions for one of the study's own."""
        whole = self.load(wildcards)
        kept = {"schemes": ["group"], "fractions": [max(self.config.splits.fractions)]}
        load = replace(whole, splits=self.config.splits.model_copy(update=kept))
        one = self.config.heads.model_copy(update={"kinds": ["logreg"]})
        memory = TORCH_MB + HEADS.memory_bytes / MIB
        memory += 2 * matrices_mb(load.n_tiles, load.n_features)
        # One fit per sharpness, and about one of all channels alone.
        return Need.of(memory, (1 + len(SHARPNESS)) * HEADS.seconds(one, load))


def _tables(paths: StudyPaths, place: str, *store: str) -> dict[str, Path]:
    """Return all tables of a job, by kind; of all jobs, with wildcards."""
    return {
        "scores": paths.scores(place, *store),
        "predictions": paths.predictions(place, *store),
        "halves": paths.halves(place, *store),
    }


def ablation_files(step: Step) -> dict[str, list[Path]]:
    """Return the tables of all jobs of a study, by kind; none where there is no such job."""
    found: dict[str, list[Path]] = {}
    for p in ablated_probed(step.study):
        tables = _tables(step.paths, ABLATION, p.dataset, p.representation, p.channels)
        for kind, path in tables.items():
            found.setdefault(f"ablated_{kind}", []).append(path)
    for p in weighted_probed(step.study):
        store = p.dataset, p.representation, p.channels
        tables = _tables(step.paths, CHANNEL_WEIGHTS, *store)
        tables["weights"] = step.paths.channel_weights(*store)
        for kind, path in tables.items():
            found.setdefault(f"weighted_{kind}", []).append(path)
    return found


STEPS: tuple[type[Step], ...] = (EmbedAblated, Ablate, Occlude, WeighChannels)
