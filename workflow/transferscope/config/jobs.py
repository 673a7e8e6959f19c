"""Settings of a single job: those of its section, and those it shares with other jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import (
    Field,
)

from transferscope.config.ablation import OcclusionSettings
from transferscope.config.compute import ComputeSettings, TrainingSettings
from transferscope.config.model import Model
from transferscope.config.names import ChannelName, Name
from transferscope.config.nuisance import NuisanceSettings
from transferscope.config.probes import (
    AggregateSettings,
    FinetuneSettings,
    HeadSettings,
    KnnSettings,
    SplitSettings,
)
from transferscope.config.results import CompareSettings
from transferscope.config.roles import RoleSettings
from transferscope.config.segmentation import SegmentationSettings
from transferscope.config.transfer import SharedClass, TransferSettings
from transferscope.config.vocabulary import METRICS, Fraction, Metric, Scheme, Seed, SeenInTraining


class HeldOutDivision(Model):
    """One division of the tiles."""

    scheme: Scheme
    seed: Seed
    fold: int = Field(ge=0)


class Leakage(Model):
    """The part of a dataset that a backbone has seen in its training within the study."""

    seen_in_training: SeenInTraining = "no"
    only: HeldOutDivision | None = Field(
        None,
        description="The only division whose test groups it has not seen; None: no restriction.",
    )


class LeakageByName(Leakage):
    """What a backbone has seen in other datasets, if these hold groups of the evaluated one.

    Whether they do is known once all sample sheets are.
    """

    named_in: list[Path] = Field(
        min_length=1,
        description=(
            "Tile tables of the datasets that it was trained on. Without a group of the same name "
            "as a test group in any of them, it has seen nothing, and there is no restriction."
        ),
    )


class Probe(Model):
    """Settings that all probes share."""

    fractions: list[Fraction] = SplitSettings().fractions
    metrics: list[Metric] = METRICS
    leakage: LeakageByName | Leakage = Leakage()


class ProbeJob(Probe):
    """Settings of the step `transferscope probe`; the probe's own model checks `settings`."""

    settings: dict[str, Any] = Field({})
    splits: SplitSettings = SplitSettings()


class TransferProbe(Model):
    """Settings of the step `transferscope transfer`; each probe's own model checks its settings."""

    shared: list[SharedClass] = Field(min_length=1)
    few_shot: list[int] = TransferSettings().few_shot
    probes: dict[Name, dict[str, Any]] = Field({"heads": {}, "knn": {}}, min_length=1)
    metrics: list[Metric] = METRICS
    splits: SplitSettings = SplitSettings()


class NuisanceProbe(Probe):
    """Settings of the step `transferscope nuisance`; all training labels are used."""

    nuisance: NuisanceSettings = NuisanceSettings()
    splits: SplitSettings = SplitSettings()
    heads: HeadSettings = HeadSettings()
    roles: RoleSettings = RoleSettings()


class AblationProbe(Probe):
    """Settings of the step `transferscope ablate`; each probe's own model checks its settings."""

    probes: dict[Name, dict[str, Any]] = Field({"heads": {}, "knn": {}}, min_length=1)
    splits: SplitSettings = SplitSettings()


class OcclusionProbe(Probe):
    """Settings of the step `transferscope occlude`, except the compute settings."""

    occlusion: OcclusionSettings = OcclusionSettings()
    heads: HeadSettings = HeadSettings()
    metric: Metric = CompareSettings().metric
    covered: list[ChannelName] = Field(
        [], description="Channels that are also covered alone, the others left as they are."
    )


class WeightProbe(Probe):
    """Settings of the step `transferscope weigh-channels`."""

    splits: SplitSettings = SplitSettings()
    heads: HeadSettings = HeadSettings()


class JoiningProbe(Probe):
    """Settings of the step `transferscope join`; each probe's own model checks its settings."""

    probes: dict[Name, dict[str, Any]] = Field({"heads": {}, "knn": {}}, min_length=1)
    splits: SplitSettings = SplitSettings()
    metric: Metric = Field("macro_f1", description="By which validation tiles choose a part.")


class AggregateProbe(Probe):
    """Settings of the step `transferscope aggregate`; its heads are logistic regression and k-NN.

    All training labels are used, whatever the study's fractions are.
    """

    settings: AggregateSettings = AggregateSettings()
    splits: SplitSettings = SplitSettings()
    heads: HeadSettings = HeadSettings()
    knn: KnnSettings = KnnSettings()


class FinetuneProbe(Probe):
    """Settings of the step `transferscope finetune`, except the compute settings.

    Training starts from the frozen linear head of `heads`.
    """

    settings: FinetuneSettings = FinetuneSettings()
    heads: HeadSettings = HeadSettings()


class SegmentationProbe(Model):
    """Settings of the step `transferscope segment`, except the compute settings."""

    settings: SegmentationSettings = SegmentationSettings()
    fractions: list[Fraction] = SplitSettings().fractions
    leakage: LeakageByName | Leakage = Leakage()


class TrainingSource(Model):
    """A dataset that a backbone is trained on, for the step `transferscope pretrain`."""

    dataset: Name
    tiles: Path = Field(description="Manifest of the tile store.")
    table: Path = Field(description="Tile table.")
    splits: Path | None = Field(
        None, description="Split table, if the test groups of a division are excluded."
    )


class EvaluatedDataset(Model):
    """A dataset that a backbone is evaluated on but not trained on."""

    table: Path = Field(description="Tile table.")
    splits: Path = Field(description="Split table.")


class Pretraining(Model):
    """Settings of the step `transferscope pretrain`."""

    sources: list[TrainingSource] = Field(min_length=1)
    held_out: HeldOutDivision | None = None
    also_evaluated: list[EvaluatedDataset] = Field(
        [],
        description=(
            "Datasets that are not trained on; groups with the names of their test groups are "
            "excluded, too."
        ),
    )
    compute: ComputeSettings = ComputeSettings()
    training: TrainingSettings = TrainingSettings()
    cell: Name | None = Field(None, description="Which cell of the card's grid is trained.")
    kept_steps: list[int] = Field(
        [], description="Numbers of steps after which weights are kept, before the last."
    )


class TrainedCell(Model):
    """A backbone that is a cell of a grid, for the step `transferscope compare`."""

    grid: Name = Field(description="Name of the card with the grid.")
    values: dict[str, str | int | float] = Field(description="Axis -> value, with the seed.")


class FamilyMember(Model):
    """A backbone of a family or a sweep, for the step `transferscope compare`."""

    family: Name = Field(description="Name of the family, or of the card with the sweep.")
    axis: Literal["parameters", "input_size", "pixel_size_um"] = Field(
        "parameters", description="What its size is: number of weights, px, um/px."
    )
    size: float | None = Field(None, gt=0, description="Its size, if it is known.")


class Comparison(CompareSettings):
    """Settings of the step `transferscope compare`."""

    may_have_seen: dict[Name, list[str]] = Field(
        {},
        description=(
            "Dataset -> representations with published weights that may have seen its images or "
            "its groups, as the cards say."
        ),
    )
    controls: list[str] = Field(
        [], description="Representations of networks with random weights, which are controls."
    )
    nuisances: list[str] = Field(
        [], description="Representations that know but numbers of cells and quality of images."
    )
    operations: dict[str, dict[str, float]] = Field(
        {},
        description=(
            "Dataset -> store, as it is printed -> floating-point operations of its network per "
            "tile, 0 without a network; stores of unknown cost are left out."
        ),
    )
    cells: dict[Name, TrainedCell] = Field({}, description="Backbones that are cells of a grid.")
    families: dict[Name, FamilyMember] = Field(
        {}, description="Backbones of families with several members, and of sweeps."
    )
    layered: list[Name] = Field([], description="Backbones of which every block is evaluated.")
    columns: list[str] = Field(
        [], description="Columns of the sheet by which tiles are split, from easy to hard."
    )
    not_ablated: list[str] = Field(
        [], description="Why channels of something of the study are not ablated, sentences."
    )
    not_joined: list[str] = Field(
        [], description="Why stores that should be joined are not, sentences."
    )
    not_transferred: list[str] = Field(
        [], description="Why something of the study is not tested on another dataset, sentences."
    )
