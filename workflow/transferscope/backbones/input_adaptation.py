"""Input convolutions made to fit another number of channels, as timm does it.

The kernels of the slots are repeated over the new channels, in the order of both, cut off, and
scaled so that a channel shown to all inputs gives the sum that it gave before; for one channel they
are summed (`timm.models.adapt_input_conv`).
"""

from __future__ import annotations

from typing import Any

from timm.models import adapt_input_conv
from torch import nn


class AdaptationError(Exception):
    """A network whose input layer is not one that can be fitted; the message says why."""


def input_convolutions(network: nn.Module, n_slots: int) -> list[nn.Conv2d]:
    """Return the convolutions that see the image.

    Parameters
    ----------
    network
        A network; timm names its first layers in `pretrained_cfg`, others are asked for a patch
        embedding.
    n_slots
        Number of input channels of the weights.

    Raises
    ------
    AdaptationError
        Where they are not known, or are no plain convolution over all slots.
    """
    configuration: Any = getattr(network, "pretrained_cfg", None) or {}
    named = configuration.get("first_conv") or "patch_embed.proj"
    modules, layers = dict(network.named_modules(remove_duplicate=False)), []
    for name in [named] if isinstance(named, str) else named:
        layer = modules.get(name)
        if not isinstance(layer, nn.Conv2d) or layer.groups != 1 or layer.in_channels != n_slots:
            raise AdaptationError("its first layer is no plain convolution over the input slots")
        layers.append(layer)
    return layers


def adapt_input(network: nn.Module, n_slots: int, n_channels: int) -> None:
    """Fit the input convolutions to `n_channels` channels, in place.

    Raises
    ------
    AdaptationError
        As `input_convolutions`.
    """
    for layer in input_convolutions(network, n_slots):
        weight = adapt_input_conv(n_channels, layer.weight.detach(), n_slots)
        layer.weight = nn.Parameter(weight.clone(), requires_grad=layer.weight.requires_grad)
        layer.in_channels = n_channels
