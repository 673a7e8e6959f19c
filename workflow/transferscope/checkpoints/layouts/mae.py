"""Masked autoencoders: encoder and decoder together, the encoder alone, or fine-tuned.

He et al., CVPR 2022, arXiv 2111.06377. The encoder's names are timm's.
"""

from __future__ import annotations

from transferscope.checkpoints.layouts.base import (
    MAP_OUTPUTS,
    PATCH_WEIGHT,
    Converted,
    Layout,
    converted,
    encoder_state,
    has_rgb_input,
    microscopy,
)
from transferscope.checkpoints.layouts.vit import plain_vit
from transferscope.checkpoints.location import NetworkWeights


def _recognises(located: NetworkWeights) -> bool:
    names = located.tensors
    needed = {"cls_token", "pos_embed", "blocks.0.attn.qkv.weight"}
    if not needed <= set(names) or names[PATCH_WEIGHT].ndim != 4:
        return False
    # With fixed sine-cosine codes the position of the class token is zero.
    return "decoder_embed.weight" in names or not names["pos_embed"][:, 0].any()


def _convert(located: NetworkWeights) -> Converted:
    state = encoder_state(located)
    network = plain_vit(state)
    suggested = {} if has_rgb_input(located) else microscopy(network.channels)
    tuned = "fc_norm.weight" in state
    suggested["outputs"] = MAP_OUTPUTS if tuned else {"mean": "mean", "cls": "cls"}
    return converted("mae", located, state, network, "size", **suggested)


LAYOUTS = (Layout("mae", _recognises, _convert),)
