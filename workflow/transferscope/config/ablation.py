"""Settings of the ablation of channels, and the names of what is taken from a tile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, field_validator

from transferscope.config.model import Model, without_repeats
from transferscope.config.names import ChannelName
from transferscope.config.vocabulary import Seed, Strategy

AblationKind = Literal["zeroed", "permuted"]
ZEROED: AblationKind = "zeroed"
PERMUTED: AblationKind = "permuted"
KINDS: tuple[AblationKind, ...] = (ZEROED, PERMUTED)
# What the tables call the same tiles with all channels, next to the names of ablations.
UNTOUCHED = "untouched"
# The scheme whose heads are tested.
SCHEME = "group"
# Where scores without single channels are filed.
ABLATION = "ablation"


@dataclass(frozen=True, order=True)
class Ablation:
    """What is done to one channel of every tile.

    Parameters
    ----------
    kind
        `zeroed`: it is black; `permuted`: it is that of a tile of another group.
    channel
        The channel.

    Examples
    --------
    >>> Ablation("permuted", "er-1").name, Ablation.named("permuted-er-1").channel
    ('permuted-er-1', 'er-1')
    """

    kind: AblationKind
    channel: str

    @property
    def name(self) -> str:
        """Its name in paths and tables."""
        return f"{self.kind}-{self.channel}"

    @classmethod
    def named(cls, name: str) -> Self:
        """Return the ablation of a name; a ValueError says that there is none."""
        kind, _, channel = name.partition("-")
        if channel:
            for known in KINDS:
                if kind == known:
                    return cls(known, channel)
        raise ValueError(f"no ablation: write zeroed-<channel> or permuted-<channel>, not {name}")


class AblationSettings(Model):
    """Which channels are taken from the tiles that trained heads are tested on."""

    backbones: list[str] | None = Field(
        None,
        min_length=1,
        description=(
            "Which of the study's backbones, or of its outputs (`name@output`); hand-crafted "
            "features may be named, too. Null: all networks."
        ),
    )
    channel_strategies: list[Strategy] | None = Field(
        None,
        min_length=1,
        description=(
            "Which of the study's channel strategies. Null: all but map-random and only-<channel>."
        ),
    )
    channels: list[ChannelName] | None = Field(
        None,
        min_length=1,
        description="Which channels, of those that a dataset has. Null: all.",
    )
    kinds: list[AblationKind] = Field(
        [PERMUTED],
        min_length=1,
        description=(
            "permuted: the channel is that of a tile of another group, such as heads have seen; "
            "zeroed: it is black, as no head has seen it."
        ),
    )
    seed: Seed = Field(0, description="Seed of the exchange of channels between tiles.")

    _unique = field_validator("backbones", "channel_strategies", "channels", "kinds")(
        without_repeats
    )
