"""The study config: one model, from which schema, defaults and documentation follow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from transferscope.backbones.strategies import REQUESTED, check_name
from transferscope.cards import Name
from transferscope.finetuning.modes import PATTERN as MODES
from transferscope.finetuning.modes import check_mode
from transferscope.models import Model
from transferscope.training.settings import AugmentationSettings

Scheme = Literal["group", "image"]
SeenInTraining = Literal["no", "images", "images and groups"]
HeadKind = Literal["linear", "logreg", "mlp"]
Strategy = Annotated[
    str, AfterValidator(check_name), WithJsonSchema({"type": "string", "pattern": REQUESTED})
]
Metric = Literal["macro_f1", "micro_f1", "class_f1", "macro_average_precision", "accuracy"]
METRICS: list[Metric] = ["macro_f1", "micro_f1", "class_f1", "macro_average_precision", "accuracy"]
Fraction = Annotated[float, Field(gt=0, le=1)]
Seed = Annotated[int, Field(ge=0)]
CardRef = Annotated[
    str,
    Field(min_length=1, description="Name of a card in the card folders, or path of a card file."),
]


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


class Division(Model):
    """One division of the tiles."""

    scheme: Scheme
    seed: Seed
    fold: int = Field(ge=0)


class Leakage(Model):
    """What a backbone that was trained in the study has seen of a dataset."""

    seen_in_training: SeenInTraining = "no"
    only: Division | None = Field(
        None,
        description="The only division whose test groups it has not seen; None: any is as good.",
    )


class Probe(Model):
    """What every probe is told beside its own settings."""

    fractions: list[Fraction] = SplitSettings().fractions
    metrics: list[Metric] = METRICS
    leakage: Leakage = Leakage()


class HeadProbe(Probe):
    """Settings of the step `transferscope heads`."""

    settings: HeadSettings = HeadSettings()


class KnnProbe(Probe):
    """Settings of the step `transferscope knn`."""

    settings: KnnSettings = KnnSettings()


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


class ComputeSettings(Model):
    """Where and how the networks run."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto: the first GPU where there is one, else the processor."
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto",
        description=(
            "auto: the fastest that the device is good at. Whatever is chosen is compared with "
            "fp32 on the first batch, and fp32 takes over where the two disagree."
        ),
    )
    batch_size: int = Field(32, ge=1, description="Images per forward pass. More on a large GPU.")
    block_rows: int = Field(
        4096,
        ge=1,
        description=(
            "Tiles saved at a time: what a killed job loses at most. Fewer for slow networks."
        ),
    )
    blocks_a_job: int | None = Field(
        None,
        ge=1,
        description=(
            "Blocks that one job of an embedding fills, so that several jobs, GPUs or nodes share "
            "a store, which comes out the same, byte for byte. Null: one job per store, right "
            "unless single stores take hours."
        ),
    )
    threads: int = Field(2, ge=1, description="Processor cores of a tile or embedding job.")
    probe_threads: int = Field(
        1,
        ge=1,
        description=(
            "Processor cores of a head or k-NN job. One suits many small stores, which run next to "
            "each other; more suit large stores. Scores may differ in the last digits."
        ),
    )


class TrainingSettings(Model):
    """How backbones are trained; only `processes`, of which each draws its own, changes results."""

    processes: int = Field(
        1,
        ge=1,
        description=(
            "Processes that train one backbone together: each has a GPU of its own, or its share "
            "of the processor."
        ),
    )
    checkpoint_minutes: float = Field(
        10.0, ge=0, description="Minutes between checkpoints: what a killed training loses at most."
    )
    knn_tiles: int = Field(
        512,
        ge=0,
        description=(
            "Tiles that are classified by nearest neighbours in up to 25 epochs, for the curves. "
            "0: none, and embeddings that become all alike go unnoticed."
        ),
    )


class CompareSettings(Model):
    """How results are compared."""

    metric: Metric = Field(
        "macro_f1", description="The metric of headline and figures; one of `metrics`."
    )
    bootstrap: int = Field(1000, ge=100, description="Draws of groups per interval.")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Coverage of the intervals.")
    seed: int = Field(0, ge=0, description="Seed of the draws, shared by all backbones: paired.")


class FigureSettings(Model):
    """How figures look; a change here replots and does nothing else."""

    dpi: int = Field(150, ge=50, description="Resolution of the PNG figures.")
    map: Literal["tsne", "umap"] = Field(
        "tsne", description="How 2-D maps are made. umap is installed by the extra `umap`."
    )
    map_points: int = Field(2000, ge=100, description="Tiles shown in a 2-D map, at most.")
    gallery: int = Field(
        0,
        ge=0,
        le=40,
        description="Tiles per dataset shown with their nearest neighbours. 0: no such figure.",
    )


class Pretraining(Model):
    """Settings of the step `transferscope pretrain`."""

    sources: list[TrainingSource] = Field(min_length=1)
    held_out: Division | None = None
    compute: ComputeSettings = ComputeSettings()
    training: TrainingSettings = TrainingSettings()


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
