"""The methods of pretraining: their settings in a card, and properties that need no torch.

This is the registry: a method is one class here, in `MethodSettings`, and its `implementation`.
Schema, cards, estimates, benchmarks and tests use these classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from transferscope.config.model import Model

Share = Annotated[float, Field(ge=0, le=1)]
Ratio = Annotated[float, Field(gt=0, lt=1)]


def _rising(area: tuple[float, float]) -> tuple[float, float]:
    low, high = area
    if not 0 < low <= high <= 1:
        raise ValueError("give two increasing numbers above 0, at most 1")
    return area


AreaRange = Annotated[tuple[float, float], AfterValidator(_rising)]


# As published for masked autoencoders, arXiv 2111.06377.
MASKED_OPTIMISER = {
    "learning_rate": 1.5e-4,
    "final_learning_rate": 0.0,
    "warmup": 0.05,
    "weight_decay": 0.05,
    "betas": (0.9, 0.95),
    "clip": None,
}


class MethodBase(Model):
    """Base of all methods.

    Class variables: `implementation`, the subclass of `pretraining.methods.base.Method`, as
    module:class; `published_optimiser`, where it differs from the defaults of `OptimiserSettings`;
    `passes`, forward passes over a whole image that a training step takes per image at the
    defaults (a backward pass counts as two, a small crop its share, and hidden patches nothing in
    the encoder); `typical_network`, the small architecture that benchmarks and tests train.
    """

    implementation: ClassVar[str]
    published_optimiser: ClassVar[Mapping[str, Any]] = {}
    passes: ClassVar[float]
    typical_network: ClassVar[str] = "vit_tiny_patch16_224"
    # Whether the training reads the group labels.
    reads_groups: ClassVar[bool] = False

    @classmethod
    def name(cls) -> str:
        """Return the name of the method in a card."""
        return str(get_args(cls.model_fields["method"].annotation)[0])

    def view_size(self, input_size: int) -> int:
        """Return the side in px of the largest views."""
        return input_size

    def view_sizes(self, input_size: int) -> dict[str, int]:
        """Return key of the card -> side in px, for all views whose size is set in a card."""
        return {"input_size": input_size}


class _CroppedSettings(MethodBase):
    """Base of methods whose network takes images of several sizes."""

    crop_size: int | None = Field(
        None,
        ge=8,
        description=(
            "Side in px of the crops for training, such as half of `input_size` with crops of a "
            "quarter of a tile: the same scale in a quarter of the time. Null: `input_size`."
        ),
    )

    def view_size(self, input_size: int) -> int:
        """Return the side in px of the largest views."""
        return self.crop_size or input_size

    def view_sizes(self, input_size: int) -> dict[str, int]:
        """Return key of the card -> side in px; with smaller crops, only theirs."""
        if self.crop_size is not None:
            return {"objective.crop_size": self.crop_size}
        return super().view_sizes(input_size)


class DinoSettings(_CroppedSettings):
    """Self-distillation without labels (Caron et al., ICCV 2021, arXiv 2104.14294)."""

    implementation = "transferscope.pretraining.methods.dino:Dino"
    # As published for transformers.
    published_optimiser: ClassVar[Mapping[str, Any]] = {"final_weight_decay": 0.4}
    passes = 13.0

    method: Literal["dino"]
    global_scale: AreaRange = Field(
        (0.4, 1.0),
        description="Range of the area of a global crop, as a fraction of a tile.",
    )
    local_crops: int = Field(8, ge=0, description="Small crops per tile, for the student.")
    local_scale: AreaRange = Field(
        (0.05, 0.4), description="Smallest and largest area of a local crop."
    )
    local_size: int | None = Field(
        None,
        ge=8,
        description="Side of a local crop in px. Null: 3/7 of the global one, in whole patches.",
    )
    output_width: int = Field(65536, ge=2, description="Outputs of the projection head.")
    hidden_width: int = Field(2048, ge=1, description="Width of the projection head.")
    bottleneck_width: int = Field(256, ge=1, description="Width before its last layer.")
    freeze_last_layer: Share = Field(
        0.01, description="Fraction of the training in which the head's last layer is frozen."
    )
    teacher_momentum: Share = Field(
        0.996,
        description="Momentum of the teacher; increases to 1 along a cosine.",
    )
    center_momentum: Share = Field(0.9, description="Momentum of the centre of its outputs.")
    student_temperature: float = Field(0.1, gt=0, description="Temperature of the student.")
    teacher_temperature: float = Field(0.04, gt=0, description="Temperature of the teacher.")
    warmup_teacher_temperature: float = Field(
        0.04, gt=0, description="Temperature of the teacher at the start, changed linearly."
    )
    warmup: Share = Field(0.0, description="Fraction of the training in which it changes.")

    def view_sizes(self, input_size: int) -> dict[str, int]:
        """Return key of the card -> side in px, of global and local crops."""
        local = {} if self.local_size is None else {"objective.local_size": self.local_size}
        return {**super().view_sizes(input_size), **local}


class _MaskedSettings(MethodBase):
    """Settings that the masked autoencoders share."""

    published_optimiser = MASKED_OPTIMISER

    mask_ratio: Ratio = Field(0.75, description="Fraction of the patches that is masked.")
    normalize_targets: bool = Field(
        True,
        description="Whether the targets of each patch are standardised by its mean and deviation.",
    )
    fourier_weight: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description=(
            "Weight of the loss on Fourier magnitudes; 0.01 for microscopy. The pixel loss has the "
            "remaining weight."
        ),
    )
    crop_scale: AreaRange = Field(
        (0.2, 1.0), description="Smallest and largest area of the crop, as a fraction of a tile."
    )


class _TransformerDecoder(Model):
    """Settings that transformer decoders share."""

    decoder_width: int = Field(512, ge=16, description="Features per token of the decoder.")
    decoder_depth: int = Field(8, ge=1, description="Blocks of the decoder.")
    decoder_heads: int = Field(16, ge=1, description="Attention heads of the decoder.")

    @model_validator(mode="after")
    def _divisible(self) -> _TransformerDecoder:
        if self.decoder_width % self.decoder_heads or self.decoder_width % 4:
            raise ValueError("decoder_width must be a multiple of decoder_heads, and of 4")
        return self


class MaeSettings(_CroppedSettings, _MaskedSettings, _TransformerDecoder):
    """Masked autoencoder of a vision transformer (He et al., CVPR 2022, arXiv 2111.06377)."""

    implementation = "transferscope.pretraining.methods.mae:MaskedAutoencoder"
    passes = 2.0

    method: Literal["mae"]


class ChannelAgnosticMaeSettings(_MaskedSettings, _TransformerDecoder):
    """Masked autoencoder for any channels (Kraus et al., CVPR 2024, arXiv 2404.10242)."""

    implementation = "transferscope.pretraining.methods.mae:ChannelAgnosticAutoencoder"
    passes = 2.0
    typical_network = "channel_agnostic_vit"

    method: Literal["ca-mae"]
    decoder_width: int = Field(256, ge=16, description="Features per token of the decoder.")
    decoder_depth: int = Field(2, ge=1, description="Blocks of the decoder.")


class UnetMaeSettings(_CroppedSettings, _MaskedSettings):
    """Masked autoencoder of a convolutional network, with the decoder of a U-Net."""

    implementation = "transferscope.pretraining.methods.mae_unet:UnetAutoencoder"
    passes = 6.0
    typical_network = "resnet18"

    method: Literal["mae-unet"]
    patch_size: int = Field(16, ge=2, description="Side in px of the squares that are masked.")
    decoder_width: int = Field(32, ge=4, description="Features of the decoder's finest level.")


class WeakSettings(_CroppedSettings):
    """A classifier of the group label, as a weakly supervised baseline."""

    implementation = "transferscope.pretraining.methods.weak:WeakClassifier"
    passes = 3.0
    reads_groups = True

    method: Literal["weak"]
    crop_scale: AreaRange = Field(
        (0.2, 1.0), description="Smallest and largest area of the crop, as a fraction of a tile."
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.1, description="Fraction of the target that is spread over all groups."
    )


MethodSettings = Annotated[
    DinoSettings | MaeSettings | ChannelAgnosticMaeSettings | UnetMaeSettings | WeakSettings,
    Field(discriminator="method"),
]
METHODS: dict[str, type[MethodBase]] = {
    each.name(): each for each in get_args(get_args(MethodSettings)[0])
}
