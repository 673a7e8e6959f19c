"""ChannelViT: separate tokens for each channel, told apart by a channel embedding.

Bao et al., ICLR 2024, arXiv 2309.16108. Empty channels are left out, not zeroed.
"""

from __future__ import annotations

from torch import Tensor

from transferscope.checkpoints.layouts.base import (
    PATCH_WEIGHT,
    Converted,
    Layout,
    converted,
    encoder_state,
)
from transferscope.checkpoints.layouts.vit import own_vit
from transferscope.checkpoints.location import NetworkWeights

CHANNELS = "patch_embed.channel_embed"
# Channel embeddings are a parameter, or a table where channels are sampled during training.
CHANNEL_TABLE = f"{CHANNELS}.weight"


def _recognises(located: NetworkWeights) -> bool:
    return bool({CHANNELS, CHANNEL_TABLE} & set(located.tensors))


def _convert(located: NetworkWeights) -> Converted:
    """Return the weights, with one two-dimensional patch projection."""
    own = encoder_state(located)
    state = _renamed(own)
    network = own_vit("channelvit", state, state[CHANNELS].shape[0])
    n = network.channels
    unnamed = f"the file does not say what its {n} channels show: name the slots"
    remarks = () if n == 3 else (unnamed,)
    return converted(
        "channelvit", located, state, network, "scale-factor-always", own, remarks=remarks
    )


def _renamed(own: dict[str, Tensor]) -> dict[str, Tensor]:
    state = {name: tensor for name, tensor in own.items() if name != CHANNEL_TABLE}
    # [D, 1, 1, p, p] -> [D, 1, p, p]: the depth of the kernel is one channel.
    state[PATCH_WEIGHT] = own[PATCH_WEIGHT].squeeze(2)
    # [1, D, C, 1, 1] -> [C, D], as the table is.
    state[CHANNELS] = (
        own[CHANNEL_TABLE] if CHANNEL_TABLE in own else own[CHANNELS][0, :, :, 0, 0].T.contiguous()
    )
    state["single_pos_embed"] = own["pos_embed"]
    return state


LAYOUTS = (Layout("channelvit", _recognises, _convert),)
