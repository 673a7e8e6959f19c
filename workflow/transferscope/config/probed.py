"""The unit of evaluation: a dataset, a representation and a channel strategy."""

from __future__ import annotations

from dataclasses import dataclass

from transferscope.config.channel_strategies import store_strategy

# Between the parts of the name of a representation; no name of a backbone has them.
OUTPUT, CORRECTION = "@", "+"
# In place of the name of an output: those of all blocks.
BLOCKS = "blocks"
# What a store says of its correction; a store of a network says nothing.
CORRECTED_BY, UNCORRECTED = "corrected_by", "none"


def uncorrected(representation: str) -> str:
    """Return the name of a representation without its correction.

    Examples
    --------
    >>> uncorrected("dino@mean+tvn")
    'dino@mean'
    """
    return representation.partition(CORRECTION)[0]


def backbone_of(representation: str) -> str:
    """Return the name of the backbone's card.

    Examples
    --------
    >>> backbone_of("dino@mean+tvn")
    'dino'
    """
    return uncorrected(representation).partition(OUTPUT)[0]


def output_of(representation: str) -> str | None:
    """Return the backbone's output; None: the first.

    Examples
    --------
    >>> output_of("dino@mean+tvn"), output_of("dino+tvn")
    ('mean', None)
    """
    return uncorrected(representation).partition(OUTPUT)[2] or None


def correction_of(representation: str) -> str | None:
    """Return the correction for batches; None: there is none.

    Examples
    --------
    >>> correction_of("dino@mean+tvn"), correction_of("dino@mean")
    ('tvn', None)
    """
    return representation.partition(CORRECTION)[2] or None


def corrected_name(representation: str, correction: str) -> str:
    """Return the name of a representation that is corrected.

    Examples
    --------
    >>> corrected_name("dino@mean", "tvn")
    'dino@mean+tvn'
    """
    return f"{representation}{CORRECTION}{correction}"


@dataclass(frozen=True, order=True)
class Probed:
    """The input of one probe job.

    Parameters
    ----------
    dataset
        Name of the dataset.
    representation
        `backbone` or `backbone@output`, and with a correction `backbone+correction` or
        `backbone@output+correction`.
    channels
        Channel strategy; for a random order with its seed, such as `map-random-0`.
    """

    dataset: str
    representation: str
    channels: str

    @property
    def backbone(self) -> str:
        """Name of the backbone's card."""
        return backbone_of(self.representation)

    @property
    def output(self) -> str | None:
        """Name of the backbone's output; None: the first."""
        return output_of(self.representation)

    @property
    def correction(self) -> str | None:
        """The correction for batches; None: there is none."""
        return correction_of(self.representation)

    @property
    def uncorrected(self) -> Probed:
        """The same without a correction."""
        return Probed(self.dataset, uncorrected(self.representation), self.channels)

    @property
    def origin(self) -> dict[str, str]:
        """What the store that an evaluation reads has to say of itself."""
        if self.correction is None:
            kept = {"strategy": self.stored_channels, CORRECTED_BY: UNCORRECTED}
        else:
            kept = {"strategy": self.channels, CORRECTED_BY: self.correction}
        return {"backbone": self.backbone, **kept}

    @property
    def stored_channels(self) -> str:
        """The strategy whose store holds the embeddings, as the network gave them."""
        return store_strategy(self.channels)
