"""ChannelViT: channels in any selection, each with an embedding of its own.

Bao et al., ICLR 2024, arXiv 2309.16108.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from timm.models import register_model

from transferscope.backbones.architectures.channel_tokens import ChannelPatchEmbed, ChannelTokenVit
from transferscope.backbones.architectures.registration import own_arguments, untrained

default_cfgs = untrained("channelvit", channels=8, size=224)
SIZE = {"patch_size": 16, "embed_dim": 384, "depth": 12, "num_heads": 6}


class ChannelVit(ChannelTokenVit):
    """The network; a channel that is absent has no tokens."""

    # An empty slot is left out, where other networks see zeros.
    leaves_out_empty_slots = True


@register_model
def channelvit(**arguments: Any) -> ChannelVit:
    """Build the network; `arguments` are those of timm's vision transformer."""
    return ChannelVit(
        embed_layer=partial(ChannelPatchEmbed, has_embedding=True),
        **{**SIZE, **own_arguments(arguments)},
    )
