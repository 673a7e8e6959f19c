"""ChannelViT: tokens of each channel by themselves, told apart by an embedding of the channel.

Bao et al., ICLR 2024, arXiv 2309.16108. Empty channels are left out, not zeroed.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from transferscope.cards import LayoutName
from transferscope.checkpoints.layouts.base import (
    PATCH_WEIGHT,
    Converted,
    encoder_state,
    numbered_slots,
    usual_normalization,
)
from transferscope.checkpoints.layouts.dino import TOKEN_OUTPUTS, rgb
from transferscope.checkpoints.layouts.vit import own_vit
from transferscope.checkpoints.location import NetworkWeights
from transferscope.checkpoints.reading import Checkpoint

CHANNELS = "patch_embed.channel_embed"
# Channel embeddings are a parameter, or a table where channels are sampled during training.
CHANNEL_TABLE = f"{CHANNELS}.weight"


class ChannelVit:
    """A transformer with channel embeddings."""

    name: ClassVar[LayoutName] = "channelvit"
    anchor: ClassVar[str] = PATCH_WEIGHT

    def recognises(self, located: NetworkWeights, checkpoint: Checkpoint) -> bool:
        """Tell whether these are ChannelViT weights."""
        return bool({CHANNELS, CHANNEL_TABLE} & set(located.tensors))

    def convert(self, located: NetworkWeights) -> Converted:
        """Return the weights, with one two-dimensional patch projection."""
        own = encoder_state(located.tensors)
        state = _renamed(own)
        channels = state[CHANNELS].shape[0]
        colours = channels == 3
        return Converted(
            layout=self.name,
            located=located,
            state=state,
            consumed=frozenset(own),
            network=own_vit("channelvit", state, channels),
            positions="scale-factor-always",
            slots=rgb(channels) if colours else numbered_slots(channels),
            normalization=usual_normalization(channels),
            outputs=TOKEN_OUTPUTS,
            remarks=()
            if colours
            else (f"the file does not say what its {channels} channels show: name the slots",),
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


LAYOUTS = (ChannelVit(),)
