"""Settings of every network card: input slots, preprocessing, outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import (
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from transferscope.cards.sweep import SweepSettings, Swept
from transferscope.config.model import Model
from transferscope.config.names import ChannelName, Name
from transferscope.config.vocabulary import Side

# Architectures that treat all channels alike: each is a separate stream of tokens.
CHANNEL_AGNOSTIC = ("channel_agnostic_vit",)
# Name of a block's output, before its number; `backbone@blocks` selects all of them.
BLOCK = "block"
# Keys that say nothing where they are null, and did not exist when older stores were made.
SAID_IF_GIVEN = ("blocks", "family", "sweep")


class Slot(Model):
    """One input channel of a backbone, named after the channel that it was trained on."""

    name: ChannelName
    accepts: list[ChannelName] = Field(
        default_factory=list, description="Dataset channels that match this slot."
    )


class Normalization(Model):
    """Preprocessing from raw integers to network input, as the weights were trained."""

    intensity: Literal["range", "tile", "joint"] = Field(
        "range",
        description=(
            "range: the dataset's intensity range becomes 0 to 1; tile: each channel of each tile "
            "is stretched between its own percentiles (loses absolute brightness); joint: one "
            "minimum and one maximum over all channels of a pass (keeps relative brightness of "
            "channels, loses absolute brightness)."
        ),
    )
    percentiles: tuple[float, float] = Field(
        (0.1, 99.9), description="Percentiles that `intensity: tile` maps to 0 and 1."
    )
    bits: Literal[8] | None = Field(
        None,
        description=(
            "8: for weights that were trained on 8-bit images; intensities are rounded to 256 "
            "levels before the resize and again after it, as an 8-bit image is. Null: not rounded."
        ),
    )
    kind: Literal["mean-std", "self", "none"] = Field(
        "mean-std",
        description="mean-std: fixed, per slot; self: (x - mean) / std per tile and channel; none.",
    )
    mean: list[float] = Field([0.5], description="One value, or one per slot.")
    std: list[float] = Field([0.5], description="One value, or one per slot.")

    @model_validator(mode="after")
    def _positive(self) -> Normalization:
        if any(s <= 0 for s in self.std):
            raise ValueError("std must be positive")
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise ValueError("percentiles must increase and be within 0 to 100")
        if self.intensity == "joint" and (self.kind == "self" or self.bits is not None):
            raise ValueError("intensity joint cannot be combined with kind self or bits")
        return self


class Output(Model):
    """One representation of a backbone; one pass can compute several."""

    name: Name = Field("cls", description="Selected in a study as `backbone@name`.")
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


def block_outputs(n_blocks: int, pooling: str) -> list[Output]:
    """Return an output of each block, the first one first.

    Parameters
    ----------
    n_blocks
        Number of blocks.
    pooling
        Of the card's first output; where that is the network's own, which is of the last layer
        alone, blocks have the mean over positions.
    """
    how: Any = "mean" if pooling == "pool" else pooling
    return [Output(name=f"{BLOCK}{n}", pooling=how, layer=n - 1) for n in range(1, n_blocks + 1)]


def with_blocks(outputs: Sequence[Output], n_blocks: int) -> list[Output]:
    """Return outputs and those of all blocks, each once."""
    of_blocks = block_outputs(n_blocks, outputs[0].pooling)
    return [*(output for output in outputs if output not in of_blocks), *of_blocks]


def block_of(output: str | None) -> int | None:
    """Return the number of the block that an output is of, from 1, as its name says.

    Examples
    --------
    >>> block_of("block3"), block_of("cls")
    (3, None)
    """
    digits = (output or "").removeprefix(BLOCK)
    is_block = output == f"{BLOCK}{digits}" and digits.isascii() and digits.isdigit()
    return int(digits) if is_block else None


class NetworkBase(Model):
    """Base of all network backbones.

    Other code never tests for the class of a card, but uses these class variables:
    `is_network`, `has_architecture` (built from its name), `has_checkpoint` (its weights are one
    file, in a layout), `trained_here` (a study trains its weights), `needs_weights`. As literals
    they also narrow the type.
    """

    is_network: ClassVar[Literal[True]] = True

    name: Name
    description: str = ""
    slots: list[Slot] = Field(
        min_length=1, description="Input channels in the order of the weights."
    )
    input_size: Side = Field(224, description="Side in px to which tiles are resized.")
    pixel_size_um: float | None = Field(
        None, gt=0, description="Pixel size in um of the images that the weights were trained on."
    )
    scale: Literal["fit", "physical"] = Field(
        "fit",
        description=(
            "fit: tiles of any scale are resized to `input_size`; physical: tiles are resampled to "
            "`pixel_size_um`, and the input size follows, rounded up to whole patches."
        ),
    )
    normalization: Normalization = Normalization()
    outputs: list[Output] = Field([Output()], min_length=1)
    blocks: int | None = Field(
        None,
        ge=1,
        le=1000,
        description=(
            "Number of blocks of the network (stages of a convolutional one), to read out all of "
            "them in the same pass: each becomes an output, from `block1`, pooled as the first "
            "output is. A study selects all by `backbone@blocks`. Null: only `outputs`."
        ),
    )
    family: Name | None = Field(
        None,
        description=(
            "Family of networks that differ in size, such as dinov2: a study with several of them "
            "draws their scores against weights and computation."
        ),
    )
    sweep: SweepSettings | None = Field(
        None, description="Embeds tiles at each of these scales. Null: at that of the card."
    )
    licence: str = ""
    citation: str = ""

    @model_validator(mode="before")
    @classmethod
    def _read_out_blocks(cls, value: Any) -> Any:
        """Add an output for each block, unless it is there."""
        if not isinstance(value, dict) or not isinstance(value.get("blocks"), int):
            return value
        given, n_blocks = value.get("outputs", [Output()]), value["blocks"]
        if not isinstance(given, list) or not given or not 1 <= n_blocks <= 1000:
            return value
        try:
            known = [Output.model_validate(each) for each in given]
        except ValueError:
            return value  # said of `outputs` themselves
        return {**value, "outputs": with_blocks(known, n_blocks)}

    @model_serializer(mode="wrap")
    def _as_given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found: dict[str, Any] = handler(self)
        return {k: v for k, v in found.items() if k not in SAID_IF_GIVEN or v is not None}

    @model_validator(mode="after")
    def _consistent(self) -> NetworkBase:
        for what, names in (
            ("slots", [slot.name for slot in self.slots]),
            ("outputs", [output.name for output in self.outputs]),
        ):
            if len(set(names)) != len(names):
                raise ValueError(f"{what}: each name may occur only once")
        for key in ("mean", "std"):
            if len(getattr(self.normalization, key)) not in (1, len(self.slots)):
                raise ValueError(f"normalization.{key}: give one value, or one for each slot")
        if self.scale == "physical" and self.pixel_size_um is None:
            raise ValueError("scale physical needs pixel_size_um, to know the scale")
        if self.sweep is not None and (wrong := self.sweep.problem(self.scale)):
            raise ValueError(wrong)
        return self

    def swept(self) -> dict[str, tuple[Swept, Self]]:
        """Return the backbones of a sweep, by name."""
        found: dict[str, tuple[Swept, Self]] = {}
        for one in self.sweep.of(self.name) if self.sweep else ():
            changes = {"name": one.name, one.axis: one.value, "sweep": None}
            found[one.name] = one, self.model_copy(update=changes)
        return found

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs, the default one first."""
        return [output.name for output in self.outputs]

    @property
    def takes_any_channels(self) -> bool:
        """Whether it takes any number of channels at once, of any kind."""
        return False

    @property
    def named_slots(self) -> list[Slot]:
        """The slots to match channels with; none if the network takes any channels."""
        return [] if self.takes_any_channels else list(self.slots)

    @property
    def needs_pixel_size(self) -> bool:
        """Whether it needs the pixel size of the tiles."""
        return self.scale == "physical"

    def reads_reduced(self, side: int) -> bool:
        """Whether tiles that were reduced to a side in px show it what the tiles themselves do.

        Not where the card needs the tiles' own pixels: for a pixel size, for the brightest and
        darkest of a tile, or as they were rounded to 8 bit. Nor where they would be resized once
        more by less than two, which blurs: centred cosines of .98 to .99 (docs/performance.md).
        """
        fixed = self.normalization.intensity == "range" and self.normalization.bits is None
        fits = side == self.input_size or side >= 2 * self.input_size
        return self.scale == "fit" and fixed and fits


class ArchitectureBase(NetworkBase):
    """Base of all networks that are built from the name of an architecture."""

    has_architecture: ClassVar[Literal[True]] = True

    architecture: str = Field(
        description=(
            "A timm model name, or channel_agnostic_vit, channelvit, conch_vit, sam_vit, "
            "subcell_vit (not in timm)."
        )
    )
    arguments: dict[str, JsonValue] = Field(
        default_factory=dict, description="Further keyword arguments of the architecture."
    )

    @property
    def takes_any_channels(self) -> bool:
        """Whether it takes any number of channels at once, of any kind."""
        return self.architecture in CHANNEL_AGNOSTIC
