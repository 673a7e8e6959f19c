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
    PackageCard,
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
)
from transferscope.cards.dataset import (
    DatasetCard,
    SimulateSettings,
    Task,
)
from transferscope.cards.fetch import (
    FetchSettings,
    HpaFetch,
    OpenCellFetch,
)
from transferscope.cards.masks import MaskSettings
from transferscope.cards.network import Normalization, Output, Slot
from transferscope.cards.train import HeldOut, TrainCard
from transferscope.config.names import Name

__all__ = [
    "ArchitectureCard",
    "BackboneCard",
    "CellSettings",
    "CellposeSegmentation",
    "CheckpointCard",
    "CropSettings",
    "DatasetCard",
    "FetchSettings",
    "FileCard",
    "HandcraftedCard",
    "HeldOut",
    "HpaFetch",
    "HubCard",
    "LayoutName",
    "MaskSettings",
    "Name",
    "NetworkCard",
    "Normalization",
    "OpenCellFetch",
    "Output",
    "PackageCard",
    "ProvidedMasks",
    "SimulateSettings",
    "Slot",
    "Task",
    "TimmCard",
    "TrainCard",
    "TransformersCard",
    "UrlCard",
    "WatershedSegmentation",
]
