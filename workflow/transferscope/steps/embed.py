"""The steps that make stores and weights: embeddings, corrections, trainings without labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from transferscope import backbones, correction, pretraining
from transferscope.backbones.trained import history_of, kept_weights_of, weights_of
from transferscope.cards.grid import AT
from transferscope.config.channel_strategies import ADAPT
from transferscope.config.compute import CHANGES_NO_NETWORK, RAW_BYTES, READ_BUFFERS, rows_per_read
from transferscope.config.correction import CorrectionJob
from transferscope.config.jobs import EvaluatedDataset, Pretraining, TrainingSource
from transferscope.config.study import StudyConfig
from transferscope.costs.needs import (
    FLOAT_BYTES,
    IMAGES_MB,
    LEAST_MINUTES,
    MIB,
    TORCH_MB,
    Need,
    block_mb,
    network_mb,
    network_rate,
    on_gpu,
    training_mb,
)
from transferscope.costs.network_costs import (
    HANDCRAFTED_SECONDS,
    HANDCRAFTED_WIDTH,
    training_operations,
)
from transferscope.costs.sizes import UNKNOWN_COST
from transferscope.steps.step import Job, Step, Wildcards, backbone_of, per_probed, probed_of
from transferscope.study.reductions import reduced_side, reduced_stores

# Copies of the weights while the number format is tried: as read, in the network, reduced.
WEIGHT_COPIES = 3
# Activations of a batch, in multiples of its input in float32.
ACTIVATION_COPIES = 16
# Seconds per byte of embeddings that are read and compared with their checksums.
READ_SECONDS = 2e-8
# Copies of a matrix in float64 while it is corrected: read, scaled, whitened, written.
FLOAT64_COPIES = 4
# Seconds per row and squared width: products with the whitening matrices.
CORRECTION_SECONDS = 1e-9


def embedded_tiles(step: Step) -> Any:
    """Return the input of the tiles that a backbone embeds: of some, reduced ones."""

    def of_job(wildcards: Wildcards) -> Path:
        dataset = wildcards.dataset
        side = reduced_side(step.study, dataset, backbone_of(wildcards))
        return (
            step.paths.tiles(dataset) if side is None else step.paths.reduced_tiles(dataset, side)
        )

    # Where nothing is reduced, no job is asked: there may be thousands.
    return of_job if reduced_stores(step.study) else step.paths.tiles()


class BackboneStep(Step):
    """A step with one job per dataset, backbone or representation, and channel strategy."""

    def backbone_card(self, wildcards: Wildcards) -> Path:
        """Return the path of a backbone's card."""
        return self.study.backbones[backbone_of(wildcards)].path

    def backbone_digest(self, wildcards: Wildcards) -> str:
        """Return a digest of what a backbone's embeddings depend on in its card."""
        return self.sizes.card(backbone_of(wildcards)).fingerprint()

    def trained_weights(self) -> Any:
        """Return the input of a backbone that is trained here; nothing for any other."""
        # Where the study trains no backbone, no job is asked for one: there may be thousands.
        return self._trained if self.study.trained else []

    def weights_arguments(self) -> Any:
        """Return the same as arguments of the step, and which backbone of its card it is."""
        asked = self.study.trained or self.study.swept
        return self._weights_arguments if asked else []

    def _trained(self, wildcards: Wildcards) -> list[Path]:
        name = backbone_of(wildcards)
        return [self.paths.trained(name)] if name in self.study.trained else []

    def _weights_arguments(self, wildcards: Wildcards) -> list[str]:
        words = [text for path in self._trained(wildcards) for text in ("--weights", str(path))]
        name = backbone_of(wildcards)
        return [*words, "--cell", name] if self.study.card_name(name) != name else words

    @property
    def threads(self) -> int:
        return self.config.compute.threads

    @property
    def uses_gpus(self) -> bool:
        return on_gpu(self.config)

    def gpus(self, wildcards: Wildcards) -> int:
        return int(self.sizes.card(backbone_of(wildcards)).is_network)


class EmbeddingStep(BackboneStep):
    """A step that fills embedding stores, one or a part of one per job."""

    version = backbones.VERSION

    def stores(self) -> list[Job]:
        """Return the wildcards of every embedding store."""
        embedded = (p for p in self.study.embedded() if not self.study.is_table(p.dataset))
        stores = {(p.dataset, p.backbone, p.stored_channels): None for p in embedded}
        names = ("dataset", "backbone", "channels")
        return [dict(zip(names, store, strict=True)) for store in stores]

    @property
    def n_parts(self) -> int:
        """Jobs that fill one store."""
        return self.config.compute.jobs_per_store

    def filling(self) -> dict[str, Any]:
        """Return the parameters of a job that fills a store."""
        compute = self.config.compute
        # How the work is divided changes no embedding; what is left to us makes none out of date.
        unused = CHANGES_NO_NETWORK | ({"compile"} if compute.compile == "auto" else set())
        return {
            "backbone": self.backbone_card,
            "depends": self.filling_digest,
            "more": self.weights_arguments(),
            "settings": compute.model_dump_json(exclude=unused),
        }

    def filling_digest(self, wildcards: Wildcards) -> str:
        """Return a digest of what a store depends on in the card, and the side of reduced tiles."""
        side = reduced_side(self.study, wildcards.dataset, backbone_of(wildcards))
        digest = self.backbone_digest(wildcards)
        return digest if side is None else f"{digest}, tiles of {side} px"

    @cached_property
    def _strategies(self) -> dict[tuple[str, str], list[str]]:
        """(Dataset, backbone) -> the channel strategies that have a store, in the same pass."""
        found: dict[tuple[str, str], list[str]] = {}
        for store in self.stores():
            found.setdefault((store["dataset"], store["backbone"]), []).append(store["channels"])
        return found

    def siblings(self, wildcards: Wildcards) -> list[str]:
        """Return the other strategies whose stores are filled in the same pass over the tiles."""
        strategies = self._strategies.get((wildcards.dataset, wildcards.backbone), [])
        return [channels for channels in strategies if channels != wildcards.channels]

    def unrecorded(self, wildcards: Wildcards) -> list[str]:
        # How the work is divided changes no embedding: another strategy makes nothing again.
        manifests = {c: self.manifest_of(wildcards, c) for c in self.siblings(wildcards)}
        return [word for name, path in manifests.items() for word in ("--also", f"{name}={path}")]

    def manifest_of(self, wildcards: Wildcards, channels: str) -> Path:
        """Return the manifest of a sibling of a job's store."""
        return self.paths.embeddings(wildcards.dataset, wildcards.backbone, channels)

    def whole(self, wildcards: Wildcards) -> Need:
        """Return the need of a pass: weights, a batch, a few reads, and a block of each store."""
        dataset, config = wildcards.dataset, self.config
        card = self.sizes.card(wildcards.backbone)
        n_tiles, shape = self.sizes.embedded(dataset, wildcards.backbone)
        if not card.is_network:
            seconds = 2 * HANDCRAFTED_SECONDS * shape[0] * n_tiles / self.threads
            return Need.of(IMAGES_MB + block_mb(config, HANDCRAFTED_WIDTH), seconds)
        strategies = [wildcards.channels, *self.siblings(wildcards)]
        costs = [self.sizes.cost(dataset, wildcards.backbone, one) for one in strategies]
        cost = costs[0][0] or UNKNOWN_COST
        passes = sum(n for _, n in costs)
        # Adapted input weights are those of another network.
        weights = WEIGHT_COPIES * len({channels == ADAPT for channels in strategies})
        # On a GPU the activations are not in the memory that a scheduler counts.
        images = config.compute.images_per_batch(on_gpu=False)
        batch = images * len(card.named_slots) * card.input_size**2
        memory = network_mb(config) + block_mb(config, passes * cost.width)
        size = config.compute.images_per_batch(on_gpu=on_gpu(config), tile_shape=shape)
        memory += READ_BUFFERS * _buffer(rows_per_read(size, shape), shape, config) / MIB
        memory += FLOAT_BYTES * (weights * cost.parameters + ACTIVATION_COPIES * batch) / MIB
        return Need.of(memory, n_tiles * passes * cost.operations / network_rate(config))


def _buffer(rows: int, shape: Sequence[int], config: StudyConfig) -> int:
    """Return the bytes of a buffer of tiles; torch rounds pinned ones up to a power of two."""
    size = rows * math.prod(shape) * RAW_BYTES
    return 1 << (size - 1).bit_length() if on_gpu(config) else size


class EmbedPart(EmbeddingStep):
    """Fill one part of an embedding store that several jobs share."""

    name = "embed_part"
    is_target = False
    wildcards = ("dataset", "backbone", "channels", "part")
    options = (
        "tiles",
        "backbone",
        "channels",
        "settings",
        "manifest",
        "part",
        "parts",
        "output=done",
    )

    def jobs(self) -> Sequence[Job]:
        parts = range(self.n_parts) if self.n_parts > 1 else ()
        return [{**store, "part": str(part)} for store in self.stores() for part in parts]

    def inputs(self) -> dict[str, Any]:
        return {"tiles": embedded_tiles(self), "weights": self.trained_weights()}

    def outputs(self) -> dict[str, Any]:
        return {"done": self.paths.embedding_part()}

    def params(self) -> dict[str, Any]:
        return {**self.filling(), "manifest": self.manifest, "parts": self.n_parts}

    def manifest(self, wildcards: Wildcards) -> Path:
        """Return the manifest of the store that several jobs fill."""
        return self.paths.embeddings(wildcards.dataset, wildcards.backbone, wildcards.channels)

    def need(self, wildcards: Wildcards) -> Need:
        """Return the need of a part of an embedding: that of all, in a share of the time."""
        whole = self.whole(wildcards)
        minutes = math.ceil((whole.minutes - LEAST_MINUTES) / self.n_parts)
        return Need(whole.mem_mb, LEAST_MINUTES + minutes)


class Embed(EmbeddingStep):
    """Embed every tile with one backbone and one channel strategy.

    Where several jobs share a store, this step only checks and describes what they have filled.
    """

    name = "embed"
    wildcards = ("dataset", "backbone", "channels")

    def jobs(self) -> Sequence[Job]:
        return self.stores()

    @property
    def command(self) -> str:
        return "embed-finish" if self.n_parts > 1 else "embed"

    @property
    def options(self) -> tuple[str, ...]:  # type: ignore[override]
        if self.n_parts > 1:
            return ("manifest",)
        return ("tiles", "backbone", "channels", "settings", "manifest")

    def inputs(self) -> dict[str, Any]:
        if self.n_parts > 1:
            return {"parts": self._parts()}
        return {"tiles": embedded_tiles(self), "weights": self.trained_weights()}

    def outputs(self) -> dict[str, Any]:
        return {"manifest": self.paths.embeddings()}

    def params(self) -> dict[str, Any]:
        return {"more": self._part_arguments} if self.n_parts > 1 else self.filling()

    def depends_on(self) -> dict[str, Any]:
        return self.filling()

    def made_again(self, job: Job) -> list[Path]:
        return (self._parts(**job) if self.n_parts > 1 else []) + self.files_of(job)

    @property
    def threads(self) -> int:
        return 1 if self.n_parts > 1 else self.config.compute.threads

    @property
    def uses_gpus(self) -> bool:
        return self.n_parts == 1 and super().uses_gpus

    def need(self, wildcards: Wildcards) -> Need:
        if self.n_parts == 1:
            return self.whole(wildcards)
        # The store is read once, a block at a time.
        n_tiles, width = self.sizes.store(wildcards.dataset, wildcards.backbone, wildcards.channels)
        width *= len(self.sizes.card(wildcards.backbone).output_names)
        memory = IMAGES_MB + block_mb(self.config, width)
        return Need.of(memory, READ_SECONDS * FLOAT_BYTES * n_tiles * width)

    def _parts(self, **store: str) -> list[Path]:
        parts = map(str, range(self.n_parts))
        return [self.paths.embedding_part(**store, part=part) for part in parts]

    def _part_arguments(self, wildcards: Wildcards) -> list[str]:
        w = wildcards
        parts = self._parts(dataset=w.dataset, backbone=w.backbone, channels=w.channels)
        return [text for path in parts for text in ("--part", str(path))]


class Correct(Step):
    """Correct a store for batches, for one output and channel strategy."""

    name = "correct"
    version = correction.VERSION
    wildcards = ("dataset", "representation", "channels")
    options = ("embeddings", "representation", "channels", "table", "settings", "manifest")

    def jobs(self) -> Sequence[Job]:
        return per_probed(p for p in self.study.probed() if p.correction is not None)

    def inputs(self) -> dict[str, Any]:
        return {"embeddings": self.embeddings, "table": self.paths.tile_table()}

    def embeddings(self, wildcards: Wildcards) -> Path:
        """Return the manifest of the store that a job corrects."""
        return self.paths.embeddings_of(probed_of(wildcards).uncorrected)

    def outputs(self) -> dict[str, Any]:
        return {"manifest": self.paths.embeddings(backbone="{representation}")}

    def params(self) -> dict[str, Any]:
        return {"settings": self.settings}

    def settings(self, wildcards: Wildcards) -> str:
        """Return the settings of a job as JSON."""
        settings = {
            "method": probed_of(wildcards).correction,
            "published": self.config.correction.published,
            "roles": self.config.roles,
        }
        return CorrectionJob.model_validate(settings).model_dump_json()

    @property
    def threads(self) -> int:
        return self.config.compute.probe_threads

    def need(self, wildcards: Wildcards) -> Need:
        """Return the need of a job: copies of a matrix in float64, and its covariance."""
        n_tiles, width = self.sizes.probed(probed_of(wildcards))
        memory = TORCH_MB + FLOAT64_COPIES * 2 * FLOAT_BYTES * width * (n_tiles + width) / MIB
        return Need.of(memory, CORRECTION_SECONDS * n_tiles * width**2)


class Pretrain(BackboneStep):
    """Train a backbone on tiles of the study."""

    name = "pretrain"
    version = pretraining.VERSION
    wildcards = ("backbone",)
    options = ("backbone=card", "manifest", "settings")

    def jobs(self) -> Sequence[Job]:
        return [{"backbone": name} for name in self.study.trainings]

    def inputs(self) -> dict[str, Any]:
        return {"sources": self.sources}

    def outputs(self) -> dict[str, Any]:
        # Weights, history and checkpoint lie next to it, so that a stopped job finds them again.
        return {"manifest": self.paths.trained()}

    def companions(self, job: Job) -> list[Path]:
        manifest = self.paths.trained(job["backbone"])
        kept = self.study.kept_steps(job["backbone"])
        return [
            weights_of(manifest),
            history_of(manifest),
            *(kept_weights_of(manifest, n_steps) for n_steps in kept),
        ]

    def params(self) -> dict[str, Any]:
        return {"card": self.backbone_card, "depends": self.depends, "settings": self.settings}

    @property
    def threads(self) -> int:
        return self.config.compute.threads * self._processes

    def gpus(self, wildcards: Wildcards) -> int:
        return self._processes

    def need(self, wildcards: Wildcards) -> Need:
        """Return the need of a training: the tiles in memory, weights, and steps of a batch."""
        card, config = self.study.trained[wildcards.backbone], self.config
        sizes = [self.sizes.tiles(dataset) for dataset in card.datasets]
        cost = self.sizes.known_cost(wildcards.backbone) or UNKNOWN_COST
        batch = card.batch_size * len(card.slots) * card.input_size**2
        memory = training_mb(config, sizes, cost, batch)
        operations = training_operations(card, cost, sum(n for n, _ in sizes))
        seconds = operations / (network_rate(config) * self._processes)
        return Need.of(self._processes * memory, seconds)

    @property
    def _processes(self) -> int:
        return self.config.training.processes

    def sources(self, wildcards: Wildcards) -> list[Path]:
        """Return what a training reads: tiles, tile tables, and splits that it has to respect."""
        trained_on = [
            path
            for source in self._sources(wildcards)
            for path in (source.tiles, source.table, source.splits)
            if path is not None
        ]
        others = self._also_evaluated(wildcards)
        return trained_on + [path for each in others for path in (each.table, each.splits)]

    def depends(self, wildcards: Wildcards) -> str:
        """Return a digest of what a training depends on in its card."""
        return self.study.trained[wildcards.backbone].training_fingerprint()

    def settings(self, wildcards: Wildcards) -> str:
        """Return the settings of a training as JSON."""
        settings = Pretraining(
            sources=self._sources(wildcards),
            also_evaluated=self._also_evaluated(wildcards),
            held_out=self.study.held_out(self.study.trained[wildcards.backbone]),
            compute=self.config.compute,
            training=self.config.training,
            cell=wildcards.backbone if wildcards.backbone in self.study.cells else None,
            kept_steps=self.study.kept_steps(wildcards.backbone),
        )
        # Left out where it is empty: a training that ended before it existed is not out of date.
        unused: dict[str, Any] = {} if settings.also_evaluated else {"also_evaluated": True}
        unused |= {key: True for key in ("cell", "kept_steps") if not getattr(settings, key)}
        unused["compute"] = CHANGES_NO_NETWORK | {"compile"}
        return settings.model_dump_json(exclude=unused)

    def _sources(self, wildcards: Wildcards) -> list[TrainingSource]:
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

    def _also_evaluated(self, wildcards: Wildcards) -> list[EvaluatedDataset]:
        """Return the datasets whose test groups a training leaves out, and that it never sees."""
        card = self.study.trained[wildcards.backbone]
        if self.study.held_out(card) is None:
            return []
        return [
            EvaluatedDataset(table=self.paths.tile_table(name), splits=self.paths.splits(name))
            for name in self.study.datasets
            if name not in card.datasets
        ]


class Snapshot(BackboneStep):
    """Make a backbone of the weights that a training has kept before its end."""

    name = "snapshot"
    wildcards = ("backbone",)
    options = ("training", "cell=backbone", "steps", "manifest")

    def jobs(self) -> Sequence[Job]:
        return [{"backbone": name} for name in self.study.taken]

    def inputs(self) -> dict[str, Any]:
        return {"training": self.training}

    def training(self, wildcards: Wildcards) -> Path:
        """Return the manifest of the training that a cell is of."""
        return self.paths.trained(self.study.taken[wildcards.backbone])

    def outputs(self) -> dict[str, Any]:
        return {"manifest": self.paths.trained()}

    def companions(self, job: Job) -> list[Path]:
        return [weights_of(self.paths.trained(job["backbone"]))]

    def params(self) -> dict[str, Any]:
        return {"steps": self.kept_at}

    def kept_at(self, wildcards: Wildcards) -> int:
        """Return after how many steps the weights of a cell were kept."""
        return int(self.study.cells[wildcards.backbone].values[AT])

    @property
    def threads(self) -> int:
        return 1

    @property
    def uses_gpus(self) -> bool:
        return False

    def need(self, wildcards: Wildcards) -> Need:
        """Return the need of a copy: the weights are hashed a part at a time."""
        return Need.of(TORCH_MB)


STEPS: tuple[type[Step], ...] = (Pretrain, Snapshot, EmbedPart, Embed, Correct)
