"""What methods ask of a network."""

from __future__ import annotations

from typing import Any

import timm
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from transferscope.backbones.architectures.channel_tokens import ChannelTokenVit
from transferscope.backbones.readout import has_tokens
from transferscope.cards import ArchitectureCard


def is_plain_vit(network: nn.Module) -> bool:
    """Return whether a network is timm's vision transformer, whose channels share their tokens."""
    return isinstance(network, VisionTransformer) and not isinstance(network, ChannelTokenVit)


def takes_many_sizes(card: ArchitectureCard, network: nn.Module) -> bool:
    """Return whether the network of a card takes images of other sizes than its own."""
    if has_tokens(network):
        return is_plain_vit(network)
    config: Any = timm.get_pretrained_cfg(card.architecture)
    return not config.fixed_input_size
