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
    FLOAT_BYTES,
    MIB,
    Need,
    network_mb,
    network_rate,
    table_mb,
    training_mb,
)
from transferscope.costs.segmenting import (
    MapSize,
    decoder_operations,
    object_seconds,
    tuning_operations,
)
from transferscope.costs.sizes import UNKNOWN_COST
from transferscope.steps.embed import BackboneStep
from transferscope.steps.step import Job, Shown, Wildcards

SEGMENT = "segment"
# Memory of what is trained together, and of the loss at the size of the masks.
TOGETHER_MB = 2_500
# Of a value of a map or of a pixel of a mask, which is also kept in a smaller size.
MAP_BYTES, MASK_BYTES = 2, 6
# Of a pixel of a mask of objects: its number, and the maps that are learned in a smaller size.
OBJECT_BYTES = 7


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
            **({"elsewhere": self._other_files} if self.chosen.out_of_domain else {}),
        }

    def outputs(self) -> dict[str, Any]:
        place = "{dataset}", "{backbone}", "{channels}"
        outputs: dict[str, Any] = {
            "scores": self.paths.scores(SEGMENT, *place),
            "predictions": self.paths.predictions(SEGMENT, *place),
        }
        if self.chosen.out_of_domain:
            outputs["elsewhere"] = self.paths.elsewhere(SEGMENT, *place)
        if self.chosen.keep_masks:
            outputs["masks"] = self.paths.predicted_masks(*place)
        if self.chosen.pictures:
            caption, labels = "report/mask_pictures.rst", {"store": "{backbone} / {channels}"}
            outputs["pictures"] = Shown(
                self.paths.mask_pictures(*place), caption, "Segmentation", "{dataset}", labels
            )
        return outputs

    def params(self) -> dict[str, Any]:
        return {
            "backbone": self.backbone_card,
            "depends": self.backbone_digest,
            "more": self._more if self.asks_for_more else self.weights_arguments(),
            "card": self.dataset_card,
            "settings": self.settings,
            "compute": self.config.compute.model_dump_json(
                include={"device", "precision", "threads"}
            ),
        }

    def _others(self, wildcards: Wildcards) -> list[tuple[Path, Path, Path]]:
        """Return tiles, targets and table of the datasets out of domain."""
        paths = self.paths
        return [
            (paths.tiles(name), paths.targets(name), paths.tile_table(name))
            for name in self.study.out_of_domain(wildcards.dataset)
        ]

    def _other_files(self, wildcards: Wildcards) -> list[Path]:
        return [path for files in self._others(wildcards) for path in files]

    def _more(self, wildcards: Wildcards) -> list[str]:
        """Return the options of jobs that test out of domain, draw pictures, or keep masks."""
        known = self.weights_arguments()
        words = list(known(wildcards) if callable(known) else known)
        for files in self._others(wildcards):
            names = "--other-tiles", "--other-targets", "--other-table"
            words += [text for pair in zip(names, map(str, files), strict=True) for text in pair]
        place = wildcards.dataset, wildcards.backbone, wildcards.channels
        if self.chosen.out_of_domain:
            words += ["--elsewhere", str(self.paths.elsewhere(SEGMENT, *place))]
        if self.chosen.keep_masks:
            words += ["--masks", str(self.paths.predicted_masks(*place))]
        if self.chosen.pictures:
            words += ["--pictures", str(self.paths.mask_pictures(*place))]
        return words

    @property
    def asks_for_more(self) -> bool:
        """Whether jobs have options that depend on the dataset."""
        return bool(self.chosen.out_of_domain or self.chosen.keeps_masks)

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
        maps = MapSize(passes * cost.width, side)
        values = settings.views * maps.kept(settings.decoders)
        memory = float(network_mb(config) + TOGETHER_MB) + table_mb(n_tiles, base=0)
        memory += FLOAT_BYTES * cost.parameters / MIB
        memory += n_tiles * (values * MAP_BYTES + math.prod(shape[1:]) * MASK_BYTES) / MIB
        memory += n_tiles * math.prod(shape) * RAW_BYTES / MIB
        operations = float(settings.views * n_tiles * passes * cost.operations)
        operations += decoder_operations(settings, config.splits, n_tiles, maps)
        operations += tuning_operations(
            settings, config.splits, n_tiles, float(passes * cost.operations), maps
        )
        if settings.tuning is not None:
            card = self.sizes.card(wildcards.backbone)
            images = passes * settings.tuning.batch_size
            batch = images * len(card.named_slots) * card.input_size**2
            memory += training_mb(config, [], cost, batch)
        seconds, pixels = operations / network_rate(config), math.prod(shape[1:])
        for other in self.study.out_of_domain(dataset):
            n_others, other_shape = self.sizes.tiles(other)
            # Maps once, and masks by every decoder; of a fold, not a share but all tiles.
            tests = config.splits.folds[SCHEME] * n_others
            operations = float(settings.views * n_others * passes * cost.operations)
            memory += n_others * values * MAP_BYTES / MIB
            memory += n_others * math.prod(other_shape) * (RAW_BYTES + MASK_BYTES) / MIB
            seconds += operations / network_rate(config)
            seconds += object_seconds(settings, config.splits, tests, math.prod(other_shape[1:]))
        if dataset in self.study.with_objects:
            seconds += object_seconds(settings, config.splits, n_tiles, pixels)
            memory += n_tiles * pixels * OBJECT_BYTES / MIB
        return Need.of(memory, seconds)


STEPS: tuple[type[BackboneStep], ...] = (Segment,)
