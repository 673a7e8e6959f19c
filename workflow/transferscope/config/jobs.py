"""What a single job is told: settings of its section and what it shares with others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import (
    Field,
)

from transferscope.config.compute import ComputeSettings, TrainingSettings
from transferscope.config.model import Model
from transferscope.config.names import Name
from transferscope.config.probes import (
    AggregateSettings,
    FinetuneSettings,
    HeadSettings,
    KnnSettings,
    SplitSettings,
)
from transferscope.config.vocabulary import METRICS, Fraction, Metric, Scheme, Seed, SeenInTraining


class HeldOutDivision(Model):
    """One division of the tiles."""

    scheme: Scheme
    seed: Seed
    fold: int = Field(ge=0)


class Leakage(Model):
    """What a backbone that was trained in the study has seen of a dataset."""

    seen_in_training: SeenInTraining = "no"
    only: HeldOutDivision | None = Field(
        None,
        description="The only division whose test groups it has not seen; None: any is as good.",
    )


class Probe(Model):
    """What every probe is told in addition to its own settings."""

    fractions: list[Fraction] = SplitSettings().fractions
    metrics: list[Metric] = METRICS
    leakage: Leakage = Leakage()


class ProbeJob(Probe):
    """Settings of the step `transferscope probe`; the probe's own model checks `settings`."""

    settings: dict[str, Any] = Field({})


class AggregateProbe(Probe):
    """Settings of the step `transferscope aggregate`; its heads are logistic regression and k-NN.

    All training labels are used, whatever the study's fractions are.
    """

    settings: AggregateSettings = AggregateSettings()
    heads: HeadSettings = HeadSettings()
    knn: KnnSettings = KnnSettings()


class FinetuneProbe(Probe):
    """Settings of the step `transferscope finetune`, but for the compute settings.

    The frozen linear head, which is where a training starts, is that of `heads`.
    """

    settings: FinetuneSettings = FinetuneSettings()
    heads: HeadSettings = HeadSettings()


class TrainingSource(Model):
    """A dataset that a backbone is trained on, as the step `transferscope pretrain` finds it."""

    dataset: Name
    tiles: Path = Field(description="Manifest of the tile store.")
    table: Path = Field(description="Tile table.")
    splits: Path | None = Field(
        None, description="Split table, where the test groups of a division are left out."
    )


class Pretraining(Model):
    """Settings of the step `transferscope pretrain`."""

    sources: list[TrainingSource] = Field(min_length=1)
    held_out: HeldOutDivision | None = None
    compute: ComputeSettings = ComputeSettings()
    training: TrainingSettings = TrainingSettings()
