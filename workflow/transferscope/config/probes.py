"""Settings of the splits and of each probe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from transferscope.config.model import Model
from transferscope.config.modes import PATTERN as MODES
from transferscope.config.modes import check_mode
from transferscope.config.names import Name
from transferscope.config.training import AugmentationSettings
from transferscope.config.vocabulary import CardRef, Fraction, HeadKind, Scheme, Seed, Strategy


class SplitSettings(Model):
    """How tiles are divided, once and for all probes, so that all comparisons are paired."""

    schemes: list[Scheme] = Field(
        ["group", "image"],
        min_length=1,
        description=(
            "group: no group (protein, well, patient) on both sides, the honest estimate for new "
            "ones; image: groups shared, as older papers do. The gap between them is a result."
        ),
    )
    folds: dict[Scheme, Annotated[int, Field(ge=2)]] = Field(
        {"group": 5, "image": 5},
        description=(
            "Folds of each scheme. A class needs at least as many groups as the group scheme has."
        ),
    )
    seeds: list[Seed] = Field(
        [0], min_length=1, description="Seeds of the division, one per repeat."
    )
    validation: float = Field(
        0.2,
        gt=0,
        lt=0.9,
        description="Share of the training side kept for early stopping and thresholds.",
    )
    fractions: list[Fraction] = Field(
        [0.1, 0.25, 0.5, 1.0],
        min_length=1,
        description="Shares of the training groups that a head may see; nested.",
    )
    rare_classes: Literal["stop", "drop"] = Field(
        "stop",
        description="What to do with a class that has fewer groups than folds: stop, or drop it.",
    )

    @model_validator(mode="after")
    def _folds_for_each_scheme(self) -> SplitSettings:
        if missing := [s for s in self.schemes if s not in self.folds]:
            raise ValueError(f"folds: give a number for {', '.join(missing)}")
        return self

    @field_validator("fractions", "seeds", "schemes")
    @classmethod
    def _unique(cls, values: list[object]) -> list[object]:
        if len(set(values)) != len(values):
            raise ValueError("a value is repeated")
        return values


class HeadSettings(Model):
    """Supervised heads on frozen embeddings; all folds, seeds and fractions train together."""

    kinds: list[HeadKind] = Field(
        ["linear", "logreg", "mlp"],
        description=(
            "linear: one layer, AdamW, early stopping; logreg: L2-regularised to convergence; "
            "mlp: hidden layers with dropout, as in the published OpenCell studies. Empty: none."
        ),
    )
    hidden: list[Annotated[int, Field(ge=1)]] = Field(
        [512, 256], description="Widths of the mlp's hidden layers."
    )
    dropout: float = Field(0.5, ge=0, lt=1, description="Dropout of the mlp.")
    epochs: int = Field(100, ge=1, description="Longest training of linear and mlp, in epochs.")
    patience: int = Field(15, ge=1, description="Epochs without a better validation loss.")
    batch_size: int = Field(256, ge=1, description="Tiles per step.")
    learning_rate: float = Field(1e-3, gt=0, description="AdamW's rate, decayed by a cosine.")
    weight_decay: float = Field(0.04, ge=0, description="AdamW's weight decay.")
    logreg_c: float = Field(1.0, gt=0, description="Inverse strength of logreg's L2 penalty.")
    threshold_positives: int = Field(
        5,
        ge=1,
        description=(
            "A class with fewer validation positives gets no threshold of its own: it shares one "
            "with others of its kind."
        ),
    )


KnnMetric = Literal["cosine", "euclidean"]
KnnVotes = Literal["majority", "distance"]
KnnExclusion = Literal["none", "fov", "group", "batch"]


class KnnSettings(Model):
    """k nearest neighbours: one search per metric at the largest k, every k from it."""

    k: list[Annotated[int, Field(ge=1)]] = Field(
        [1, 5, 10, 20, 50],
        description="Numbers of neighbours. Empty: no k-NN.",
    )
    metrics: list[KnnMetric] = Field(
        ["cosine"],
        min_length=1,
        description="What near means: cosine or euclidean distance; each is a head of its own.",
    )
    votes: list[KnnVotes] = Field(
        ["majority"],
        min_length=1,
        description=(
            "majority: each neighbour has one vote; distance: a vote of 1 / its distance; each is "
            "a head of its own."
        ),
    )
    exclude: KnnExclusion = Field(
        "fov",
        description=(
            "Training tiles that share this with a test tile are no neighbours of it: none, fov, "
            "group or batch. The k nearest of the others vote."
        ),
    )

    @field_validator("metrics", "votes")
    @classmethod
    def _unique(cls, values: list[str]) -> list[str]:
        if len(set(values)) != len(values):
            raise ValueError("a value is repeated")
        return values


AggregationLevel = Literal["fov", "group"]
AggregationMethod = Literal["mean", "median"]


class AggregateSettings(Model):
    """Levels above the tile at which embeddings are combined and scored alongside single tiles."""

    levels: list[AggregationLevel] = Field(
        [],
        description=(
            "fov: the tiles, such as cells, of a field become one embedding; group: those of a "
            "group. Single tiles are scored beside them. Empty: off."
        ),
    )
    methods: list[AggregationMethod] = Field(
        ["mean", "median"], min_length=1, description="How, value by value."
    )
    fields: dict[Name, Name] = Field(
        {},
        description=(
            "Dataset of cells -> dataset of the whole fields that they were cut from, with the "
            "same `fov` names: the fields' own embeddings are scored on the cells' folds."
        ),
    )

    @field_validator("levels", "methods")
    @classmethod
    def _unique(cls, values: list[str]) -> list[str]:
        if len(set(values)) != len(values):
            raise ValueError("a value is repeated")
        return values


FinetuneMode = Annotated[
    str,
    AfterValidator(check_mode),
    WithJsonSchema({"type": "string", "pattern": f"^({MODES})$"}),
]


class FinetuneSettings(Model):
    """Fine-tuning: backbone and head trained together on the divisions of the frozen heads."""

    backbones: list[CardRef] = Field(
        [],
        description=(
            "Which of the study's backbones are trained on with labels, as `backbones` names them. "
            "Empty: off. docs/fine-tune.md says more."
        ),
    )
    channels: list[Strategy] = Field(
        ["map"],
        min_length=1,
        description="With which of the study's channel strategies. replicate: one pass a channel.",
    )
    modes: list[FinetuneMode] = Field(
        ["full"],
        min_length=1,
        description=(
            "What is trained beside the head; each is a head of its own in the tables. full: all "
            "layers; last-<n>, such as last-2: the last n blocks and the norm after them; lora: "
            "low-rank updates of the linear layers of vision transformers; head: nothing, which "
            "equals the linear head on the embeddings."
        ),
    )
    schemes: list[Scheme] | None = Field(
        None, description="With which of the study's split schemes. Null: all."
    )
    fractions: list[Fraction] | None = Field(
        None, description="At which of the study's fractions. Null: all."
    )
    epochs: int = Field(40, ge=1, description="Longest training, in epochs.")
    patience: int = Field(
        8, ge=1, description="Epochs without a better mean average precision in validation."
    )
    batch_size: int = Field(32, ge=1, description="Tiles per step.")
    learning_rate: float = Field(
        5e-4, ge=0, description="AdamW's highest rate, after the warm-up; a cosine follows."
    )
    backbone_rate: float = Field(
        1.0,
        ge=0,
        description="Rate of the backbone's last layer, in relation to the head's. 0: frozen.",
    )
    layer_decay: float = Field(
        0.75,
        gt=0,
        le=1,
        description=(
            "Each layer learns at this share of the rate of the next. 1 for networks that start at "
            "random."
        ),
    )
    warmup: float = Field(
        0.1, ge=0, lt=1, description="Share of all steps in which the rate rises from zero."
    )
    weight_decay: float = Field(0.05, ge=0, description="AdamW's weight decay.")
    clip: float | None = Field(
        1.0, gt=0, description="Longest gradient, all weights together. Null: not clipped."
    )
    ema: float = Field(
        0.99,
        ge=0,
        lt=1,
        description="Decay of the moving average of the weights, which is tested. 0: none.",
    )
    balance: Literal["none", "loss", "sampling"] = Field(
        "none",
        description=(
            "Rare classes. loss: they weigh more; sampling: their tiles are drawn more often; none."
        ),
    )
    lora_rank: int = Field(8, ge=1, description="Rank of the updates of lora.")
    lora_alpha: float = Field(16.0, gt=0, description="The updates are scaled by alpha / rank.")
    augment: bool = Field(True, description="Whether training tiles are changed at random.")
    augmentation: AugmentationSettings = AugmentationSettings()
    checkpoint_minutes: float = Field(
        10.0, gt=0, description="Minutes between checkpoints; finished trainings are kept."
    )

    @field_validator("backbones", "channels", "modes", "schemes", "fractions")
    @classmethod
    def _unique(cls, values: list[object] | None) -> list[object] | None:
        if values is not None and len(set(values)) != len(values):
            raise ValueError("a value is repeated")
        return values
