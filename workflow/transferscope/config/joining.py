"""Settings of the joining of stores, and the names of what is tested there."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from transferscope.config.model import Model, without_repeats
from transferscope.config.vocabulary import Strategy

# The scheme whose heads are tested.
SCHEME = "group"
# Where scores of joined stores are filed.
JOINING = "joining"
# What the tables call the joined store, and that of its parts which was chosen on validation tiles.
JOINED, CHOSEN = "joined", "chosen"
# Between the names of the parts; no name of a representation has it.
SEPARATOR = ","


def part(number: int) -> str:
    """Return what the tables call one of the parts, the first being 1.

    Examples
    --------
    >>> part(2)
    'part-2'
    """
    return f"part-{number}"


def joined_name(representations: list[str]) -> str:
    """Return the name of a joined store.

    Examples
    --------
    >>> joined_name(["dino", "resnet50@mean"])
    'dino,resnet50@mean'
    """
    return SEPARATOR.join(representations)


def parts_of(name: str) -> list[str]:
    """Return the parts of a joined store.

    Examples
    --------
    >>> parts_of("dino,resnet50@mean")
    ['dino', 'resnet50@mean']
    """
    return name.split(SEPARATOR)


class JoiningSettings(Model):
    """Which stores are joined, so that heads see the columns of all of them."""

    backbones: list[Annotated[list[str], Field(min_length=2)]] = Field(
        min_length=1,
        description=(
            "Which are joined, such as [[dino-vits16, handcrafted]]: the study's backbones, their "
            "outputs (`name@output`), with corrections (`name+tvn`), hand-crafted features, or "
            "sets of given features. One may be joined with itself, as a control."
        ),
    )
    channel_strategies: list[Strategy] | None = Field(
        None,
        min_length=1,
        description=(
            "Which of the study's channel strategies. Null: all but map-random and only-<channel>."
        ),
    )

    _unique = field_validator("channel_strategies")(without_repeats)

    @field_validator("backbones")
    @classmethod
    def _unique_names(cls, values: list[list[str]]) -> list[list[str]]:
        without_repeats(list(map(joined_name, values)))
        return values
