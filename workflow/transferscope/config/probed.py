"""The unit of evaluation: a dataset, a representation and a channel strategy."""

from __future__ import annotations

from dataclasses import dataclass

from transferscope.config.channel_strategies import store_strategy


@dataclass(frozen=True, order=True)
class Probed:
    """The input of one probe job.

    Parameters
    ----------
    dataset
        Name of the dataset.
    representation
        `backbone` or `backbone@output`.
    channels
        Channel strategy; for a random order with its seed, such as `map-random-0`.
    """

    dataset: str
    representation: str
    channels: str

    @property
    def backbone(self) -> str:
        """Name of the backbone's card."""
        return self.representation.partition("@")[0]

    @property
    def output(self) -> str | None:
        """Name of the backbone's output; None: the first."""
        return self.representation.partition("@")[2] or None

    @property
    def stored_channels(self) -> str:
        """The strategy whose store holds the embeddings."""
        return store_strategy(self.channels)
