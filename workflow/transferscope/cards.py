"""Cards: what a dataset holds and what a backbone expects, both in named channels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from transferscope.models import Model, fingerprint

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
ChannelName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
Label = Annotated[str, Field(min_length=1, pattern=r"^[^;]*$")]
Task = Literal["multi-label", "single-label"]
IMAGE_KEYS = (
    "channels",
    "ignore_channels",
    "channel_order",
    "pixel_size_um",
    "intensity_range",
    "z_projection",
    "tiles",
    "simulate",
)


class SimulateSettings(Model):
    """How the built-in simulator makes the raw fields of a demo dataset."""

    domain: Literal["opencell", "hpa"] = Field(description="Which microscope is imitated.")
    n_groups: int = Field(64, ge=12, description="Number of proteins.")
    fovs_per_group: int = Field(4, ge=1, description="Fields of view a protein.")
    fov_size: int = Field(128, ge=64, description="Side of a field in px.")
    seed: int = Field(0, ge=0, description="Seed of the whole dataset.")


class TileSettings(Model):
    """How fields of any size become tiles of one size."""

    size: int | None = Field(
        None, ge=8, description="Side of a tile in px. Null: all fields have one size, kept as is."
    )
    mode: Literal["cut", "pad", "resize"] = Field(
        "cut",
        description=(
            "cut: a grid of tiles, smaller fields padded with zeros; pad: one tile a field, centre-"
            "cropped or zero-padded; resize: one tile a field, resampled with antialiasing."
        ),
    )
    pixel_size_um: float | None = Field(
        None, gt=0, description="Resample every field to this pixel size first. Null: do not."
    )


class DatasetCard(Model):
    """A dataset: a sample sheet plus what its channels, labels and pixels mean."""

    name: Name
    description: str = ""
    sheet: Path | None = Field(
        None, description="Sample sheet (TSV or CSV), relative to the card. Null: simulated."
    )
    roots: list[Path] = Field(
        default_factory=list,
        description=(
            "Further folders, relative to the sheet, in which raw files may lie. Without them, "
            "every path in the sheet must lie in the sheet's folder or below."
        ),
    )
    simulate: SimulateSettings | None = Field(
        None, description="Make the raw data with the built-in simulator instead of `sheet`."
    )
    channels: list[ChannelName] = Field(
        min_length=1, description="What each channel shows, in the order of the file."
    )
    ignore_channels: list[Annotated[int, Field(ge=0)]] = Field(
        default_factory=list,
        description=(
            "Positions, from 0, of a multi-channel file's channels that hold nothing of use, such "
            "as the empty blue of an RGB file. `channels` names the others, in their order."
        ),
    )
    channel_order: Literal["auto", "first", "last"] = Field(
        "auto",
        description=(
            "Where the channel axis of a multi-channel file is: first (CYX), last (YXC), or auto: "
            "read off the file's axes, else the axis whose length is the number of channels."
        ),
    )
    pixel_size_um: float | None = Field(None, gt=0, description="Pixel size in um. Null: unknown.")
    intensity_range: dict[ChannelName, tuple[float, float]] = Field(
        default_factory=dict,
        description=(
            "Raw values that mean black and white, a channel. A channel that is not named uses the "
            "range of its integer type. Never estimated from the data, so that no test tile leaks."
        ),
    )
    z_projection: Literal["max", "mean"] = Field("max", description="How z-stacks are projected.")
    task: Task = Field("multi-label", description="May a tile have several labels?")
    labels: list[Label] = Field(
        min_length=2, description="The class list, over which macro scores are averaged."
    )
    tiles: TileSettings = TileSettings()
    licence: str = ""
    citation: str = ""

    @field_validator("channels", "labels", "ignore_channels")
    @classmethod
    def _unique(cls, values: list[Any]) -> list[Any]:
        if repeated := sorted({v for v in values if values.count(v) > 1}):
            raise ValueError(f"named twice: {', '.join(map(str, repeated))}")
        return values

    @model_validator(mode="after")
    def _consistent(self) -> DatasetCard:
        n_in_file = len(self.channels) + len(self.ignore_channels)
        if beyond := [i for i in self.ignore_channels if i >= n_in_file]:
            raise ValueError(f"ignore_channels: {beyond} of a file of {n_in_file} channels")
        if (self.sheet is None) == (self.simulate is None):
            raise ValueError("give either `sheet` or `simulate`")
        if unknown := sorted(set(self.intensity_range) - set(self.channels)):
            raise ValueError(f"intensity_range names no channel of this dataset: {unknown}")
        for channel, (low, high) in self.intensity_range.items():
            if not low < high:
                raise ValueError(f"intensity_range of {channel}: {low} is not below {high}")
        if self.tiles.pixel_size_um is not None and self.pixel_size_um is None:
            raise ValueError("tiles.pixel_size_um needs pixel_size_um, to know the scale")
        return self

    def image_fingerprint(self) -> str:
        """Return a digest of what the tile images depend on; labels are not part of it."""
        return fingerprint(self.model_dump(mode="json", include=set(IMAGE_KEYS)))


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
    architecture: str = Field(description="A timm model name.")
    arguments: dict[str, Any] = Field(
        default_factory=dict, description="Further keyword arguments of the architecture."
    )
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


class TimmCard(_NetworkCard):
    """A timm model: weights from the hub, or random weights as a control."""

    source: Literal["timm"]
    pretrained: bool = Field(True, description="Hub weights; false: random weights from `seed`.")
    seed: int = Field(0, ge=0, description="Seed of the random weights.")


class FileCard(_NetworkCard):
    """A timm architecture with weights from a file on this machine."""

    source: Literal["file"]
    weights: Path = Field(description="A .safetensors or .pth file, relative to the card.")
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="Checked where given.")
    prefix: str = Field("", description="Stripped from every key, such as `module.backbone.`.")
    state_key: str | None = Field(None, description="Key under which the file keeps the weights.")


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


NetworkCard = TimmCard | FileCard
BackboneCard = Annotated[TimmCard | FileCard | HandcraftedCard, Field(discriminator="source")]
