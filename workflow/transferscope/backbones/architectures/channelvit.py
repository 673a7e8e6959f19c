"""ChannelViT: channels in any selection, each with an embedding of its own.

Bao et al., ICLR 2024, arXiv 2309.16108.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from timm.models import register_model
from torch import Tensor, nn

from transferscope.backbones.architectures.channel_tokens import ChannelPatchEmbed, ChannelTokenVit
from transferscope.backbones.architectures.registration import own_arguments, untrained

default_cfgs = untrained("channelvit", channels=8, size=224)
SIZE = {"patch_size": 16, "embed_dim": 384, "depth": 12, "num_heads": 6}


class ChannelVit(ChannelTokenVit):
    """The network; a channel that is absent has no tokens.

    Parameters
    ----------
    **arguments
        Those of timm's vision transformer.
    """

    # An empty slot is left out, where other networks see zeros.
    leaves_out_empty_slots = True

    def __init__(self, **arguments: Any) -> None:
        super().__init__(embed_layer=partial(ChannelPatchEmbed, has_embedding=True), **arguments)
        # The published code resamples the positions for several channels even to their own size,
        # and was trained so; a single channel has them as they are.
        self.single_pos_embed = nn.Parameter(self.pos_embed.detach().clone())

    def positions(self, count: int) -> Tensor:
        """Return the position embeddings [1, 1 + P, D] for so many channels."""
        return self.single_pos_embed if count == 1 else self.pos_embed


@register_model
def channelvit(**arguments: Any) -> ChannelVit:
    """Build the network; `arguments` are those of timm's vision transformer."""
    return ChannelVit(**{**SIZE, **own_arguments(arguments)})
