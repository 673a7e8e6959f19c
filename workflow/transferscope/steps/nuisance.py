"""The steps that ask stores what they know besides biology."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transferscope.cards import BackboneCard
from transferscope.cards.lookup import Located, card_roots, locate_card
from transferscope.config.jobs import NuisanceProbe
from transferscope.config.nuisance import MEASURES, SCHEME, TABLES, NuisanceSettings
from transferscope.costs.needs import IMAGES_MB, LEAST_MINUTES, MIB, TORCH_MB, Need, matrices_mb
from transferscope.costs.network_costs import HANDCRAFTED_SECONDS
from transferscope.probes.probe import Load
from transferscope.probes.registry import HEADS
from transferscope.steps.probe import Evaluation
from transferscope.steps.step import Job, Step, Wildcards, per_dataset, per_probed

# Values of a column that the estimate of the time assumes.
VALUES = 24
# Seconds per division, row and squared width: the decomposition of the training rows.
RIDGE_SECONDS = 2e-9


class Measures(Step):
    """Count cells and measure brightness and focus of all tiles, to predict them."""

    name = "measures"
    wildcards = ("dataset",)
    options = ("tiles", "backbone", "output=measures", "threads")

    def jobs(self) -> Sequence[Job]:
        return per_dataset(self.study.measured)

    def inputs(self) -> dict[str, Any]:
        return {"tiles": self.paths.tiles()}

    def outputs(self) -> dict[str, Any]:
        return {"measures": self.paths.measures()}

    @property
    def card(self) -> Located[BackboneCard]:
        """The card whose features are measured."""
        return locate_card(MEASURES, "backbones", BackboneCard, card_roots())

    def params(self) -> dict[str, Any]:
        return {"backbone": self.card.path, "digest": self.card.card.fingerprint()}

    @property
    def threads(self) -> int:
        return self.config.compute.threads

    def need(self, wildcards: Wildcards) -> Need:
        n_tiles = self.sizes.tiles(wildcards.dataset)[0]
        return Need.of(IMAGES_MB + TORCH_MB, HANDCRAFTED_SECONDS * n_tiles / self.threads)


class Nuisance(Evaluation):
    """Predict batch, site, well and image quality from a store, and find its robustness index."""

    name = "nuisance"
    options = (*Evaluation.options[:-2], *TABLES)

    @property
    def chosen(self) -> NuisanceSettings:
        """Settings of the study, where `nuisance` is on if there are jobs."""
        return self.config.nuisance or NuisanceSettings()

    def jobs(self) -> Sequence[Job]:
        return per_probed(self.study.probed()) if self.config.nuisance is not None else []

    def inputs(self) -> dict[str, Any]:
        measured: Any = self.measures if self.study.measured else []
        return {**super().inputs(), "measures": measured}

    def measures(self, wildcards: Wildcards) -> list[Path]:
        """Return the table of the measures of a dataset, if it has images."""
        name = wildcards.dataset
        return [self.paths.measures(name)] if name in self.study.measured else []

    def outputs(self) -> dict[str, Any]:
        return {table: self.paths.nuisance(table) for table in TABLES}

    def params(self) -> dict[str, Any]:
        return {
            "card": self.dataset_card,
            "settings": self.once(self.settings),
            "more": self.more,
        }

    def more(self, wildcards: Wildcards) -> list[str]:
        """Return the measures as an argument of the step."""
        return [text for path in self.measures(wildcards) for text in ("--measures", str(path))]

    def settings(self, wildcards: Wildcards) -> str:
        """Return the settings of a job as JSON."""
        job = NuisanceProbe(
            **{**self.shared(wildcards), "fractions": [1.0]},
            nuisance=self.chosen,
            splits=self.config.splits.by_fraction.model_copy(update={"fractions": [1.0]}),
            heads=self.config.heads,
            roles=self.config.roles,
        )
        return job.model_dump_json()

    def need(self, wildcards: Wildcards) -> Need:
        """Return the need of a job: heads of each column, regressions, and all neighbours."""
        load = self.load(wildcards)
        by_group = {"schemes": [SCHEME], "fractions": [1.0]}
        splits = self.config.splits.model_copy(update=by_group)
        columns = Load(load.n_tiles, load.n_features, VALUES, splits)
        logreg = self.config.heads.model_copy(update={"kinds": ["logreg"]})
        n_divisions = columns.n_divisions * (1 + 2 * splits.halves)
        narrow = min(load.n_tiles, load.n_features)
        seconds = 3 * HEADS.seconds(logreg, columns)
        seconds += RIDGE_SECONDS * n_divisions * load.n_tiles * load.n_features * narrow / 100
        seconds += 2 * load.n_tiles**2 * load.n_features / load.rate
        seconds += 1e-7 * self.chosen.permutations * load.n_tiles * self.chosen.k
        memory = TORCH_MB + HEADS.memory_bytes / MIB
        memory += 2 * matrices_mb(load.n_tiles, load.n_features)
        found = Need.of(memory, seconds)
        return Need(found.mem_mb, max(found.minutes, LEAST_MINUTES))


STEPS: tuple[type[Step], ...] = (Measures, Nuisance)
