"""Backbone cards: a network, its weights, its input slots and its preprocessing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from transferscope.cards.network import ArchitectureBase, NetworkBase, Slot
from transferscope.cards.train import TrainCard
from transferscope.config.model import Model, without_repeats
from transferscope.config.names import CollectionName, Name
from transferscope.config.vocabulary import Side

# Ways of naming weights in a checkpoint file, implemented in `checkpoints.layouts`: from the most
# specific to the most general, which is the order in which they are tried.
LayoutName = Literal[
    "openphenom",
    "channelvit",
    "subcell",
    "conch",
    "cellpose-sam",
    "sam",
    "dinov2-transformers",
    "dinov3",
    "dinov2",
    "cell-dino",
    "mae",
    "dino4cells",
    "dino",
    "efficientnet-lite",
    "timm",
]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Published(NetworkBase):
    """Base of all networks whose weights were trained elsewhere."""

    trained_on: list[CollectionName] = Field(
        default_factory=list,
        description=(
            "Public collections of images that the weights were trained on, such as hpa, named as "
            "in `collections` of the dataset cards: the summary says of which datasets the weights "
            "may have seen test groups."
        ),
    )

    gated: bool = Field(
        False,
        description=(
            "Whether the hub hands the weights out only to those who have accepted the conditions "
            "of their authors there."
        ),
    )

    _unique_collections = field_validator("trained_on")(without_repeats)


class TimmCard(ArchitectureBase, _Published):
    """A timm model: weights from the hub, or random weights as a control."""

    trained_here: ClassVar[Literal[False]] = False
    has_checkpoint: ClassVar[Literal[False]] = False

    source: Literal["timm"]
    pretrained: bool = Field(True, description="Hub weights; false: random weights from `seed`.")
    seed: int = Field(0, ge=0, description="Seed of the random weights.")

    @property
    def needs_weights(self) -> bool:
        """Whether it loads pretrained weights."""
        return self.pretrained


class _CheckpointCard(ArchitectureBase, _Published):
    """Base of all networks whose weights are one checkpoint file."""

    trained_here: ClassVar[Literal[False]] = False
    has_checkpoint: ClassVar[Literal[True]] = True
    needs_weights: ClassVar[Literal[True]] = True

    layout: LayoutName | Literal["auto"] = Field(
        "auto",
        description=(
            "Naming scheme of the weights; auto: detected (see `transferscope backbone inspect`)."
        ),
    )
    state_key: str | None = Field(
        None,
        description=(
            "Network to read from a file with several, such as `student`. Null: the teacher, "
            "which is the moving average."
        ),
    )
    sha256: Sha256 | None = Field(None, description="Checksum of the file, verified if given.")


class FileCard(_CheckpointCard):
    """An architecture with weights from a local file."""

    source: Literal["file"]
    weights: Path = Field(description="A .safetensors or .pth file, relative to the card.")


class UrlCard(_CheckpointCard):
    """An architecture with weights that are downloaded once, to a cache shared by all jobs."""

    source: Literal["url"]
    url: str = Field(pattern="^https?://", description="Address of the file.")


class HubCard(_CheckpointCard):
    """An architecture with weights from a file of a repository on the Hugging Face hub."""

    source: Literal["hub"]
    repo: str = Field(pattern=r"^[\w.-]+/[\w.-]+$", description="Repository, as owner/name.")
    filename: str = Field("model.safetensors", description="File within the repository.")
    revision: str = Field("main", description="Branch, tag or commit; a commit never changes.")


class PackageCard(_CheckpointCard):
    """An architecture with weights from a file that an installed Python package holds."""

    source: Literal["package"]
    package: str = Field(
        pattern=r"^[A-Za-z_]\w*$", description="Python package, by the name that is imported."
    )
    filename: PurePosixPath = Field(description="File within the package.")

    @field_validator("filename")
    @classmethod
    def _is_inside(cls, filename: PurePosixPath) -> PurePosixPath:
        if filename.is_absolute() or ".." in filename.parts:
            raise ValueError("must be a path within the package")
        return filename


class TransformersCard(_Published):
    """A vision model of the transformers library, which is an optional dependency."""

    trained_here: ClassVar[Literal[False]] = False
    has_architecture: ClassVar[Literal[False]] = False
    has_checkpoint: ClassVar[Literal[False]] = False
    needs_weights: ClassVar[Literal[True]] = True

    source: Literal["transformers"]
    model: str = Field(
        description=(
            "Repository on the Hugging Face hub, as owner/name; or a folder, relative to the card, "
            "that holds config.json and model.safetensors."
        )
    )
    revision: str = Field("main", description="Branch, tag or commit of the repository.")

    @model_validator(mode="after")
    def _scale_fits(self) -> TransformersCard:
        if self.scale == "physical":
            raise ValueError("scale: a model of the transformers library takes `fit` only")
        return self


FeatureFamily = Literal[
    "intensity", "texture", "granularity", "radial", "colocalization", "count", "quality"
]
# They know how many cells there are and how well they were imaged, and nothing else.
NUISANCES = {"count", "quality"}


class HandcraftedCard(Model):
    """Features without a network, as a baseline."""

    is_network: ClassVar[Literal[False]] = False
    trained_here: ClassVar[Literal[False]] = False
    needs_weights: ClassVar[Literal[False]] = False
    takes_any_channels: ClassVar[Literal[True]] = True
    needs_pixel_size: ClassVar[Literal[False]] = False
    trained_on: ClassVar[Sequence[str]] = ()

    source: Literal["handcrafted"]
    name: Name
    description: str = ""
    families: list[FeatureFamily] = Field(
        ["intensity", "texture", "granularity", "radial", "colocalization"],
        min_length=1,
        description=(
            "Which families of features are computed. `count` (nuclei) and `quality` (brightness, "
            "saturation, focus) alone are a baseline that sees no pattern of any protein."
        ),
    )
    input_size: Side = Field(128, description="Larger tiles are shrunk to this side in px.")
    licence: str = ""
    citation: str = ""

    @property
    def is_nuisance(self) -> bool:
        """Whether the features say nothing of what the images show but its amount and quality."""
        return set(self.families) <= NUISANCES

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs: one, with all features."""
        return ["features"]

    @property
    def named_slots(self) -> list[Slot]:
        """The slots to match channels with: none."""
        return []

    def reads_reduced(self, side: int) -> bool:
        """Whether reduced tiles show it what the tiles themselves do: no, it measures pixels."""
        return False


CheckpointCard = FileCard | UrlCard | HubCard | PackageCard
ArchitectureCard = TimmCard | CheckpointCard | TrainCard
NetworkCard = ArchitectureCard | TransformersCard
BackboneCard = Annotated[
    TimmCard
    | FileCard
    | UrlCard
    | HubCard
    | PackageCard
    | TransformersCard
    | TrainCard
    | HandcraftedCard,
    Field(discriminator="source"),
]
