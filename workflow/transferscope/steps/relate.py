"""The step that relates the stores of a dataset to known pairs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transferscope.cards.lookup import card_roots
from transferscope.config.correction import CorrectionName
from transferscope.config.probed import Probed
from transferscope.config.relations import Relating
from transferscope.costs.needs import TORCH_MB, Need, matrices_mb
from transferscope.relations import VERSION
from transferscope.relations.sources import source_files
from transferscope.steps.step import Job, Shown, Step, Wildcards, per_dataset

FIGURES = ("recall", "complexes")
TABLES = ("recall", "differences", "new_pairs", "similarity", "activity")
# Seconds per entity, map and source: permutations and draws of pairs, measured on one core.
SECONDS = 0.01


class Relate(Step):
    """Recall of known pairs by all stores of a dataset, on the same draws of entities."""

    name = "relate"
    version = VERSION
    wildcards = ("dataset",)
    options = ("stores", "table", "output=folder")

    def jobs(self) -> Sequence[Job]:
        return per_dataset(self.study.datasets) if self.config.relations.sources else []

    def inputs(self) -> dict[str, Any]:
        refs = self.config.relations.sources
        return {
            "embeddings": self.manifests,
            "table": self.labelled_table(),
            "sources": [path for ref in refs for path in source_files(ref, card_roots())],
        }

    def outputs(self) -> dict[str, Any]:
        tables = [self.paths.relations(name=f"{table}.csv") for table in self.tables]
        found: dict[str, Any] = {
            "tables": tables,
            "record": self.paths.relations(name="record.json"),
        }
        for figure in FIGURES:
            svg, png = (self.paths.relations(name=f"{figure}.{end}") for end in ("svg", "png"))
            caption = f"transferscope/figures/{figure}.rst"
            labels = {"dataset": "{dataset}", "figure": figure}
            found[f"{figure}_svg"] = Shown(svg, caption, "Known biology", labels=labels)
            found[f"{figure}_png"] = png
        return found

    @property
    def tables(self) -> list[str]:
        """Names of the tables that the settings give."""
        return [*TABLES] if self.config.relations.targets is None else [*TABLES, "consistency"]

    @property
    def corrections(self) -> list[CorrectionName]:
        """The corrections that are compared."""
        return self.config.relations.corrections or self.config.correction.methods

    def params(self) -> dict[str, Any]:
        return {"stores": self.stores, "folder": self.folder, "more": self.settings()}

    def folder(self, wildcards: Wildcards) -> Path:
        """Return the folder of a job's tables."""
        return self.paths.relations(wildcards.dataset)

    def probed(self, dataset: str) -> list[Probed]:
        """Return what is related of a dataset; the first is the reference of differences."""
        return [p for p in self.study.embedded() if p.dataset == dataset]

    def manifests(self, wildcards: Wildcards) -> list[Path]:
        """Return the manifests of a dataset's stores, each once."""
        found = [self.paths.embeddings_of(p) for p in self.probed(wildcards.dataset)]
        return list(dict.fromkeys(found))

    def stores(self, wildcards: Wildcards) -> str:
        """Return name, manifest, output and channel strategy of a dataset's maps, as JSON."""
        return json.dumps(
            [
                [
                    f"{p.representation}, {p.channels}",
                    str(self.paths.embeddings_of(p)),
                    p.output,
                    p.channels,
                ]
                for p in self.probed(wildcards.dataset)
            ]
        )

    def settings(self) -> list[str]:
        """Return the settings as arguments of the step."""
        settings, roles = self.config.relations, self.config.roles
        words = [text for ref in settings.sources for text in ("--source", ref)]
        told = {
            "entity": roles.perturbation,
            "batch": roles.batch,
            "control": roles.control,
            "position": roles.position,
            "labels": settings.labels,
            "targets": settings.targets,
            "aggregate": settings.aggregate,
        }
        for option, value in told.items():
            words += [f"--{option}", value] if value is not None else []
        for value in roles.control_values:
            words += ["--control-value", value]
        chosen = settings.model_dump(include=set(Relating.model_fields))
        for name in ("min_entities", "permutations", "draws", "level", "seed"):
            words += [f"--{name.replace('_', '-')}", str(chosen[name])]
        for correction in self.corrections:
            words += ["--correction", correction]
        for threshold in settings.thresholds:
            words += ["--threshold", str(threshold)]
        return words + ["--published"] * self.config.correction.published

    def need(self, wildcards: Wildcards) -> Need:
        """Return the need of a job: all its stores, corrected, and draws of entities."""
        sizes = [self.sizes.probed(p) for p in self.probed(wildcards.dataset)]
        settings = self.config.relations
        memory = TORCH_MB + sum(matrices_mb(*size) for size in sizes)
        maps = len(sizes) * len(self.corrections)
        n_tiles = max(n for n, _ in sizes)
        return Need.of(memory, 60 + SECONDS * n_tiles * maps * len(settings.sources))


STEPS: tuple[type[Step], ...] = (Relate,)
