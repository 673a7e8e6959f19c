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
    TimmCard,
    TransformersCard,
    UrlCard,
)
from transferscope.cards.cells import (
    CellposeSegmentation,
    CellSettings,
    CropSettings,
    ProvidedMasks,
    WatershedSegmentation,
    WholeFields,
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
from transferscope.cards.network import Normalization, Output, Slot
from transferscope.cards.train import HeldOut, TrainCard
from transferscope.config.names import ChannelName, Name

__all__ = [
    "ArchitectureCard",
    "BackboneCard",
    "CellSettings",
    "CellposeSegmentation",
    "ChannelName",
    "CheckpointCard",
    "CropSettings",
    "DatasetCard",
    "DownloadSettings",
    "FetchSettings",
    "FileCard",
    "HandcraftedCard",
    "HeldOut",
    "HpaFetch",
    "HubCard",
    "Label",
    "LayoutName",
    "Name",
    "NetworkCard",
    "Normalization",
    "OpenCellFetch",
    "Output",
    "ProvidedMasks",
    "SimulateSettings",
    "Slot",
    "Task",
    "TileSettings",
    "TimmCard",
    "TrainCard",
    "TransformersCard",
    "UrlCard",
    "WatershedSegmentation",
    "WholeFields",
]
