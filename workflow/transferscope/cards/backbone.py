"""Backbone cards: a network, its weights, its input slots and its preprocessing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from transferscope.cards.names import ChannelName, Name
from transferscope.models import Model

# Ways of naming weights in a checkpoint file, each a module of `checkpoints.layouts`.
LayoutName = Literal[
    "timm",
    "dino",
    "dino4cells",
    "dinov2",
    "dinov3",
    "cell-dino",
    "mae",
    "openphenom",
    "channelvit",
    "subcell",
]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
# Architectures whose weights know no channel from another.
CHANNEL_AGNOSTIC = ("channel_agnostic_vit",)


class Slot(Model):
    """One input channel of a backbone, named by what it was trained to see."""

    name: ChannelName
    accepts: list[ChannelName] = Field(
        default_factory=list, description="Dataset channels that naturally belong here."
    )


class Normalization(Model):
    """From raw integers to what the weights expect; it belongs to the weights, not to the data."""

    intensity: Literal["range", "tile"] = Field(
        "range",
        description=(
            "range: the dataset's intensity range becomes 0 to 1; tile: each channel of each tile "
            "is stretched between its own percentiles (loses absolute brightness)."
        ),
    )
    percentiles: tuple[float, float] = Field(
        (0.1, 99.9), description="Percentiles that `intensity: tile` maps to 0 and 1."
    )
    kind: Literal["mean-std", "self", "none"] = Field(
        "mean-std",
        description="mean-std: fixed, a slot; self: per tile and channel (x - mean) / std; none.",
    )
    mean: list[float] = Field([0.5], description="One value, or one a slot.")
    std: list[float] = Field([0.5], description="One value, or one a slot.")

    @model_validator(mode="after")
    def _positive(self) -> Normalization:
        if any(s <= 0 for s in self.std):
            raise ValueError("std must be positive")
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise ValueError("percentiles must rise and lie within 0 to 100")
        return self


class Output(Model):
    """One representation that a backbone gives out; several come out of one pass."""

    name: Name = Field("cls", description="Chosen in a study as `backbone@name`.")
    pooling: Literal["cls", "mean", "cls+mean", "pool"] = Field(
        "cls",
        description=(
            "cls: class token; mean: mean of the patch tokens; cls+mean: both; pool: the network's "
            "own pooled features (convolutional networks)."
        ),
    )
    layer: int | None = Field(
        None, description="Block to read, counted from 0; negative from the end. Null: the last."
    )


class _NetworkCard(Model):
    """What all network backbones share."""

    name: Name
    description: str = ""
    slots: list[Slot] = Field(
        min_length=1, description="Input channels in the order of the weights."
    )
    input_size: int = Field(224, ge=16, description="Side in px to which tiles are resized.")
    normalization: Normalization = Normalization()
    outputs: list[Output] = Field([Output()], min_length=1)
    licence: str = ""
    citation: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> _NetworkCard:
        for what, names in (
            ("slots", [slot.name for slot in self.slots]),
            ("outputs", [output.name for output in self.outputs]),
        ):
            if len(set(names)) != len(names):
                raise ValueError(f"{what}: each name may occur only once")
        for key in ("mean", "std"):
            if len(getattr(self.normalization, key)) not in (1, len(self.slots)):
                raise ValueError(f"normalization.{key}: give one value, or one for each slot")
        return self


class _ArchitectureCard(_NetworkCard):
    """What all networks share that are built from the name of an architecture."""

    architecture: str = Field(
        description=(
            "A timm model name, or channel_agnostic_vit, channelvit, subcell_vit, which timm lacks."
        )
    )
    arguments: dict[str, Any] = Field(
        default_factory=dict, description="Further keyword arguments of the architecture."
    )


class TimmCard(_ArchitectureCard):
    """A timm model: weights from the hub, or random weights as a control."""

    source: Literal["timm"]
    pretrained: bool = Field(True, description="Hub weights; false: random weights from `seed`.")
    seed: int = Field(0, ge=0, description="Seed of the random weights.")


class _CheckpointCard(_ArchitectureCard):
    """What all networks share whose weights are one checkpoint file."""

    layout: LayoutName | Literal["auto"] = Field(
        "auto",
        description=(
            "How the file names its weights; auto: detected, as `transferscope backbone inspect` "
            "tells."
        ),
    )
    state_key: str | None = Field(
        None,
        description=(
            "Which network of a file that holds several, such as `student`. Null: the teacher, "
            "which is the moving average."
        ),
    )
    sha256: Sha256 | None = Field(None, description="Digest of the file, checked where given.")


class FileCard(_CheckpointCard):
    """An architecture with weights from a file on this machine."""

    source: Literal["file"]
    weights: Path = Field(description="A .safetensors or .pth file, relative to the card.")


class UrlCard(_CheckpointCard):
    """An architecture with weights that are downloaded once, into a cache that jobs share."""

    source: Literal["url"]
    url: str = Field(pattern="^https?://", description="Address of the file.")


class HubCard(_CheckpointCard):
    """An architecture with weights from a file of a repository on the Hugging Face hub."""

    source: Literal["hub"]
    repo: str = Field(pattern=r"^[\w.-]+/[\w.-]+$", description="Repository, as owner/name.")
    filename: str = Field("model.safetensors", description="File within the repository.")
    revision: str = Field("main", description="Branch, tag or commit; a commit never changes.")


class TransformersCard(_NetworkCard):
    """A vision model of the transformers library, which is an optional dependency."""

    source: Literal["transformers"]
    model: str = Field(
        description=(
            "Repository on the Hugging Face hub, as owner/name; or a folder, relative to the card, "
            "that holds config.json and model.safetensors."
        )
    )
    revision: str = Field("main", description="Branch, tag or commit of the repository.")


class HandcraftedCard(Model):
    """Features that need no network: what a network has to beat."""

    source: Literal["handcrafted"]
    name: Name
    description: str = ""
    families: list[Literal["intensity", "texture", "granularity", "radial", "colocalization"]] = (
        Field(
            [
                "intensity",
                "texture",
                "granularity",
                "radial",
                "colocalization",
            ],
            min_length=1,
            description="Which families of features are computed.",
        )
    )
    input_size: int = Field(128, ge=16, description="Larger tiles are shrunk to this side in px.")
    licence: str = ""
    citation: str = ""


CheckpointCard = FileCard | UrlCard | HubCard
ArchitectureCard = TimmCard | CheckpointCard
NetworkCard = ArchitectureCard | TransformersCard
BackboneCard = Annotated[
    TimmCard | FileCard | UrlCard | HubCard | TransformersCard | HandcraftedCard,
    Field(discriminator="source"),
]


def accepts_any_channels(card: NetworkCard | HandcraftedCard) -> bool:
    """Tell whether a backbone takes any number of channels at once, whatever they show."""
    if isinstance(card, HandcraftedCard):
        return True
    return isinstance(card, ArchitectureCard) and card.architecture in CHANNEL_AGNOSTIC
