"""The steps that train decoders of masks, and compare them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transferscope import segmentation
from transferscope.config.compute import RAW_BYTES
from transferscope.config.jobs import Leakage, SegmentationProbe
from transferscope.config.segmentation import SCHEME, SegmentationSettings
from transferscope.costs.needs import (
    CORE_RATE,
    FLOAT_BYTES,
    GPU_RATE,
    MIB,
    Need,
    network_mb,
    network_rate,
    on_gpu,
    table_mb,
)
from transferscope.costs.sizes import UNKNOWN_COST
from transferscope.steps.embed import BackboneStep
from transferscope.steps.step import Job, Wildcards

SEGMENT = "segment"
# Values that a decoder multiplies per feature of a map: the 3x3 convolution to 64 features at twice
# the resolution, and the passes of its training.
PRODUCTS, TRAINING_PASSES = 2 * 9 * 64 * 4, 3
# Memory of what is trained together, and of the loss at the size of the masks.
TOGETHER_MB = 2_500
# Maps of a backbone, in features of its last layer at a stride of 16 px.
STRIDE = 16
MASK_BYTES = 2


class Segment(BackboneStep):
    """Train decoders of masks on frozen backbones, on the divisions of the heads."""

    name = SEGMENT
    version = segmentation.VERSION
    wildcards = ("dataset", "backbone", "channels")
    options = (
        "tiles",
        "targets",
        "backbone",
        "channels",
        "table",
        "splits",
        "card",
        "settings",
        "compute",
        "scores",
        "predictions",
    )

    def jobs(self) -> Sequence[Job]:
        return [
            {"dataset": p.dataset, "backbone": p.backbone, "channels": p.channels}
            for p in self.study.segmented()
        ]

    def inputs(self) -> dict[str, Any]:
        return {
            "tiles": self.paths.tiles(),
            "targets": self.paths.targets(),
            "weights": self.trained_weights(),
            "table": self.labelled_table(),
            "splits": self.paths.splits(),
        }

    def outputs(self) -> dict[str, Any]:
        place = "{dataset}", "{backbone}", "{channels}"
        return {
            "scores": self.paths.scores(SEGMENT, *place),
            "predictions": self.paths.predictions(SEGMENT, *place),
        }

    def params(self) -> dict[str, Any]:
        return {
            "backbone": self.backbone_card,
            "depends": self.backbone_digest,
            "more": self.weights_arguments(),
            "card": self.dataset_card,
            "settings": self.settings,
            "compute": self.config.compute.model_dump_json(
                include={"device", "precision", "threads"}
            ),
        }

    @property
    def chosen(self) -> SegmentationSettings:
        """Settings of the study, whose segmentation is on if there are jobs."""
        return self.config.segmentation or SegmentationSettings()

    def dataset_card(self, wildcards: Wildcards) -> Path:
        """Return the path of a dataset's card."""
        return self.study.all_datasets[wildcards.dataset].path

    def settings(self, wildcards: Wildcards) -> str:
        """Return the settings of a job as JSON."""
        leakage = Leakage()
        if self.study.trained:
            leakage = self.study.leakage(wildcards.backbone, wildcards.dataset)
        settings, fractions = self.chosen, self.config.splits.fractions
        probe = SegmentationProbe(settings=settings, fractions=fractions, leakage=leakage)
        return probe.model_dump_json()

    def need(self, wildcards: Wildcards) -> Need:
        """Return the need of a job: maps and masks in memory, and the steps of its decoders."""
        dataset, settings, config = wildcards.dataset, self.chosen, self.config
        n_tiles, shape = self.sizes.tiles(dataset)
        side = self.sizes.card(wildcards.backbone).input_size
        found, passes = self.sizes.cost(dataset, wildcards.backbone, wildcards.channels)
        cost = found or UNKNOWN_COST
        values = passes * cost.width * (side / STRIDE) ** 2
        pixels = math.prod(shape[1:])
        memory = float(network_mb(config) + TOGETHER_MB) + table_mb(n_tiles, base=0)
        memory += FLOAT_BYTES * cost.parameters / MIB
        memory += n_tiles * (values * MASK_BYTES + pixels * 3 * MASK_BYTES) / MIB
        memory += n_tiles * math.prod(shape) * RAW_BYTES / MIB
        seconds = n_tiles * passes * cost.operations / network_rate(config)
        rate = GPU_RATE if on_gpu(config) else config.compute.threads * CORE_RATE
        shown = settings.steps * settings.batch_size * TRAINING_PASSES
        shown += settings.steps / settings.check_every * n_tiles * config.splits.validation
        each = shown * values * PRODUCTS / rate
        return Need.of(memory, seconds + each * self.n_decoders())

    def n_decoders(self) -> int:
        """Return the trainings of a job."""
        splits, settings = self.config.splits, self.chosen
        divisions = splits.folds[SCHEME] * len(settings.seeds or splits.seeds)
        fractions = len(settings.fractions or splits.fractions)
        return divisions * fractions * len(settings.decoders)


STEPS: tuple[type[BackboneStep], ...] = (Segment,)
