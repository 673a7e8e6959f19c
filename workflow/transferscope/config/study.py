"""The study config: one model, from which schema, defaults and documentation follow."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import (
    Field,
    field_validator,
    model_validator,
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
from transferscope.config.results import CompareSettings, FigureSettings
from transferscope.config.vocabulary import METRICS, CardRef, Metric, Seed, Strategy


class StudyConfig(Model):
    """A study: which backbones, on which datasets, evaluated how."""

    study: Name = Field(description="Name of the study; results lie under <results>/<study>/.")
    results: str = Field(
        "results", min_length=1, description="Folder of all results: on a large disk."
    )
    card_folders: dict[Literal["datasets", "backbones"], str] = Field(
        {
            "datasets": "resources/datasets",
            "backbones": "resources/backbones",
        },
        description=(
            "Where cards are looked up by name: in the working folder first, then in the folder of "
            "the workflow."
        ),
    )
    datasets: list[CardRef] = Field(min_length=1, description="Dataset cards, by name or by path.")
    backbones: list[CardRef] = Field(
        min_length=1,
        description=(
            "Backbone cards, by name or by path; `name@output` picks one of its outputs. Adding "
            "one embeds and probes that one only."
        ),
    )
    channel_strategies: list[Strategy] = Field(
        ["replicate", "map", "map-random"],
        min_length=1,
        description=(
            "replicate: each channel fills all slots, one pass a channel, concatenated; mean: the "
            "average over these passes; only-<channel>, such as only-protein: one of them; map: "
            "each channel goes to the slot that it belongs to; map-random: the same channels in "
            "other slots, the control; adapt: the input weights are made to fit the number of "
            "channels; agnostic: all as they are, for backbones that take any channels. "
            "docs/channel-strategies.md has a picture of each."
        ),
    )
    strategy_seeds: list[Seed] = Field(
        [0, 1, 2],
        min_length=1,
        description=(
            "Seeds of map-random, one per order: repeats, which are averaged. One that draws the "
            "order of an earlier one is left out."
        ),
    )
    training_datasets: list[CardRef] = Field(
        [],
        description=(
            "Further dataset cards: backbones with `source: train` may see their tiles, and "
            "nothing is evaluated on them. They need no labels (`labels: []` in the card)."
        ),
    )
    bad_tiles: Literal["stop", "skip"] = Field(
        "stop", description="An unreadable, constant or NaN field: stop, or skip it and list it."
    )
    splits: SplitSettings = SplitSettings()
    heads: HeadSettings = HeadSettings()
    knn: KnnSettings = KnnSettings()
    probes: dict[Name, dict[str, Any]] = Field(
        {},
        description=(
            "Further probes of frozen embeddings, such as those of other installed packages: the "
            "name of each, with its settings ({} for its defaults)."
        ),
    )
    aggregate: AggregateSettings = AggregateSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    metrics: list[Metric] = Field(
        METRICS,
        min_length=1,
        description="Metrics of the score tables; accuracy counts exact matches of the label set.",
    )
    compute: ComputeSettings = ComputeSettings()
    training: TrainingSettings = TrainingSettings()
    compare: CompareSettings = CompareSettings()
    figures: FigureSettings = FigureSettings()

    @field_validator(
        "datasets",
        "training_datasets",
        "backbones",
        "channel_strategies",
        "strategy_seeds",
        "metrics",
    )
    @classmethod
    def _unique(cls, values: list[Any]) -> list[Any]:
        if repeated := sorted({v for v in values if values.count(v) > 1}):
            raise ValueError(f"named twice: {', '.join(map(str, repeated))}")
        return values

    @model_validator(mode="after")
    def _headline_is_computed(self) -> StudyConfig:
        if self.compare.metric not in self.metrics:
            raise ValueError(f"compare.metric: {self.compare.metric} is not among `metrics`")
        return self

    @model_validator(mode="after")
    def _finetuning_is_paired(self) -> StudyConfig:
        """Check that all that is fine-tuned is also run frozen."""
        known: dict[str, list[Any]] = {
            "channels": self.channel_strategies,
            "schemes": self.splits.schemes,
            "fractions": self.splits.fractions,
        }
        for key, values in known.items():
            wanted = getattr(self.finetune, key) if self.finetune.backbones else None
            for value in wanted or []:
                if value not in values:
                    shown = ", ".join(map(str, values))
                    raise ValueError(f"finetune.{key}: {value} is not among the study's: {shown}")
        return self
