"""Settings of segmentation: decoders trained on the feature maps of frozen backbones."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from transferscope.config.model import Model, without_repeats
from transferscope.config.vocabulary import Fraction, Seed

DecoderName = Literal["linear", "conv", "unet"]
LossName = Literal["dice+ce", "ce", "dice"]
# Groups are what a decoder has not seen: no other scheme is asked for.
SCHEME: Literal["group"] = "group"


class SegmentationSettings(Model):
    """Decoders on frozen backbones, for the datasets whose cards say what their `masks` mean.

    Every backbone and channel strategy of the study is evaluated, on the divisions of the heads.
    """

    decoders: list[DecoderName] = Field(
        ["linear", "conv"],
        min_length=1,
        description=(
            "linear: one layer per pixel of the feature map; conv: two 3x3 convolutions, each "
            "after doubling the resolution; unet: a decoder over all maps of a convolutional "
            "network, which vision transformers do not have, so that they are left out."
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

    objects: bool = Field(
        False,
        description=(
            "Of masks of `kind: instances`, also find the single objects: decoders learn nearness "
            "to the centre and depth next to foreground, a watershed cuts the objects out, and "
            "they are scored by PQ, AJI and F1. Other masks are segmented as without it."
        ),
    )

    _unique = field_validator("decoders", "fractions", "seeds")(without_repeats)
