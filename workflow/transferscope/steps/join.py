"""The step that joins stores, and tests probes on them and on each of their parts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from transferscope.config.jobs import JoiningProbe
from transferscope.config.joining import JOINING
from transferscope.config.paths import StudyPaths
from transferscope.config.probed import Probed
from transferscope.costs.needs import MIB, TORCH_MB, Need, matrices_mb
from transferscope.probes.probe import Load
from transferscope.steps.step import Job, Step, Wildcards, per_probed, probed_of
from transferscope.study.joinings import JoinedStore, joined_stores, joining_probes


class Join(Step):
    """Test the probes on several stores as one, on each alone, and on the chosen one of them."""

    name = "join"
    wildcards = ("dataset", "representation", "channels")
    options = (
        "channels",
        "table",
        "splits",
        "card",
        "settings",
        "threads",
        "scores",
        "predictions",
        "halves",
    )

    @cached_property
    def joined(self) -> dict[Probed, JoinedStore]:
        """Each joined store by what it is called."""
        return {each.probed: each for each in joined_stores(self.study)}

    def jobs(self) -> Sequence[Job]:
        return per_probed(self.joined)

    def inputs(self) -> dict[str, Any]:
        return {
            "embeddings": self.embeddings,
            "table": self.labelled_table(),
            "splits": self.paths.splits(),
        }

    def embeddings(self, wildcards: Wildcards) -> list[Path]:
        """Return the manifests of the stores that a job joins, each once."""
        return list(dict.fromkeys(map(self.paths.embeddings_of, self._parts(wildcards))))

    def _parts(self, wildcards: Wildcards) -> tuple[Probed, ...]:
        found = self.joined.get(probed_of(wildcards))
        return () if found is None else found.parts

    def outputs(self) -> dict[str, Any]:
        return _tables(self.paths)

    def params(self) -> dict[str, Any]:
        return {
            "card": lambda job: self.study.datasets[job.dataset].path,
            "settings": self.settings(),
            "more": self._more,
        }

    def _more(self, wildcards: Wildcards) -> list[str]:
        return [
            word
            for p in self._parts(wildcards)
            for word in (
                "--part",
                f"{p.representation}/{p.channels}={self.paths.embeddings_of(p)}",
            )
        ]

    def settings(self) -> str:
        """Return the settings of all jobs as JSON."""
        probes = joining_probes(self.config)
        job = JoiningProbe(
            fractions=[self._fraction],
            metrics=self.config.metrics,
            probes={probe.name: each.model_dump(mode="json") for probe, each in probes.items()},
            splits=self.config.splits.by_fraction,
            metric=self.config.compare.metric,
        )
        return job.model_dump_json()

    @property
    def _fraction(self) -> float:
        return max(self.config.splits.fractions)

    @property
    def threads(self) -> int:
        return self.config.compute.probe_threads

    def need(self, wildcards: Wildcards) -> Need:
        """Return the need of a job: all columns twice, and each probe on all and on each part."""
        sizes = [self.sizes.probed(p) for p in self._parts(wildcards)]
        n_tiles, width = sizes[0][0], 2 * sum(each for _, each in sizes)
        n_classes = len(self.study.datasets[wildcards.dataset].card.labels)
        kept = {"schemes": ["group"], "fractions": [self._fraction]}
        load = Load(n_tiles, width, n_classes, self.config.splits.model_copy(update=kept))
        probes = joining_probes(self.config)
        seconds = sum(probe.seconds(settings, load) for probe, settings in probes.items())
        memory = TORCH_MB + max(probe.memory_bytes for probe in probes) / MIB
        return Need.of(memory + matrices_mb(n_tiles, width), seconds)


def _tables(paths: StudyPaths, *store: str) -> dict[str, Path]:
    """Return all tables of a job, by kind; of all jobs, with wildcards."""
    return {
        "scores": paths.scores(JOINING, *store),
        "predictions": paths.predictions(JOINING, *store),
        "halves": paths.halves(JOINING, *store),
    }


def joining_files(step: Step) -> dict[str, list[Path]]:
    """Return the tables of all jobs of a study, by kind; none where there is no such job."""
    found: dict[str, list[Path]] = {}
    for each in joined_stores(step.study):
        p = each.probed
        tables = _tables(step.paths, p.dataset, p.representation, p.channels)
        for kind, path in tables.items():
            found.setdefault(f"joined_{kind}", []).append(path)
    return found


STEPS: tuple[type[Step], ...] = (Join,)
