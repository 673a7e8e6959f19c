"""Settings that pretraining and fine-tuning share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from transferscope.config.model import Model

Share = Annotated[float, Field(ge=0, le=1)]


class OptimiserSettings(Model):
    """AdamW with a linear warm-up and a cosine decay."""

    learning_rate: float = Field(5e-4, gt=0, description="Peak learning rate, after the warm-up.")
    final_learning_rate: float = Field(1e-6, ge=0, description="Learning rate at the end.")
    warmup: Share = Field(0.1, description="Fraction of all steps for the linear warm-up.")
    weight_decay: float = Field(0.04, ge=0, description="Weight decay at the start.")
    final_weight_decay: float | None = Field(
        None, ge=0, description="Weight decay at the end of a cosine schedule. Null: constant."
    )
    betas: tuple[Share, Share] = Field((0.9, 0.999), description="AdamW's betas.")
    clip: float | None = Field(
        3.0, gt=0, description="Maximum norm of the gradient of all weights. Null: no clipping."
    )


class AugmentationSettings(Model):
    """Random changes to training images that do not change what they show."""

    crop_scale: tuple[Share, Share] = Field(
        (0.4, 1.0), description="Smallest and largest area of a crop, as a fraction of the tile."
    )
    flips: bool = Field(True, description="Flip images on each axis with probability 1/2.")
    rotations: bool = Field(True, description="Rotate images by a random multiple of 90 degrees.")
    brightness: Share = Field(
        0.2, description="Each channel is multiplied by a factor from 1 - this to 1 + this."
    )
    contrast: Share = Field(
        0.2, description="Each channel's deviation from its mean is multiplied likewise."
    )
    channel_dropout: Share = Field(
        0.2,
        description="Probability that one channel of an image, not the protein, is blanked.",
    )
    dropped_channels: int = Field(
        1,
        ge=1,
        description=(
            "Maximum number of blanked channels per image, each drawn with that probability. "
            "Increase for a backbone that will be used on images that lack several channels."
        ),
    )
    protein_rescale: Share = Field(
        0.2,
        description="Probability that the protein channel is multiplied by 0.5 to 2.",
    )
    warp: float = Field(
        0.02,
        ge=0,
        lt=0.5,
        description="Largest displacement of a smooth warp, in crop sides.",
    )

    @model_validator(mode="after")
    def _rising(self) -> AugmentationSettings:
        low, high = self.crop_scale
        if not 0 < low <= high:
            raise ValueError("crop_scale must increase and be above zero")
        return self
