"""Floating-point operations of a training, by formula; a multiply-add counts as two.

What is not a product of weights or of attention (norms, losses, augmentation) is left out; it is
below one per cent. A backward pass takes twice a forward one, except that nothing is propagated to
the pixels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from transferscope.backbones.networks import network_without_values
from transferscope.cards import TrainCard
from transferscope.cards.methods import (
    ChannelAgnosticMaeSettings,
    DinoSettings,
    MaeSettings,
    UnetMaeSettings,
)
from transferscope.pretraining.methods.dino import GLOBAL_CROPS, LOCAL_SHARE
from transferscope.pretraining.methods.mae_unet import UnetDecoder
from transferscope.pretraining.methods.networks import is_plain_vit

# Forward and backward passes, in forward passes.
PASSES = 3


def operations_per_image(card: TrainCard, n_groups: int = 0) -> int:
    """Return the operations of one image in one step of a training.

    Parameters
    ----------
    card
        A card that has passed `check_trained`.
    n_groups
        Number of groups, for a classifier of them.
    """
    objective, size = card.objective, card.objective.view_size(card.input_size)
    network = network_without_values(card.model_copy(update={"input_size": size}))
    channels = len(card.slots)
    if isinstance(objective, MaeSettings | ChannelAgnosticMaeSettings):
        return _masked(network, objective, size, channels)
    if isinstance(objective, DinoSettings):
        return _dino(network, objective, size, channels)
    if isinstance(objective, UnetMaeSettings):
        return _unet(network, objective, size, channels)
    forward, first = forward_operations(network, size, channels)
    head = 2 * _width(network) * n_groups
    return PASSES * (forward + head) - first


def _width(network: Any) -> int:
    return int(network.num_features)


def forward_operations(network: Any, size: int, channels: int) -> tuple[int, int]:
    """Return the operations of an encoder on one image, and those of its first layer.

    Parameters
    ----------
    network
        A plain vision transformer, one whose channels are tokens, or a convolutional network.
    size, channels
        Side in px and channels of the image.
    """
    if not hasattr(network, "blocks") or not hasattr(network, "patch_embed"):
        return _layers(network, torch.zeros(1, channels, size, size))
    patch = int(network.patch_embed.patch_size[0])
    n_patches = (size // patch) ** 2
    first = 2 * n_patches * channels * patch**2 * int(network.embed_dim)
    n_tokens = n_patches if is_plain_vit(network) else n_patches * channels
    tokens = n_tokens + int(network.num_prefix_tokens)
    return first + _blocks(network, tokens), first


def _blocks(network: Any, n_tokens: int) -> int:
    """Return the operations of transformer blocks: products of weights per token, and attention."""
    linear = [m for m in network.blocks.modules() if isinstance(m, nn.Linear)]
    per_token = sum(2 * layer.in_features * layer.out_features for layer in linear)
    attention = 4 * n_tokens**2 * int(network.embed_dim)
    return n_tokens * per_token + len(network.blocks) * attention


def _masked(
    network: Any,
    objective: MaeSettings | ChannelAgnosticMaeSettings,
    size: int,
    channels: int,
) -> int:
    """Return the operations of an encoder on visible patches, and a decoder on all."""
    patch, width = int(network.patch_embed.patch_size[0]), int(network.embed_dim)
    grids = 1 if isinstance(objective, MaeSettings) else channels
    in_grid = (size // patch) ** 2
    n_patches, values = grids * in_grid, channels // grids * patch**2
    visible = max(1, int(n_patches * (1 - objective.mask_ratio)))
    embed = 2 * n_patches * values * width
    encoder = _blocks(network, visible + int(network.num_prefix_tokens))
    inner, depth = objective.decoder_width, objective.decoder_depth
    # Four products of weights a block, the inner layer of which is four times as wide.
    block = 24 * in_grid * inner**2 + 4 * in_grid**2 * inner
    decoder = 2 * visible * width * inner + grids * depth * block + 2 * n_patches * inner * values
    return PASSES * (embed + encoder + decoder) - embed


def _dino(network: Any, objective: DinoSettings, size: int, channels: int) -> int:
    """Return the operations of a student on all crops, and a teacher on the global ones."""
    patch = getattr(network, "patch_embed", None)
    step = int(patch.patch_size[0]) if patch is not None else 1
    usual = max(1, round(size * LOCAL_SHARE / step)) * step
    sides = [size] * GLOBAL_CROPS
    sides += [objective.local_size or usual] * objective.local_crops
    hidden, narrow = objective.hidden_width, objective.bottleneck_width
    head = 2 * (int(network.num_features) * hidden + hidden**2 + hidden * narrow)
    head += 2 * narrow * objective.output_width
    total = 0
    for place, side in enumerate(sides):
        forward, first = forward_operations(network, side, channels)
        taught = forward + head if place < GLOBAL_CROPS else 0
        total += PASSES * (forward + head) - first + taught
    return total


def _unet(network: Any, objective: UnetMaeSettings, size: int, channels: int) -> int:
    """Return the operations of a convolutional encoder and its decoder, on whole images."""
    image = torch.zeros(1, channels, size, size, device="meta")
    maps = network.to("meta").forward_intermediates(image, intermediates_only=True)
    with torch.device("meta"):
        widths = [level["num_chs"] for level in network.feature_info]
        decoder = UnetDecoder(widths, objective.decoder_width, channels)
    forward, first = _layers(network, image)
    painted, _ = _layers(decoder, maps, (size, size))
    return PASSES * (forward + painted) - first


def _layers(network: nn.Module, *inputs: Any) -> tuple[int, int]:
    """Return the operations of the convolutions and products of a network, and of its first."""
    found: list[int] = []

    def count(layer: Any, _: Any, output: Any) -> None:
        kernel = layer.weight[0].numel()
        found.append(2 * kernel * output.numel() // len(output))

    kinds = (nn.Conv2d, nn.Linear)
    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, kinds)]
    network = network.to("meta").eval()
    given = [value.to("meta") if isinstance(value, torch.Tensor) else value for value in inputs]
    with torch.inference_mode():
        network(*given)
    for hook in hooks:
        hook.remove()
    return sum(found), found[0]
