"""Sweeps: one card of a network that stands for several, which see tiles at other scales."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, field_validator

from transferscope.config.model import Model, without_repeats
from transferscope.config.vocabulary import Side

SweptAxis = Literal["input_size", "pixel_size_um"]
# What stands before a value in the name of a backbone.
IN_NAMES: dict[SweptAxis, str] = {"input_size": "size", "pixel_size_um": "um"}


class SweepSettings(Model):
    """Values at each of which the network embeds the tiles, as a backbone of its own.

    They are named after the card and the value, such as `dinov2_size112`, `dinov2_um0.65`. A value
    more is embedded alone.
    """

    input_size: list[Side] = Field(
        [], description="Sides in px to which tiles are resized; needs `scale: fit`."
    )
    pixel_size_um: list[Annotated[float, Field(gt=0)]] = Field(
        [], description="Pixel sizes to which tiles are resampled; needs `scale: physical`."
    )

    _unique = field_validator("input_size", "pixel_size_um")(without_repeats)

    def problem(self, scale: str) -> str | None:
        """Return what is wrong with it in a card with that `scale`, if anything."""
        if bool(self.input_size) == bool(self.pixel_size_um):
            return "sweep: give values of either input_size or pixel_size_um"
        if self.input_size and scale != "fit":
            return "sweep.input_size needs scale: fit; with physical, the input size follows"
        if self.pixel_size_um and scale != "physical":
            return "sweep.pixel_size_um needs scale: physical"
        return None

    def of(self, card: str) -> Iterator[Swept]:
        """Yield what each backbone of a card differs in."""
        yield from (Swept(card, "input_size", value) for value in self.input_size)
        yield from (Swept(card, "pixel_size_um", value) for value in self.pixel_size_um)


@dataclass(frozen=True)
class Swept:
    """What a backbone of a sweep differs in.

    Parameters
    ----------
    card
        Name of the card with the sweep.
    axis, value
        The key of the card and its value.
    """

    card: str
    axis: SweptAxis
    value: int | float

    @property
    def name(self) -> str:
        """Name of the backbone.

        Examples
        --------
        >>> Swept("lite0", "input_size", 64).name, Swept("lite0", "pixel_size_um", 0.65).name
        ('lite0_size64', 'lite0_um0.65')
        """
        return f"{self.card}_{IN_NAMES[self.axis]}{self.value}"
