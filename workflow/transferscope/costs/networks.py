"""The cost of one image in a backbone, from shapes alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from transferscope.backbones.networks import network_without_values
from transferscope.backbones.readout import Backbone, output_widths
from transferscope.backbones.transformers_network import transformers_without_values
from transferscope.cards import NetworkCard
from transferscope.checkpoints.sources import present_file
from transferscope.costs.network_costs import NetworkCost


@dataclass(frozen=True)
class NetworkShape:
    """What a network makes of one image.

    Parameters
    ----------
    parameters
        Number of weights.
    tokens
        Of the last features: class token, registers and patches, or positions of the map.
    widths
        Output -> features.
    """

    parameters: int
    tokens: int
    widths: dict[str, int]


def network_shape(card: NetworkCard, card_path: Path) -> NetworkShape | None:
    """Return sizes of a network for an image of its card's size, as `network_cost` does."""
    network = _without_values(card, card_path)
    if network is None:
        return None
    backbone = Backbone(network, card.outputs).eval().requires_grad_(False)
    device = next(network.parameters()).device
    image = torch.zeros(1, len(card.slots), card.input_size, card.input_size, device=device)
    with torch.inference_mode():
        last = backbone.network.forward_features(image)
    channels_last = str(getattr(network, "output_fmt", "NCHW")).endswith("NHWC")
    positions = (last.shape[1:3] if channels_last else last.shape[2:]).numel()
    return NetworkShape(
        parameters=sum(p.numel() for p in network.parameters()),
        tokens=positions if last.ndim == 4 else last.shape[1],
        widths=output_widths(backbone, len(card.slots), card.input_size),
    )


def _without_values(card: NetworkCard, card_path: Path) -> nn.Module | None:
    if card.has_architecture:
        return network_without_values(card)
    if present_file(card, card_path) is None:
        return None
    return transformers_without_values(card, card_path)


def network_cost(
    card: NetworkCard, card_path: Path, n_inputs: int | None = None
) -> NetworkCost | None:
    """Return the cost of one pass of one image, from shapes alone.

    None for a model of the transformers library whose files are not on this machine.

    Parameters
    ----------
    card, card_path
        A card that `checks.check_backbone` has passed, and its file.
    n_inputs
        Input channels of a network that takes any; None: the number of its slots.
    """
    network = _without_values(card, card_path)
    if network is None:
        return None
    backbone = Backbone(network, card.outputs).eval().requires_grad_(False)
    parameters = list(backbone.parameters())
    size = card.input_size
    channels = len(card.slots) if n_inputs is None else n_inputs
    image = torch.zeros(1, channels, size, size, device=parameters[0].device)
    # Some versions of torch count nothing for fused attention (pytorch issue 195460).
    unfused = sdpa_kernel(SDPBackend.MATH)
    with torch.inference_mode(), unfused, FlopCounterMode(display=False) as counter:
        found = backbone(image)
    return NetworkCost(
        operations=int(counter.get_total_flops()),
        parameters=sum(p.numel() for p in parameters),
        width=sum(values.shape[1] for values in found),
    )
