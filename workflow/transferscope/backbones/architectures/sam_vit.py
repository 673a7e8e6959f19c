"""Segment Anything's image encoder, with the layer norm of its own code.

Kirillov et al., ICCV 2023, arXiv 2304.02643. timm's network of the same name adds ten times as
much to the variance in its layer norms.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from timm.layers.norm import LayerNorm
from timm.models import register_model
from timm.models.vision_transformer_sam import VisionTransformerSAM

from transferscope.backbones.architectures.registration import own_arguments, untrained

default_cfgs = untrained("sam_vit", channels=3, size=1024)
BASE = {
    "patch_size": 16,
    "embed_dim": 768,
    "depth": 12,
    "num_heads": 12,
    "window_size": 14,
    "global_attn_indexes": [2, 5, 8, 11],
}
NORM_EPSILON = 1e-6


@register_model
def sam_vit(**arguments: Any) -> VisionTransformerSAM:
    """Build the network; `arguments` are those of timm's, by default of the base size."""
    norm: Any = partial(LayerNorm, eps=NORM_EPSILON)
    return VisionTransformerSAM(
        use_rel_pos=True, norm_layer=norm, **{**BASE, **own_arguments(arguments)}
    )
