"""The study config: one model, from which schema, defaults and documentation are generated."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    field_validator,
    model_validator,
)

from transferscope.config.ablation import SCHEME as ABLATION_SCHEME
from transferscope.config.ablation import AblationSettings
from transferscope.config.compute import ComputeSettings, TrainingSettings
from transferscope.config.correction import NONE, CorrectionSettings
from transferscope.config.joining import SCHEME as JOINING_SCHEME
from transferscope.config.joining import JoiningSettings
from transferscope.config.model import Model, without_repeats
from transferscope.config.names import Name
from transferscope.config.nuisance import SCHEME as NUISANCE_SCHEME
from transferscope.config.nuisance import NuisanceSettings
from transferscope.config.probes import (
    AggregateSettings,
    FinetuneSettings,
    HeadSettings,
    KnnSettings,
    SplitSettings,
)
from transferscope.config.relations import StudyRelations
from transferscope.config.results import CompareSettings, FigureSettings
from transferscope.config.roles import RoleSettings
from transferscope.config.segmentation import SCHEME, SegmentationSettings
from transferscope.config.transfer import SCHEME as TRANSFER_SCHEME
from transferscope.config.transfer import TransferSettings
from transferscope.config.vocabulary import METRICS, CardRef, Metric, Seed, Side, Strategy

ReducedSides = Annotated[list[Side], Field(min_length=1), AfterValidator(without_repeats)]


class StudyConfig(Model):
    """A study: its backbones, its datasets, and how they are evaluated."""

    study: Name = Field(description="Name of the study; results are written to <results>/<study>/.")
    results: str = Field(
        "results", min_length=1, description="Folder for all results, on a large disk."
    )
    card_folders: dict[Literal["datasets", "backbones"], str] = Field(
        {
            "datasets": "resources/datasets",
            "backbones": "resources/backbones",
        },
        description=(
            "Folders of cards, relative to the working folder, which is searched first, and to the "
            "folder of the workflow."
        ),
    )
    datasets: list[CardRef] = Field(min_length=1, description="Dataset cards, by name or by path.")
    backbones: list[CardRef] = Field(
        [],
        description=(
            "Backbone cards, by name or by path; `name@output` selects one of the outputs. If one "
            "is added, only that one is embedded and probed. Required, unless all datasets are "
            "tables (`source: table`), whose features are evaluated as they are."
        ),
    )
    channel_strategies: list[Strategy] = Field(
        ["replicate", "map", "map-random"],
        min_length=1,
        description=(
            "replicate: each channel is fed to all slots, one pass per channel, concatenated; "
            "mean: the average of these passes; only-<channel>, such as only-protein: one of "
            "them; map: each channel is fed to its matching slot; map-random: the same channels in "
            "other slots, as a control; adapt: the input weights are adapted to the number of "
            "channels; agnostic: all channels, for backbones that take any channels. "
            "See docs/channel-strategies.md for a figure of each."
        ),
    )
    strategy_seeds: list[Seed] = Field(
        [0, 1, 2],
        min_length=1,
        description=(
            "Seeds of map-random, one per order; the repeats are averaged. A seed that draws the "
            "same order as an earlier one is left out."
        ),
    )
    training_datasets: list[CardRef] = Field(
        [],
        description=(
            "Further dataset cards, used only to train backbones with `source: train`, not for "
            "evaluation. They need no labels (`labels: []` in the card)."
        ),
    )
    scored: bool = Field(
        True,
        description=(
            "Whether stores are scored and compared. false: only tiles, embeddings and maps are "
            "made, as where there are no labels yet, or too few groups."
        ),
    )
    bad_tiles: Literal["stop", "skip"] = Field(
        "stop", description="At an unreadable, constant or NaN field: stop, or skip and list it."
    )
    names: Literal["warn", "strict"] = Field(
        "warn",
        description=(
            "At names that differ but read as one (case, spaces, invisible characters, Unicode "
            "forms), of groups, classes, batches, fields, ids, datasets or backbones: warn, or "
            "strict: stop."
        ),
    )
    reduced_tiles: dict[Name, ReducedSides] = Field(
        {},
        description=(
            "Dataset -> sides in px, each at most half of its tiles', at which these are kept once "
            "more, antialiased. Backbones whose input is of that side, or of at most half of it, "
            "read them in place of the tiles, several times as fast; with `scale: fit`, and "
            "`intensity: range` without `bits`. {}: none. See docs/performance.md."
        ),
    )
    quality: Literal["warn", "stop"] = Field(
        "warn",
        description=(
            "At pixels that cannot show what they should: saturated, nearly black or constant "
            "channels, an intensity range that fits no image, pictures with merged colours, fields "
            "with exchanged channels, one image per group with a split by image: warn (also in the "
            "summary), or stop."
        ),
    )
    roles: RoleSettings = RoleSettings()
    correction: CorrectionSettings = CorrectionSettings()
    splits: SplitSettings = SplitSettings()
    heads: HeadSettings = HeadSettings()
    knn: KnnSettings = KnnSettings()
    probes: dict[Name, dict[str, Any]] = Field(
        {},
        description=(
            "Further probes of frozen embeddings, such as those of other installed packages: "
            "name -> settings ({}: the defaults)."
        ),
    )
    aggregate: AggregateSettings = AggregateSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    relations: StudyRelations = StudyRelations()
    segmentation: SegmentationSettings | None = Field(
        None,
        description=(
            "Decoders that segment the datasets with masks, on frozen backbones. Null: none; {}: "
            "the defaults. See docs/segment.md."
        ),
    )
    transfer: TransferSettings | None = Field(
        None,
        description=(
            "Train heads and k-NN on one dataset and test them on another one, wherever two share "
            "classes. Null: no; {}: the defaults. See docs/across-datasets.md."
        ),
    )
    nuisance: NuisanceSettings | None = Field(
        None,
        description=(
            "Predict batch, site, well and quality of images from embeddings, and measure whether "
            "neighbours share biology or batch. Null: no; {}: the defaults. See "
            "docs/besides-biology.md."
        ),
    )
    ablation: AblationSettings | None = Field(
        None,
        description=(
            "Take one channel after the other from the test tiles, and see which classes the "
            "trained heads lose. Null: no; {}: the defaults. See docs/channel-ablation.md."
        ),
    )
    joining: JoiningSettings | None = Field(
        None,
        description=(
            "Join the embeddings of two backbones, and see what that gains over the better of the "
            "two, which validation tiles choose. Null: no. See docs/joining-backbones.md."
        ),
    )
    metrics: list[Metric] = Field(
        METRICS,
        min_length=1,
        description="Metrics of the score tables; accuracy: exact matches of the label set.",
    )
    compute: ComputeSettings = ComputeSettings()
    training: TrainingSettings = TrainingSettings()
    compare: CompareSettings = CompareSettings()
    figures: FigureSettings = FigureSettings()

    _unique = field_validator(
        "datasets",
        "training_datasets",
        "backbones",
        "channel_strategies",
        "strategy_seeds",
        "metrics",
    )(without_repeats)

    @field_validator("results")
    @classmethod
    def _is_plain_path(cls, value: str) -> str:
        """Refuse what Snakemake, a shell or a person would read as something else."""
        if "{" in value or "}" in value:
            raise ValueError("Snakemake takes braces for wildcards: give a path without them")
        if not value.isprintable():
            raise ValueError("holds a control character: give a path without it")
        if value.startswith("-"):
            raise ValueError("begins with -, as options of commands do: give another path")
        if value.startswith("~") or re.match(r"\$\w", value):
            raise ValueError(
                f'would be a folder of the name "{value.split("/")[0]}": write the path in full'
            )
        return value

    @model_validator(mode="after")
    def _headline_is_computed(self) -> StudyConfig:
        if self.compare.metric not in self.metrics:
            raise ValueError(f"compare.metric: {self.compare.metric} is not among `metrics`")
        return self

    @model_validator(mode="after")
    def _finetuning_is_paired(self) -> StudyConfig:
        """Check that everything that is fine-tuned is also evaluated frozen."""
        if self.finetune.backbones and NONE not in self.correction.methods:
            raise ValueError("finetune.backbones needs `none` among correction.methods")
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

    @model_validator(mode="after")
    def _transfer_is_divided(self) -> StudyConfig:
        if self.transfer is not None and TRANSFER_SCHEME not in self.splits.schemes:
            raise ValueError(f"transfer: needs {TRANSFER_SCHEME} among splits.schemes")
        return self

    @model_validator(mode="after")
    def _nuisance_is_divided(self) -> StudyConfig:
        if self.nuisance is not None and NUISANCE_SCHEME not in self.splits.schemes:
            raise ValueError(f"nuisance: needs {NUISANCE_SCHEME} among splits.schemes")
        return self

    @model_validator(mode="after")
    def _ablation_is_divided(self) -> StudyConfig:
        if self.ablation is not None and ABLATION_SCHEME not in self.splits.schemes:
            raise ValueError(f"ablation: needs {ABLATION_SCHEME} among splits.schemes")
        return self

    @model_validator(mode="after")
    def _joining_is_divided(self) -> StudyConfig:
        if self.joining is not None and JOINING_SCHEME not in self.splits.schemes:
            raise ValueError(f"joining: needs {JOINING_SCHEME} among splits.schemes")
        return self

    @model_validator(mode="after")
    def _segmentation_is_divided(self) -> StudyConfig:
        """Check that segmentation asks for divisions that the study makes."""
        if self.segmentation is None:
            return self
        if SCHEME not in self.splits.schemes:
            raise ValueError(f"segmentation: needs {SCHEME} among splits.schemes")
        known: dict[str, list[Any]] = {
            "fractions": self.splits.fractions,
            "seeds": self.splits.seeds,
        }
        for key, values in known.items():
            for value in getattr(self.segmentation, key) or []:
                if value not in values:
                    shown = ", ".join(map(str, values))
                    raise ValueError(
                        f"segmentation.{key}: {value} is not among the study's: {shown}"
                    )
        return self
