"""Settings that every kind of training shares."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from transferscope.config.model import Model

Share = Annotated[float, Field(ge=0, le=1)]


class OptimiserSettings(Model):
    """AdamW with a warm-up and a cosine."""

    learning_rate: float = Field(5e-4, gt=0, description="The highest rate, after the warm-up.")
    final_learning_rate: float = Field(1e-6, ge=0, description="The rate at the end of the cosine.")
    warmup: Share = Field(0.1, description="Share of all steps in which the rate rises from zero.")
    weight_decay: float = Field(0.04, ge=0, description="Weight decay at the start.")
    final_weight_decay: float | None = Field(
        None, ge=0, description="Weight decay at the end of a cosine. Null: constant."
    )
    betas: tuple[Share, Share] = Field((0.9, 0.999), description="AdamW's decay rates.")
    clip: float | None = Field(
        3.0, gt=0, description="Longest gradient, all weights together. Null: not clipped."
    )


class AugmentationSettings(Model):
    """Random changes to training images that do not change what they show."""

    crop_scale: tuple[Share, Share] = Field(
        (0.4, 1.0), description="Least and largest share of a tile's area that a crop shows."
    )
    flips: bool = Field(True, description="Mirror half of the images on each axis.")
    rotations: bool = Field(True, description="Turn images by a random multiple of 90 degrees.")
    brightness: Share = Field(
        0.2, description="Each channel is multiplied by 1 - this to 1 + this."
    )
    contrast: Share = Field(
        0.2, description="Each channel's distance from its mean is multiplied likewise."
    )
    channel_dropout: Share = Field(
        0.2,
        description="Chance that one channel of an image is blanked, never the protein channel.",
    )
    dropped_channels: int = Field(
        1,
        ge=1,
        description=(
            "The most channels of an image that are blanked so: each is drawn with that chance. "
            "More, for a backbone that is to serve images that lack several."
        ),
    )
    protein_rescale: Share = Field(
        0.2, description="Chance that the protein channel is multiplied by a half to two."
    )
    warp: float = Field(
        0.02, ge=0, lt=0.5, description="Longest smooth displacement, as a share of the crop."
    )

    @model_validator(mode="after")
    def _rising(self) -> AugmentationSettings:
        low, high = self.crop_scale
        if not 0 < low <= high:
            raise ValueError("crop_scale must rise and be above zero")
        return self
