"""The steps from raw files to tiles, labels and splits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from transferscope import cells, targets, tiles
from transferscope.cards import DatasetCard
from transferscope.config.compute import RAW_BYTES
from transferscope.config.paths import StudyPaths
from transferscope.costs.needs import IMAGES_MB, MIB, TORCH_MB, Need, table_mb
from transferscope.datasets.inputs import fetch_fingerprint, fetch_inputs, is_fetched
from transferscope.labelling.label_table import label_table_of
from transferscope.runtime.fingerprint import fingerprint
from transferscope.runtime.ordered_map import ITEMS_AHEAD
from transferscope.steps.step import Ancient, Job, Shown, Step, Wildcards, per_dataset
from transferscope.study.reductions import reduced_stores
from transferscope.tiles.decoding import FIELDS_AHEAD
from transferscope.tiles.published import published_digest
from transferscope.tiles.store import BLOCK_BYTES, REDUCED_BYTES

# A segmentation by Cellpose: its network and what it holds of a field.
CELLPOSE_MB = 6_000
# Raw bytes of a field that a worker holds: as read, in floating point, resampled, measured.
FIELD_COPIES, CELL_COPIES = 6, 12
# The same of a mask, of which each copy has 32 bit: as read, as targets, resampled, cut.
MASK_COPIES, MASK_BYTES = 5, 4
# Bytes per pixel in which the objects of a mask are looked at for doubts.
DOUBT_BYTES = 100
# Fields from an object store that wait in memory for a worker.
FETCHED_FIELDS = FIELDS_AHEAD + ITEMS_AHEAD
# Of the tiles that a worker reduces: as read, in floating point, and resized.
REDUCED_COPIES = 4
# Seconds per byte of raw pixels, some ten times of what was measured on local disks.
DECODE_SECONDS, SEGMENT_SECONDS, SIMULATE_SECONDS, REDUCE_SECONDS = 1e-7, 1e-6, 2e-5, 2e-8


class _DatasetStep(Step):
    """A step with one job per dataset, or per dataset of a kind."""

    wildcards = ("dataset",)

    def jobs(self) -> Sequence[Job]:
        return per_dataset(name for name in self.study.all_datasets if self.makes(self._card(name)))

    def makes(self, card: DatasetCard) -> bool:
        """Return whether the step has a job for a dataset."""
        raise NotImplementedError

    def dataset_card(self, wildcards: Wildcards) -> Path:
        """Return the path of a dataset's card."""
        return self.study.all_datasets[wildcards.dataset].path

    def label_digest(self, wildcards: Wildcards) -> str:
        """Return a digest of what a dataset card says about labels."""
        card = self._card(wildcards.dataset)
        return fingerprint([card.task, card.labels])

    def need(self, wildcards: Wildcards) -> Need:
        return Need.of(table_mb(self.sizes.tiles(wildcards.dataset)[0]))

    def _card(self, name: str) -> DatasetCard:
        return self.study.all_datasets[name].card


def _tile_files(paths: StudyPaths) -> dict[str, Any]:
    """Return what any step writes that makes a tile store."""
    return {
        "manifest": paths.tiles(),
        "table": paths.tile_table(),
        "quality": paths.quality(),
        "skipped": paths.skipped(),
    }


class Simulate(_DatasetStep):
    """Draw the raw fields of a demo dataset."""

    name = "simulate"
    is_target = False
    options = ("settings", "sheet", "workers=threads")

    def makes(self, card: DatasetCard) -> bool:
        return card.simulate is not None

    def outputs(self) -> dict[str, Any]:
        return {"sheet": self.paths.raw_sheet()}

    def params(self) -> dict[str, Any]:
        return {"settings": self.settings}

    def settings(self, wildcards: Wildcards) -> str:
        """Return the simulator's settings as JSON."""
        settings = self._card(wildcards.dataset).simulate
        return settings.model_dump_json(exclude_none=True) if settings else ""

    @property
    def threads(self) -> int:
        return self.config.compute.threads

    def need(self, wildcards: Wildcards) -> Need:
        return Need.of(IMAGES_MB, SIMULATE_SECONDS * self.sizes.raw_bytes(wildcards.dataset))


class Fetch(_DatasetStep):
    """Fetch the raw files of a public dataset."""

    name = "fetch"
    # Raw files have done their duty when the tiles are made, and may be deleted.
    is_target = False
    options = ("card", "sheet", "manifest")
    # Where jobs run may have no network.
    is_local = True

    def makes(self, card: DatasetCard) -> bool:
        return card.fetch is not None

    def inputs(self) -> dict[str, Any]:
        return {"files": self.sources}

    def outputs(self) -> dict[str, Any]:
        return {"sheet": self.paths.raw_sheet(), "manifest": self.paths.fetched()}

    def params(self) -> dict[str, Any]:
        return {"card": self.dataset_card, "depends": self.depends}

    def sources(self, wildcards: Wildcards) -> list[Path]:
        """Return the files of this machine that a fetch reads: annotation table, or list."""
        located = self.study.all_datasets[wildcards.dataset]
        return fetch_inputs(located.card, located.path)

    def depends(self, wildcards: Wildcards) -> str:
        """Return a digest of what a fetched sample sheet depends on."""
        located = self.study.all_datasets[wildcards.dataset]
        return fetch_fingerprint(located.card, located.path)


class Tiles(_DatasetStep):
    """Decode raw fields once, into a tile store."""

    name = "tiles"
    version = tiles.VERSION
    options: ClassVar[tuple[str, ...]] = (
        "sheet",
        "card",
        "bad_tiles",
        "manifest",
        "table",
        "quality",
        "skipped",
        "workers=threads",
    )
    copies, seconds_per_byte = FIELD_COPIES, DECODE_SECONDS

    def makes(self, card: DatasetCard) -> bool:
        return card.source == "images" and card.published is None and card.cells is None

    def inputs(self) -> dict[str, Any]:
        # What was fetched before counts by its content, which is part of `depends`.
        kept = Ancient(self.fetched_before)
        return {"given": self.given_sheet, "fetched": self.fetched_anew, "kept": kept}

    def outputs(self) -> dict[str, Any]:
        return _tile_files(self.paths)

    def params(self) -> dict[str, Any]:
        # Named where it stops a study only: tiles of before stay as they are.
        look = {"more": ["--look", "stop"]} if self.config.quality == "stop" else {}
        return {
            "sheet": self.sheet,
            "card": self.dataset_card,
            "bad_tiles": self.config.bad_tiles,
            "depends": self.depends,
            **look,
        }

    def depends_on(self) -> dict[str, Any]:
        return {**self.params(), "simulate": self._simulated}

    def _simulated(self, wildcards: Wildcards) -> str:
        settings = self._card(wildcards.dataset).simulate
        return settings.model_dump_json(exclude_none=True) if settings else ""

    def given(self, wildcards: Wildcards) -> list[Path]:
        has_sheet = self._card(wildcards.dataset).sheet is not None
        return [self.sheet(wildcards)] if has_sheet else []

    def companions(self, job: Job) -> list[Path]:
        # What a job that is run again takes up, and what must be as it was for this.
        return [self.paths.tiles(job["dataset"]).with_suffix(".blocks")]

    def made_again(self, job: Job) -> list[Path]:
        is_simulated = self._card(job["dataset"]).simulate is not None
        raw = [self.paths.raw_sheet(job["dataset"])] if is_simulated else []
        return raw + self.files_of(job)

    @property
    def threads(self) -> int:
        return self.config.compute.threads

    def need(self, wildcards: Wildcards) -> Need:
        """Return the need of decoding: a block of tiles, and a few copies of a field per worker."""
        name, sizes = wildcards.dataset, self.sizes
        field_mb = sizes.field_bytes(name) / MIB
        memory = self.base_mb(self._card(name)) + self.copies * field_mb * self.threads
        if self._card(name).sheet is not None and self.study.sheet(name).is_remote:
            memory += FETCHED_FIELDS * field_mb
        memory += table_mb(sizes.fields(name).n_tiles, base=0)
        return Need.of(memory, self.seconds_per_byte * sizes.raw_bytes(name))

    def base_mb(self, card: DatasetCard) -> int:
        """Return what the step holds whatever its fields are."""
        return IMAGES_MB

    def sheet(self, wildcards: Wildcards) -> Path:
        """Return the sample sheet of a dataset: the user's, or that of the raw data made here."""
        return self.study.sheet_of(wildcards.dataset)

    def given_sheet(self, wildcards: Wildcards) -> list[Path]:
        """Return the sample sheet of a dataset that is not fetched."""
        fetched = self._card(wildcards.dataset).fetch is not None
        return [] if fetched else [self.sheet(wildcards)]

    def fetched_anew(self, wildcards: Wildcards) -> list[Path]:
        """Return the manifest of a dataset whose fetch is to come, or has to be done again."""
        return [] if self._is_fetched(wildcards.dataset) else self._fetched(wildcards.dataset)

    def fetched_before(self, wildcards: Wildcards) -> list[Path]:
        """Return the manifest of a dataset that has been fetched as its card says now.

        It counts by its content: a fetch that is merely repeated makes nothing again.
        """
        return self._fetched(wildcards.dataset) if self._is_fetched(wildcards.dataset) else []

    def _fetched(self, name: str) -> list[Path]:
        return [self.paths.fetched(name)] if self._card(name).fetch is not None else []

    def _is_fetched(self, name: str) -> bool:
        located = self.study.all_datasets[name]
        return is_fetched(located.card, located.path, self.paths.fetched(name))

    def depends(self, wildcards: Wildcards) -> str:
        """Return a digest of what a tile store depends on in addition to the sheet."""
        card = self._card(wildcards.dataset)
        return fingerprint([card.image_fingerprint(), self._raw_dependencies(card)])

    def _raw_dependencies(self, card: DatasetCard) -> str:
        if card.simulate is not None:
            return ""
        if card.fetch is None:
            return self.study.raw_digest(card.name)
        # Snakemake asks again after the fetch, so that this is never an older manifest.
        manifest = self.paths.fetched(card.name)
        return manifest.read_text(encoding="utf-8") if manifest.is_file() else ""


class Cells(Tiles):
    """Segment raw fields, and cut one tile per cell."""

    name = "cells"
    version = cells.VERSION
    options = (*Tiles.options, "plausibility", "overlays")
    copies, seconds_per_byte = CELL_COPIES, SEGMENT_SECONDS

    def makes(self, card: DatasetCard) -> bool:
        return card.published is None and card.cells is not None

    def outputs(self) -> dict[str, Any]:
        overlays = Shown(
            self.paths.overlays(),
            "report/segmentation.rst",
            "Segmentation",
            subcategory="{dataset}",
            is_folder=True,
        )
        plausibility = self.paths.plausibility()
        return {**super().outputs(), "plausibility": plausibility, "overlays": overlays}

    def base_mb(self, card: DatasetCard) -> int:
        with_network = card.cells is not None and card.cells.segmentation.runs_network
        return IMAGES_MB + (CELLPOSE_MB if with_network else 0)

    def depends(self, wildcards: Wildcards) -> str:
        """Return a digest of what the cells and their figures depend on."""
        settings = self._card(wildcards.dataset).cells
        overlays = settings.overlays if settings is not None else 0
        return fingerprint([super().depends(wildcards), overlays])


class Targets(Tiles):
    """Decode masks once, into a store in the order of the tiles."""

    name = "targets"
    version = targets.VERSION
    options = ("sheet", "card", "tiles", "manifest", "counts", "workers=threads")

    def jobs(self) -> Sequence[Job]:
        return per_dataset(self.study.with_targets)

    def inputs(self) -> dict[str, Any]:
        return {"tiles": self.paths.tiles(), "given": self.given_sheet}

    def outputs(self) -> dict[str, Any]:
        return {"manifest": self.paths.targets(), "counts": self.paths.target_table()}

    def params(self) -> dict[str, Any]:
        return {"sheet": self.sheet, "card": self.dataset_card, "depends": self.depends}

    def need(self, wildcards: Wildcards) -> Need:
        """Return the need of decoding: a few copies of a mask per worker, and those that wait."""
        found = self.sizes.fields(wildcards.dataset)
        mask_bytes = MASK_BYTES * math.prod(found.field_shape)
        memory = IMAGES_MB + (MASK_COPIES * self.threads + ITEMS_AHEAD) * mask_bytes / MIB
        looked_at = math.prod(min(side, targets.LOOKED_AT) for side in found.field_shape)
        memory += self.threads * DOUBT_BYTES * looked_at / MIB
        seconds = DECODE_SECONDS * mask_bytes * found.n_fields
        return Need.of(memory + table_mb(found.n_tiles, base=0), seconds)

    def companions(self, job: Job) -> list[Path]:
        return [self.paths.targets(job["dataset"]).with_suffix(".blocks")]

    def made_again(self, job: Job) -> list[Path]:
        # Images that were drawn stay: their tiles are made from them, too.
        return self.files_of(job)

    def depends(self, wildcards: Wildcards) -> str:
        """Return a digest of what the targets depend on in addition to the tiles."""
        card = self._card(wildcards.dataset)
        meant = card.masks.model_dump(mode="json") if card.masks is not None else None
        files = self.study.mask_digest(card.name) if card.sheet is not None else ""
        return fingerprint([meant, files])


class Reduce(Step):
    """Keep tiles once more, smaller, for the backbones that would reduce them anyway."""

    name = "reduce"
    wildcards = ("dataset", "side")
    options = ("tiles", "side", "manifest", "workers=threads")

    def jobs(self) -> Sequence[Job]:
        found = reduced_stores(self.study)
        return [{"dataset": dataset, "side": str(side)} for dataset, side in found]

    def inputs(self) -> dict[str, Any]:
        return {"tiles": self.paths.tiles()}

    def outputs(self) -> dict[str, Any]:
        return {"manifest": self.paths.reduced_tiles()}

    @property
    def threads(self) -> int:
        return self.config.compute.threads

    def need(self, wildcards: Wildcards) -> Need:
        """Return the need of a job: some tiles for each worker, and a block of the result."""
        n_tiles, shape = self.sizes.tiles(wildcards.dataset)
        read = max(REDUCED_BYTES, RAW_BYTES * math.prod(shape))
        waiting = (self.threads + ITEMS_AHEAD) * REDUCED_COPIES * read / MIB
        memory = TORCH_MB + waiting + 2 * BLOCK_BYTES / MIB
        return Need.of(memory, REDUCE_SECONDS * n_tiles * math.prod(shape) * RAW_BYTES)


class Published(_DatasetStep):
    """Take tiles that were published."""

    name = "published"
    options = ("card", "manifest", "table", "quality", "skipped")

    def makes(self, card: DatasetCard) -> bool:
        return card.published is not None

    def outputs(self) -> dict[str, Any]:
        return _tile_files(self.paths)

    def params(self) -> dict[str, Any]:
        return {"card": self.dataset_card, "depends": self.depends}

    def depends(self, wildcards: Wildcards) -> str:
        """Return a digest of what tiles that were published depend on."""
        card = self._card(wildcards.dataset)
        return fingerprint([card.image_fingerprint(), card.published, published_digest(card)])


class _EvaluatedStep(_DatasetStep):
    """A step with one job per dataset on which something is evaluated."""

    def jobs(self) -> Sequence[Job]:
        return per_dataset(name for name in self.study.datasets if self.makes(self._card(name)))

    def makes(self, card: DatasetCard) -> bool:
        return True


class Relabel(_EvaluatedStep):
    """Put the labels given by hand in place of those of the tile table."""

    name = "relabel"
    options = ("table", "card", "bad_tiles", "output=labelled")

    def makes(self, card: DatasetCard) -> bool:
        return card.label_table is not None

    def inputs(self) -> dict[str, Any]:
        return {"table": self.paths.tile_table(), "by_hand": self.label_table}

    def outputs(self) -> dict[str, Any]:
        return {"labelled": self.paths.relabelled()}

    def params(self) -> dict[str, Any]:
        return {
            "card": self.dataset_card,
            "labels": self.label_digest,
            "bad_tiles": self.config.bad_tiles,
        }

    def given(self, wildcards: Wildcards) -> list[Path]:
        return [self.label_table(wildcards)]

    def label_table(self, wildcards: Wildcards) -> Path:
        """Return the table of the labels given by hand."""
        located = self.study.all_datasets[wildcards.dataset]
        return label_table_of(located.card, located.path)


class ContactSheets(_EvaluatedStep):
    """Draw some tiles of each class."""

    name = "contact_sheets"
    options = ("tiles", "table", "card", "output=sheets")

    def makes(self, card: DatasetCard) -> bool:
        return card.source == "images"

    def inputs(self) -> dict[str, Any]:
        return {"tiles": self.paths.tiles(), "table": self.labelled_table()}

    def outputs(self) -> dict[str, Any]:
        sheets = Shown(
            self.paths.contact_sheets(),
            "report/contact_sheets.rst",
            "Data",
            subcategory="{dataset}",
            is_folder=True,
        )
        return {"sheets": sheets}

    def params(self) -> dict[str, Any]:
        return {"card": self.dataset_card, "labels": self.label_digest}

    def need(self, wildcards: Wildcards) -> Need:
        table = super().need(wildcards)
        return Need(table.mem_mb + IMAGES_MB, table.minutes)


class Splits(_EvaluatedStep):
    """Divide the tiles into folds, once for all probes."""

    name = "splits"
    options = ("table", "card", "settings", "splits")

    def inputs(self) -> dict[str, Any]:
        return {"table": self.labelled_table()}

    def outputs(self) -> dict[str, Any]:
        return {"splits": self.paths.splits()}

    def params(self) -> dict[str, Any]:
        return {
            "card": self.dataset_card,
            "labels": self.label_digest,
            "settings": self.config.splits.model_dump_json(
                exclude={"fractions", "groups_per_class", "halves"}
            ),
        }


STEPS: tuple[type[Step], ...] = (
    Simulate,
    Fetch,
    Tiles,
    Cells,
    Targets,
    Published,
    Reduce,
    Relabel,
    ContactSheets,
    Splits,
)
