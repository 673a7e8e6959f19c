"""Layouts: one module a family of networks, from the most particular to the plainest."""

from __future__ import annotations

from transferscope.checkpoints.layouts.base import Layout
from transferscope.checkpoints.layouts.channelvit import ChannelVit
from transferscope.checkpoints.layouts.dino import Dino, Dino4Cells, DinoResnet
from transferscope.checkpoints.layouts.dinov2 import CellDino, DinoV2
from transferscope.checkpoints.layouts.dinov3 import DinoV3
from transferscope.checkpoints.layouts.mae import Mae
from transferscope.checkpoints.layouts.openphenom import OpenPhenom
from transferscope.checkpoints.layouts.subcell import SubCell
from transferscope.checkpoints.layouts.timm_names import TimmResnet, TimmVit

# The order in which a file is asked: whoever recognises it first, has it.
LAYOUTS: tuple[Layout, ...] = (
    OpenPhenom(),
    ChannelVit(),
    SubCell(),
    DinoV3(),
    DinoV2(),
    CellDino(),
    Mae(),
    Dino4Cells(),
    Dino(),
    DinoResnet(),
    TimmVit(),
    TimmResnet(),
)

__all__ = ["LAYOUTS", "Layout"]
