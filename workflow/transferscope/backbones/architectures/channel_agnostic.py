"""The encoder of channel-agnostic masked autoencoders (CA-MAE), such as OpenPhenom.

Kraus et al., CVPR 2024, arXiv 2404.10242: any channels in any number, with attention and
feed-forward side by side in each block (Dehghani et al., ICML 2023, arXiv 2302.05442).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from timm.models import register_model
from timm.models.vision_transformer import ParallelScalingBlock

from transferscope.backbones.architectures.channel_tokens import ChannelPatchEmbed, ChannelTokenVit
from transferscope.backbones.architectures.registration import own_arguments, untrained

default_cfgs = untrained("channel_agnostic_vit", channels=1, size=256)
# OpenPhenom's.
SIZE = {"patch_size": 16, "embed_dim": 384, "depth": 12, "num_heads": 6, "init_values": 1e-4}


@register_model
def channel_agnostic_vit(**arguments: Any) -> ChannelTokenVit:
    """Build the network; `arguments` are those of timm's vision transformer."""
    return ChannelTokenVit(
        embed_layer=partial(ChannelPatchEmbed, has_embedding=False),
        block_fn=ParallelScalingBlock,
        qkv_bias=False,
        qk_norm=True,
        # The last norm comes after pooling, so that tokens are read out without it.
        global_pool="avg",
        **{**SIZE, **own_arguments(arguments)},
    )
