"""The steps that take features from a table, for datasets without images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from transferscope import given
from transferscope.config.channel_strategies import GIVEN
from transferscope.costs.needs import FLOAT_BYTES, MIB, Need, table_mb
from transferscope.runtime.fingerprint import fingerprint
from transferscope.steps.step import Job, Step, Wildcards, per_dataset

# Copies of all features while the table is read: as read, as numbers, without constant ones.
TABLE_COPIES = 6
# Bytes per value of a table of text, as Python holds it.
TEXT_BYTES = 120
# Seconds per value of a table of text.
READ_SECONDS = 5e-6


class _GivenStep(Step):
    """A step that reads the table of a dataset."""

    version = given.VERSION

    def inputs(self) -> dict[str, Any]:
        return {"given": self.source}

    def params(self) -> dict[str, Any]:
        return {
            "card": self.dataset_card,
            "bad_tiles": self.config.bad_tiles,
            "depends": self.depends,
        }

    def given(self, wildcards: Wildcards) -> list[Path]:
        return [self.source(wildcards)]

    def source(self, wildcards: Wildcards) -> Path:
        """Return the table of a dataset."""
        return self.study.sheet_of(wildcards.dataset)

    def dataset_card(self, wildcards: Wildcards) -> Path:
        """Return the path of a dataset's card."""
        return self.study.all_datasets[wildcards.dataset].path

    def depends(self, wildcards: Wildcards) -> str:
        """Return a digest of what a card says about its table and its labels."""
        card = self.study.all_datasets[wildcards.dataset].card
        return fingerprint([card.columns, card.features, card.labels, card.task])

    def need(self, wildcards: Wildcards) -> Need:
        """Return the need of reading the table: all of its features, as text where it is text."""
        name = wildcards.dataset
        sets = self.study.datasets[name].card.feature_sets
        sizes = [self.sizes.store(name, each, GIVEN) for each in sets]
        values = sum(n_rows * width for n_rows, width in sizes)
        is_text = self.source(wildcards).suffix not in (".parquet", ".h5ad")
        of_value = TABLE_COPIES * FLOAT_BYTES + (TEXT_BYTES if is_text else 0)
        return Need.of(table_mb(sizes[0][0]) + of_value * values / MIB, READ_SECONDS * values)

    def _tables(self) -> list[str]:
        return [name for name in self.study.datasets if self.study.is_table(name)]


class GivenTable(_GivenStep):
    """Check a table of features, and write its rows as a tile table."""

    name = "given_table"
    wildcards = ("dataset",)
    options: ClassVar[tuple[str, ...]] = ("card", "bad_tiles", "output=table", "skipped")

    def jobs(self) -> Sequence[Job]:
        return per_dataset(self._tables())

    def outputs(self) -> dict[str, Any]:
        return {"table": self.paths.tile_table(), "skipped": self.paths.skipped()}


class GivenFeatures(_GivenStep):
    """Write a set of features of a table as an embedding store."""

    name = "given_features"
    wildcards = ("dataset", "backbone")
    options: ClassVar[tuple[str, ...]] = (
        "card",
        "features=backbone",
        "bad_tiles",
        "table",
        "manifest",
    )

    def jobs(self) -> Sequence[Job]:
        return [
            {"dataset": name, "backbone": given}
            for name in self._tables()
            for given in self.study.datasets[name].card.feature_sets
        ]

    def inputs(self) -> dict[str, Any]:
        return {**super().inputs(), "table": self.paths.tile_table()}

    def outputs(self) -> dict[str, Any]:
        return {"manifest": self.paths.embeddings(channels=GIVEN)}


STEPS: tuple[type[Step], ...] = (GivenTable, GivenFeatures)
