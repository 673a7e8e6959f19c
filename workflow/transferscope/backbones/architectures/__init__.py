"""Networks that timm lacks, registered with timm: they are built by name as any of its own.

Each of them is one of timm's vision transformers with another way to make tokens or to pool them.
"""

from __future__ import annotations

from transferscope.backbones.architectures.channel_agnostic import channel_agnostic_vit
from transferscope.backbones.architectures.channelvit import channelvit
from transferscope.backbones.architectures.conch_vit import conch_vit
from transferscope.backbones.architectures.sam_vit import sam_vit
from transferscope.backbones.architectures.subcell import subcell_vit

__all__ = ["channel_agnostic_vit", "channelvit", "conch_vit", "sam_vit", "subcell_vit"]
