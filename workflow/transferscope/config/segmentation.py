"""Settings of segmentation: decoders trained on the feature maps of frozen backbones."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, WithJsonSchema, field_validator, model_validator

from transferscope.config.model import Model, without_repeats
from transferscope.config.modes import HEAD, check_mode
from transferscope.config.names import Name
from transferscope.config.training import Share
from transferscope.config.vocabulary import Fraction, Seed

DecoderName = Literal["linear", "conv", "conv-image", "unet", "unetr"]
LossName = Literal["dice+ce", "ce", "dice"]


def _trains(mode: str) -> str:
    if mode == HEAD:
        raise ValueError("head trains nothing but the decoder, as the frozen ones are")
    return check_mode(mode)


TunedMode = Annotated[
    str,
    AfterValidator(_trains),
    WithJsonSchema({"type": "string", "pattern": r"^(full|lora|last-[1-9]\d*)$"}),
]
# Groups are what a decoder has not seen: no other scheme is asked for.
SCHEME: Literal["group"] = "group"


class MaskAugmentation(Model):
    """Random changes to training tiles, and, where they move pixels, to their masks."""

    flips: bool = Field(True, description="Flip tiles on each axis with probability 1/2.")
    rotations: bool = Field(
        True, description="Rotate by a random multiple of 90 degrees; 180 of tiles not square."
    )
    brightness: Share = Field(
        0.2, description="Each channel is multiplied by a factor from 1 - this to 1 + this."
    )
    contrast: Share = Field(
        0.2, description="Each channel's deviation from its mean is multiplied likewise."
    )
    stain: Share = Field(
        0.1,
        description=(
            "Of tiles with the channels red, green and blue alone: haematoxylin, eosin and the "
            "rest, taken apart by their optical density, are multiplied by factors from 1 - this "
            "to 1 + this. 0: not, such as for colours that are no stain."
        ),
    )


class MaskTuningSettings(Model):
    """Backbones that are trained together with decoders, next to those that stay frozen.

    Loss, size, patience and what is predicted are those of the frozen decoders.
    """

    modes: list[TunedMode] = Field(
        ["full"],
        min_length=1,
        description=(
            "What is trained in addition to the decoder; each is a decoder of its own in the "
            "tables, such as unet-full. full: all layers, and the statistics of batch norms; "
            "last-<n>, such as last-2: the last n blocks; lora: low-rank updates of the linear "
            "layers of vision transformers. A backbone that cannot serve a mode is left out."
        ),
    )
    decoders: list[DecoderName] | None = Field(
        None, min_length=1, description="Which of `segmentation.decoders`. Null: all."
    )
    steps: int = Field(400, ge=1, description="Maximum steps of a training.")
    batch_size: int = Field(8, ge=1, description="Tiles per step.")
    learning_rate: float = Field(
        1e-3, gt=0, description="AdamW's peak learning rate, after the warm-up, with cosine decay."
    )
    backbone_rate: float = Field(
        0.3, gt=0, description="Learning rate of the backbone, relative to the decoder's."
    )
    warmup: float = Field(0.1, ge=0, lt=1, description="Fraction of all steps for the warm-up.")
    weight_decay: float = Field(0.01, ge=0, description="AdamW's weight decay.")
    clip: float | None = Field(
        1.0, gt=0, description="Maximum norm of the gradient of all weights. Null: no clipping."
    )
    lora_rank: int = Field(8, ge=1, description="Rank of the updates of lora.")
    lora_alpha: float = Field(16.0, gt=0, description="The updates are scaled by alpha / rank.")
    augment: bool = Field(True, description="Whether training tiles are augmented.")
    augmentation: MaskAugmentation = MaskAugmentation()

    _unique = field_validator("modes", "decoders")(without_repeats)


class SegmentationSettings(Model):
    """Decoders on frozen backbones, for the datasets whose cards say what their `masks` mean.

    Every backbone and channel strategy of the study is evaluated, on the divisions of the heads.
    """

    decoders: list[DecoderName] = Field(
        ["linear", "conv"],
        min_length=1,
        description=(
            "linear: one layer per pixel of the feature map; conv: two 3x3 convolutions, each "
            "after doubling the resolution; conv-image: the first of these, then convolutions "
            "that also see the image; unet: a decoder over all maps of a convolutional network; "
            "unetr: the same over four blocks of a vision transformer, brought to several "
            "resolutions. A backbone that cannot serve a decoder is left out of it."
        ),
    )
    fractions: list[Fraction] | None = Field(
        None, min_length=1, description="Which of the study's fractions to use. Null: all."
    )
    seeds: list[Seed] | None = Field(
        None, min_length=1, description="Which of the study's split seeds to use. Null: all."
    )
    loss: LossName = Field(
        "dice+ce",
        description=(
            "Loss of a batch. ce: cross-entropy, of one class binary; dice: 1 minus the Dice "
            "coefficient of the probabilities, mean over classes; dice+ce: their sum."
        ),
    )
    steps: int = Field(400, ge=1, description="Maximum steps of a training.")
    batch_size: int = Field(8, ge=1, description="Tiles per step.")
    learning_rate: float = Field(
        2e-3, gt=0, description="AdamW's learning rate at the start, with cosine decay to 0."
    )
    weight_decay: float = Field(0.01, ge=0, description="AdamW's weight decay.")
    check_every: int = Field(
        20, ge=1, description="Steps between measurements of the loss on validation tiles."
    )
    patience: int = Field(
        6,
        ge=1,
        description=(
            "Measurements without a lower loss on validation tiles after which a training stops; "
            "the weights of the lowest one are kept."
        ),
    )
    size: int | None = Field(
        128,
        ge=8,
        description=(
            "Side in px at which masks are compared in training; smaller is faster. Scores are "
            "always of masks at the size of the tiles. Null: the size of the tiles."
        ),
    )

    views: Literal[1, 4, 8] = Field(
        1,
        description=(
            "Views of each tile: 4: itself and its mirror images; 8: those of the tile turned by a "
            "quarter, too, which tiles that are not square have not. Decoders on frozen backbones "
            "are trained on all of them, and every predicted mask is the mean over them."
        ),
    )

    objects: bool = Field(
        False,
        description=(
            "Of masks of `kind: instances`, also find the single objects: decoders learn nearness "
            "to the centre and depth next to foreground, a watershed cuts the objects out, and "
            "they are scored by PQ, AJI and F1. Other masks are segmented as without it."
        ),
    )

    tuning: MaskTuningSettings | None = Field(
        None,
        description=(
            "Also train backbones together with the decoders. Null: frozen ones alone; {}: the "
            "defaults."
        ),
    )

    out_of_domain: dict[Name, list[Name]] = Field(
        {},
        description=(
            "Dataset -> other datasets of the study, of the same classes, such as another lab's: "
            "the decoders trained on the first are tested on all tiles with a mask of these, too, "
            "and the tables say what is lost there, and by which backbone least."
        ),
    )

    pictures: bool = Field(
        False,
        description=(
            "Also draw, for each backbone and decoder, the best, the median and the worst test "
            "tile with the outlines of the true and the predicted mask."
        ),
    )

    keep_masks: bool = Field(
        False,
        description=(
            "Also keep the predicted masks of all test tiles, of the first seed and the largest "
            "fraction, in a store per backbone: `transferscope masks write` makes images of them."
        ),
    )

    _unique = field_validator("decoders", "fractions", "seeds")(without_repeats)

    @property
    def keeps_masks(self) -> bool:
        """Whether predicted masks are kept until a job has ended."""
        return self.pictures or self.keep_masks

    @model_validator(mode="after")
    def _tuned_are_decoders(self) -> SegmentationSettings:
        for name in (self.tuning.decoders or []) if self.tuning else []:
            if name not in self.decoders:
                shown = ", ".join(self.decoders)
                raise ValueError(f"tuning.decoders: {name} is not among decoders: {shown}")
        return self
