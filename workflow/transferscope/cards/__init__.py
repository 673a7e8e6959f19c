"""Cards: what a dataset holds and what a backbone expects, both in named channels."""

from transferscope.cards.backbone import (
    BackboneCard,
    FileCard,
    HandcraftedCard,
    NetworkCard,
    Normalization,
    Output,
    Slot,
    TimmCard,
    accepts_any_channels,
)
from transferscope.cards.dataset import (
    DatasetCard,
    Label,
    SimulateSettings,
    Task,
    TileSettings,
)
from transferscope.cards.names import ChannelName, Name

__all__ = [
    "BackboneCard",
    "ChannelName",
    "DatasetCard",
    "FileCard",
    "HandcraftedCard",
    "Label",
    "Name",
    "NetworkCard",
    "Normalization",
    "Output",
    "SimulateSettings",
    "Slot",
    "Task",
    "TileSettings",
    "TimmCard",
    "accepts_any_channels",
]
