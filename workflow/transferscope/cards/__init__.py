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
from transferscope.cards.fetch import (
    DownloadSettings,
    FetchSettings,
    HpaFetch,
    OpenCellFetch,
)
from transferscope.cards.names import ChannelName, Name

__all__ = [
    "BackboneCard",
    "ChannelName",
    "DatasetCard",
    "DownloadSettings",
    "FetchSettings",
    "FileCard",
    "HandcraftedCard",
    "HpaFetch",
    "Label",
    "Name",
    "NetworkCard",
    "Normalization",
    "OpenCellFetch",
    "Output",
    "SimulateSettings",
    "Slot",
    "Task",
    "TileSettings",
    "TimmCard",
    "accepts_any_channels",
]
