"""Settings of the ablation of channels, and the names of what is taken from a tile."""

from __future__ import annotations

from collections.abc import Sequence
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
# What the tables call heads on features of channels that count alike, and that are weighted; and
# where their scores are filed.
EQUAL, WEIGHTED = "equal", "weighted"
CHANNEL_WEIGHTS = "channel_weights"
# How sharp weights of channels may be; 0: equal. With two channels of which one is better, the
# better one has 1/2, .73, .88, .98 and 1.00 of the weight.
SHARPNESS = (0.0, 0.5, 1.0, 2.0, 4.0)


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


class OcclusionSettings(Model):
    """Which tiles are covered bit by bit, and by how large a patch."""

    tiles: int = Field(
        6,
        ge=1,
        le=100,
        description=(
            "How many tiles whose class is found are shown per store: those whose class is most "
            "surely found, the classes in turn, each time of another group."
        ),
    )
    mistakes: int = Field(
        0,
        ge=0,
        le=100,
        description=(
            "How many tiles whose class is missed are shown: those where it is held least likely."
        ),
    )
    patch: float = Field(
        0.2, gt=0, le=0.5, description="Side of the patch, as a share of the tile's shorter side."
    )
    stride: float = Field(
        0.5, gt=0, le=1, description="By how much the patch is moved, as a share of its side."
    )

    def side(self, size: Sequence[int]) -> int:
        """Return the side of the patch in px, on tiles of a height and width in px."""
        return max(1, round(self.patch * min(size)))

    def corners(self, size: Sequence[int]) -> list[tuple[int, int]]:
        """Return y and x of the upper left pixel of each patch, row by row.

        The last ones of a row and of a column end with the tile, so that every pixel is covered.

        Examples
        --------
        >>> OcclusionSettings(patch=0.5, stride=1).corners((8, 10))
        [(0, 0), (0, 4), (0, 6), (4, 0), (4, 4), (4, 6)]
        """
        side = self.side(size)
        step = max(1, round(self.stride * side))
        rows, columns = ([*range(0, n - side, step), n - side] for n in size)
        return [(y, x) for y in rows for x in columns]

    def n_images(self, size: Sequence[int], n_channels: int, n_tiles: int | None = None) -> int:
        """Return how many images are embedded: each tile whole, and covered in all ways.

        Parameters
        ----------
        size
            Height and width of a tile in px.
        n_channels
            How many channels are also covered alone.
        n_tiles
            How many tiles; None: as many as there may be.
        """
        tiles = self.tiles + self.mistakes if n_tiles is None else n_tiles
        return tiles * (1 + len(self.corners(size)) * (1 + n_channels))


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
    occlusion: OcclusionSettings | None = Field(
        None,
        description=(
            "Maps of where tiles may not be covered: chosen tiles are covered patch by patch. "
            "Null: none; {}: the defaults."
        ),
    )
    weights: bool = Field(
        False,
        description=(
            "Whether heads on stores of `replicate` learn a weight per channel, inside the "
            "training folds, and are compared with heads to which all channels count alike."
        ),
    )

    _unique = field_validator("backbones", "channel_strategies", "channels", "kinds")(
        without_repeats
    )
