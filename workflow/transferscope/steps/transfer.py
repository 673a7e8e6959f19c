"""The step that trains probes on one dataset and tests them on another one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transferscope.config.jobs import TransferProbe
from transferscope.config.transfer import OWN, SCHEME, ZERO_SHOT, TransferSettings
from transferscope.costs.needs import LEAST_MINUTES, MIB, TORCH_MB, Need, matrices_mb
from transferscope.probes.probe import Load
from transferscope.probes.registry import wanted_probes
from transferscope.steps.step import Job, Step, Wildcards, probed_of
from transferscope.study.transfers import Transfer, shared_classes, transfers


class TransferProbes(Step):
    """Train all probes on one dataset and test them on another one, by store."""

    name = "transfer"
    wildcards = ("source", "dataset", "representation", "channels")
    options = (
        "source_embeddings",
        "source_table",
        "source_splits",
        "source_card",
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
        "halves",
    )

    def jobs(self) -> Sequence[Job]:
        return [
            {
                "source": each.source,
                "dataset": each.probed.dataset,
                "representation": each.probed.representation,
                "channels": each.probed.channels,
            }
            for each in transfers(self.study)
        ]

    def inputs(self) -> dict[str, Any]:
        return {
            "source_embeddings": lambda job: self.paths.embeddings_of(_of(job).trained),
            "source_table": lambda job: self.study.table_of(job.source),
            "source_splits": self.paths.splits("{source}"),
            "embeddings": lambda job: self.paths.embeddings_of(probed_of(job)),
            "table": self.labelled_table(),
            "splits": self.paths.splits(),
        }

    def outputs(self) -> dict[str, Any]:
        scores = self.paths.transfer()
        return {
            "scores": scores,
            "predictions": scores.with_suffix(".predictions.parquet"),
            "halves": scores.with_suffix(".halves.parquet"),
        }

    def params(self) -> dict[str, Any]:
        return {
            "source_card": lambda job: self.study.datasets[job.source].path,
            "card": lambda job: self.study.datasets[job.dataset].path,
            "settings": self.settings,
        }

    @property
    def chosen(self) -> TransferSettings:
        """Settings of the study, where `transfer` is on if there are jobs."""
        return self.config.transfer or TransferSettings()

    def settings(self, wildcards: Wildcards) -> str:
        """Return the settings of a job as JSON."""
        cards = [self.study.datasets[n].card for n in (wildcards.source, wildcards.dataset)]
        probes = wanted_probes(self.config)
        job = TransferProbe(
            shared=shared_classes(cards[0], cards[1]),
            few_shot=self.chosen.few_shot,
            probes={probe.name: each.model_dump(mode="json") for probe, each in probes.items()},
            metrics=self.config.metrics,
            splits=self.config.splits.by_fraction,
        )
        return job.model_dump_json()

    @property
    def threads(self) -> int:
        return self.config.compute.probe_threads

    def need(self, wildcards: Wildcards) -> Need:
        """Return the need of a job: both matrices, and each probe once per training set."""
        both = [self.sizes.probed(p) for p in (_of(wildcards).trained, probed_of(wildcards))]
        n_tiles, width = sum(n for n, _ in both), both[1][1]
        n_classes = len(self.study.datasets[wildcards.dataset].card.labels)
        # Each training set is at most that of one split by group of all tiles.
        alone = {"schemes": [SCHEME], "fractions": [1.0]}
        load = Load(n_tiles, width, n_classes, self.config.splits.model_copy(update=alone))
        n_trainings = len((ZERO_SHOT, OWN)) + 2 * len(self.chosen.few_shot)
        probes = wanted_probes(self.config)
        seconds = n_trainings * sum(probe.seconds(s, load) for probe, s in probes.items())
        memory = TORCH_MB + max(probe.memory_bytes for probe in probes) / MIB
        memory += sum(matrices_mb(*each) for each in both) + matrices_mb(n_tiles, width)
        found = Need.of(memory, seconds)
        return Need(found.mem_mb, max(found.minutes, LEAST_MINUTES))


def _of(job: Wildcards) -> Transfer:
    return Transfer(job.source, probed_of(job))


def transfer_files(step: Step) -> dict[str, list[Path]]:
    """Return the tables of all jobs of a study, by kind; none where there is no such job."""
    found: dict[str, list[Path]] = {}
    for each in transfers(step.study):
        p = each.probed
        scores = step.paths.transfer(each.source, p.dataset, p.representation, p.channels)
        for suffix in ("", ".predictions", ".halves"):
            found.setdefault(f"transferred{suffix.replace('.', '_')}", []).append(
                scores.with_suffix(f"{suffix}.parquet")
            )
    return found


STEPS: tuple[type[Step], ...] = (TransferProbes,)
