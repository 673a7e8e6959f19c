"""Cards: what a dataset holds and what a backbone expects, both in named channels."""

from transferscope.cards.backbone import (
    ArchitectureCard,
    BackboneCard,
    CheckpointCard,
    FileCard,
    HandcraftedCard,
    HubCard,
    LayoutName,
    NetworkCard,
    Normalization,
    Output,
    Slot,
    TimmCard,
    TransformersCard,
    UrlCard,
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
    "ArchitectureCard",
    "BackboneCard",
    "ChannelName",
    "CheckpointCard",
    "DatasetCard",
    "DownloadSettings",
    "FetchSettings",
    "FileCard",
    "HandcraftedCard",
    "HpaFetch",
    "HubCard",
    "Label",
    "LayoutName",
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
    "TransformersCard",
    "UrlCard",
    "accepts_any_channels",
]
