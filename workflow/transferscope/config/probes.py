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

from transferscope.config.model import Model, without_repeats
from transferscope.config.modes import PATTERN as MODES
from transferscope.config.modes import check_mode
from transferscope.config.names import Name
from transferscope.config.schemes import GROUP, is_column, with_controls, without_shuffling
from transferscope.config.training import AugmentationSettings
from transferscope.config.vocabulary import CardRef, Fraction, HeadKind, Scheme, Seed, Strategy

# Values of a column such as batch or site, for estimates of time.
USUAL_VALUES = 6


class SplitSettings(Model):
    """How tiles are split, once for all probes, so that all comparisons are paired."""

    schemes: list[Scheme] = Field(
        ["group", "image"],
        min_length=1,
        description=(
            "group: no group (protein, well, patient) in both training and test, which estimates "
            "the score on new groups; image: groups may be in both, as in older papers; a column "
            "of the sample sheet, such as batch, plate or site: neither its values nor groups are "
            "in both. What each costs is reported; see docs/batches-and-sites.md."
        ),
    )
    folds: dict[Scheme, Annotated[int, Field(ge=2)]] = Field(
        {"group": 5, "image": 5},
        description=(
            "Folds per scheme. A class needs at least as many groups as there are group folds. For "
            "a column without a number, each of its values is left out once."
        ),
    )
    seeds: list[Seed] = Field(
        [0, 1, 2],
        min_length=1,
        description=(
            "Seeds of the splits, one per repeat. Three repeats show smaller differences than one; "
            "more add little."
        ),
    )
    validation: float = Field(
        0.2,
        gt=0,
        lt=0.9,
        description="Fraction of the training set held out for early stopping and thresholds.",
    )
    fractions: list[Fraction] = Field(
        [0.1, 0.25, 0.5, 1.0],
        min_length=1,
        description="Fractions of the training groups used for training; nested.",
    )
    groups_per_class: list[Annotated[int, Field(ge=1)]] = Field(
        [],
        # Left out where it is empty: the results of a study without it are not out of date.
        exclude_if=lambda counts: not counts,
        description=(
            "Numbers of training groups of each class with which heads and k-NN are trained in "
            "addition to `fractions`; nested. All of a class that has fewer. Empty: none. See "
            "docs/methods.md."
        ),
    )
    halves: int = Field(
        8,
        ge=0,
        description=(
            "Pairs of random halves of the groups in which every probe of frozen embeddings "
            "repeats its cross-validation: from their differences come errors that include the "
            "choice of training groups. 0: none; errors are then larger."
        ),
    )
    rare_classes: Literal["stop", "drop"] = Field(
        "stop",
        description="Classes with fewer groups than folds: stop, or drop them.",
    )

    @property
    def by_fraction(self) -> SplitSettings:
        """The same without `groups_per_class`, by which heads and k-NN of a store alone go."""
        return self.model_copy(update={"groups_per_class": []})

    @model_validator(mode="after")
    def _folds_for_each_scheme(self) -> SplitSettings:
        required = [s for s in self.schemes if not is_column(s)]
        if missing := [s for s in required if s not in self.folds]:
            raise ValueError(f"folds: give a number for {', '.join(missing)}")
        return self

    @property
    def columns(self) -> list[str]:
        """The columns of the sheet among the schemes."""
        return [scheme for scheme in self.schemes if is_column(scheme)]

    @property
    def divided(self) -> list[str]:
        """All schemes, with the controls of columns."""
        return with_controls(self.schemes)

    def most_folds(self, scheme: str) -> int:
        """Return the number of folds of a scheme, or of a control; of a column what is usual.

        How many values a column has, and whether groups have several, the sheet says.
        """
        name = without_shuffling(scheme)
        if not is_column(name):
            return self.folds[name]
        return self.folds.get(name, USUAL_VALUES) * self.folds.get(GROUP, 1)

    _unique = field_validator("fractions", "groups_per_class", "seeds", "schemes")(without_repeats)


class HeadSettings(Model):
    """Supervised heads on frozen embeddings; all folds, seeds and fractions train in one batch."""

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
    epochs: int = Field(100, ge=1, description="Maximum epochs of linear and mlp.")
    patience: int = Field(15, ge=1, description="Epochs without a lower validation loss.")
    batch_size: int = Field(256, ge=1, description="Tiles per step.")
    learning_rate: float = Field(1e-3, gt=0, description="AdamW's rate, with cosine decay.")
    weight_decay: float = Field(0.04, ge=0, description="AdamW's weight decay.")
    logreg_c: float = Field(1.0, gt=0, description="Inverse strength of logreg's L2 penalty.")
    threshold_positives: int = Field(
        5,
        ge=1,
        description=(
            "Classes with fewer validation positives share one threshold instead of having their "
            "own."
        ),
    )


KnnMetric = Literal["cosine", "euclidean"]
KnnVotes = Literal["majority", "distance"]
KnnExclusion = Literal["none", "fov", "group", "batch"]
KnnDecision = Literal["threshold", "majority"]


class KnnSettings(Model):
    """k nearest neighbours: one search per metric with the largest k, reused for smaller k."""

    k: list[Annotated[int, Field(ge=1)]] = Field(
        [1, 5, 10, 20, 50],
        description="Numbers of neighbours. Empty: no k-NN.",
    )
    metrics: list[KnnMetric] = Field(
        ["cosine"],
        min_length=1,
        description="Distances; each is a separate head.",
    )
    votes: list[KnnVotes] = Field(
        ["majority"],
        min_length=1,
        description=(
            "majority: each neighbour has one vote; distance: votes weighted by 1 / distance; each "
            "is a separate head."
        ),
    )
    exclude: KnnExclusion = Field(
        "fov",
        description=(
            "Exclude training tiles of the test tile's fov, group or batch from its neighbours; "
            "none: exclude nothing. With group, scores by image are below chance if the embeddings "
            "say nothing."
        ),
    )
    decision: KnnDecision = Field(
        "threshold",
        description=(
            "Which classes are predicted in a multi-label task. threshold: those whose share of "
            "the votes reaches the threshold with the best F1 on the validation tiles; majority: "
            "those with more than half of the votes, so rare classes hardly ever. In a "
            "single-label task it is always the class with the most votes."
        ),
    )
    threshold_positives: int = Field(
        5,
        ge=1,
        description=(
            "Classes with fewer validation positives share one threshold instead of having their "
            "own."
        ),
    )

    _unique = field_validator("metrics", "votes")(without_repeats)


AggregationLevel = Literal["fov", "group"]
AggregationMethod = Literal["mean", "median"]


class AggregateSettings(Model):
    """Levels above the tile at which embeddings are combined and scored alongside single tiles."""

    levels: list[AggregationLevel] = Field(
        [],
        description=(
            "fov: the tiles, such as cells, of a field are combined to one embedding; group: those "
            "of a group. Single tiles are scored for comparison. Empty: off."
        ),
    )
    methods: list[AggregationMethod] = Field(
        ["mean", "median"], min_length=1, description="How embeddings are combined, per feature."
    )
    fields: dict[Name, Name] = Field(
        {},
        description=(
            "Dataset of cells -> dataset of the whole fields that they were cut from, with the "
            "same `fov` names: the fields' own embeddings are scored on the cells' folds."
        ),
    )

    _unique = field_validator("levels", "methods")(without_repeats)


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
            "Which of the study's backbones are fine-tuned, named as in `backbones`. Empty: none. "
            "See docs/fine-tune.md."
        ),
    )
    channels: list[Strategy] = Field(
        ["map"],
        min_length=1,
        description="Which of the study's channel strategies. replicate: one pass per channel.",
    )
    modes: list[FinetuneMode] = Field(
        ["full"],
        min_length=1,
        description=(
            "What is trained in addition to the head; each is a separate head in the tables. full: "
            "all layers; last-<n>, such as last-2: the last n blocks and the norm after them; "
            "lora: low-rank updates of the linear layers of vision transformers; head: nothing, "
            "which equals the linear head on the embeddings."
        ),
    )
    schemes: list[Scheme] | None = Field(
        None, description="Which of the study's split schemes to use. Null: all."
    )
    fractions: list[Fraction] | None = Field(
        None, description="Which of the study's fractions to use. Null: all."
    )
    epochs: int = Field(40, ge=1, description="Maximum epochs.")
    patience: int = Field(
        8,
        ge=1,
        description="Epochs without a higher mean average precision in validation.",
    )
    batch_size: int = Field(32, ge=1, description="Tiles per step.")
    learning_rate: float = Field(
        5e-4, ge=0, description="AdamW's peak learning rate, after the warm-up, with cosine decay."
    )
    backbone_rate: float = Field(
        1.0,
        ge=0,
        description="Learning rate of the backbone's last layer, relative to the head. 0: frozen.",
    )
    layer_decay: float = Field(
        0.75,
        gt=0,
        le=1,
        description=(
            "Learning rate of each layer, relative to the next one. 1 for networks with random "
            "initial weights."
        ),
    )
    warmup: float = Field(
        0.1, ge=0, lt=1, description="Fraction of all steps for the linear warm-up."
    )
    weight_decay: float = Field(0.05, ge=0, description="AdamW's weight decay.")
    clip: float | None = Field(
        1.0, gt=0, description="Maximum norm of the gradient of all weights. Null: no clipping."
    )
    ema: float = Field(
        0.99,
        ge=0,
        lt=1,
        description="Decay of the moving average of the weights, which is evaluated. 0: none.",
    )
    balance: Literal["none", "loss", "sampling"] = Field(
        "none",
        description=(
            "Treatment of rare classes. loss: higher weight; sampling: drawn more often; none."
        ),
    )
    lora_rank: int = Field(8, ge=1, description="Rank of the updates of lora.")
    lora_alpha: float = Field(16.0, gt=0, description="The updates are scaled by alpha / rank.")
    augment: bool = Field(True, description="Whether training tiles are augmented.")
    augmentation: AugmentationSettings = AugmentationSettings()
    checkpoint_minutes: float = Field(
        10.0, gt=0, description="Minutes between checkpoints; finished trainings are kept."
    )

    _unique = field_validator("backbones", "channels", "modes", "schemes", "fractions")(
        without_repeats
    )
