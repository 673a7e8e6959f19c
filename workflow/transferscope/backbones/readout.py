"""Reading representations out of a network, several from one forward pass."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from transferscope.backbones.packed_linear import pack_linear_layers
from transferscope.backbones.patch_projection import PatchProjection
from transferscope.cards import Output

# Name of timm's switch between fused attention and two plain products.
FUSED_ATTENTION = "fused_attn"


class Backbone(nn.Module):
    """A network and the representations that are read from it, all from one forward pass.

    Parameters
    ----------
    network
        A timm model without a classification layer, or one that is read out as timm's are:
        ``forward_features``, ``forward_intermediates``, ``forward_head``, ``num_prefix_tokens``.
        With ``leaves_out_empty_slots`` it is fed the filled slots alone, and told which they are.
    outputs
        What is read out. ``cls`` and ``mean`` come after the network's last layer norm, in inner
        layers too, as DINO does it.
    """

    def __init__(self, network: nn.Module, outputs: list[Output]) -> None:
        super().__init__()
        self.network: Any = network
        self.outputs = outputs
        self.dtype = torch.float32
        depth = number_of_layers(network)
        self.layer_of = {o.name: o.layer % depth for o in outputs if o.layer is not None}
        self.layers = sorted(set(self.layer_of.values()))

    def forward(self, images: Tensor, filled: Sequence[int] | None = None) -> list[Tensor]:
        """Return [B, D] float32 for each output.

        Parameters
        ----------
        images
            [B, slots, S, S] float32.
        filled
            Positions of the slots that are not empty, for networks that leave the others out;
            None: all are filled.
        """
        return self.outputs_of(images, filled)

    def outputs_of(self, images: Tensor, filled: Sequence[int] | None) -> list[Tensor]:
        """Return what `forward` does."""
        if self.dtype == torch.float32:
            return self._outputs(images, filled)
        with torch.autocast(images.device.type, self.dtype):
            return self._outputs(images, filled)

    def _outputs(self, images: Tensor, filled: Sequence[int] | None) -> list[Tensor]:
        chosen: dict[str, Any] = {}
        if filled is not None and getattr(self.network, "leaves_out_empty_slots", False):
            images = torch.stack([images[:, slot] for slot in filled], dim=1)
            chosen = {"channels": filled}
        last, inner = self._features(images, chosen)
        found = [
            self._pooled(o, last)
            if o.layer is None
            else _pooled_layer(o, *inner[self.layer_of[o.name]])
            for o in self.outputs
        ]
        return [values.float() for values in found]

    def _features(
        self, images: Tensor, chosen: dict[str, Any]
    ) -> tuple[Tensor, dict[int, tuple[Tensor, Tensor | None]]]:
        """Return the last features, and of each inner layer its map [B, D, h, w] and prefix."""
        if not self.layers:
            return self.network.forward_features(images, **chosen), {}
        tokens = has_tokens(self.network)
        last, maps = self.network.forward_intermediates(
            images,
            indices=self.layers,
            norm=tokens,
            **{"return_prefix_tokens": True} if tokens else {},
            **chosen,
        )
        # Each layer's map comes with its prefix tokens, if it has any.
        pairs = [found if isinstance(found, tuple) else (found, None) for found in maps]
        return last, dict(zip(self.layers, pairs, strict=True))

    def _pooled(self, output: Output, last: Tensor) -> Tensor:
        if output.pooling == "pool":
            pooled: Tensor = self.network.forward_head(last, pre_logits=True)
            return pooled
        if last.ndim == 4:
            layout = str(getattr(self.network, "output_fmt", "NCHW"))
            return last.mean(dim=(1, 2) if layout.endswith("NHWC") else (2, 3))
        if output.pooling == "cls":
            return last[:, 0]  # there may be no other: see `class_token`
        prefix = int(getattr(self.network, "num_prefix_tokens", 0))
        return _joined(output, last[:, :1, :], last[:, prefix:].mean(dim=1))


def _pooled_layer(output: Output, features: Tensor, prefix: Tensor | None) -> Tensor:
    mean = features.mean(dim=(2, 3))
    return mean if prefix is None else _joined(output, prefix, mean)


def _joined(output: Output, prefix: Tensor, mean: Tensor) -> Tensor:
    if output.pooling == "cls":
        return prefix[:, 0]
    return torch.cat([prefix[:, 0], mean], dim=1) if output.pooling == "cls+mean" else mean


def has_tokens(network: Any) -> bool:
    """Tell whether a network gives out tokens, as transformers do, and no map."""
    return hasattr(network, "num_prefix_tokens")


def has_class_token(network: Any) -> bool:
    """Tell whether one of the tokens stands for the whole image."""
    return getattr(network, "cls_token", None) is not None


def number_of_layers(network: Any) -> int:
    """Return how many layers `Output.layer` can choose from."""
    blocks = getattr(network, "blocks", None)
    if has_tokens(network) and blocks is not None:
        return len(blocks)
    return len(getattr(network, "feature_info", None) or [])


def in_precision(backbone: Backbone, dtype: torch.dtype) -> Backbone:
    """Return a copy of a backbone that multiplies in another number format.

    Products of matrices and convolutions run in `dtype`, under autocast; sums along the residual
    stream and normalisations stay in fp32. That is as fast as rounding everything (products take
    nearly all of the time), and keeps the small differences between images several times better.
    """
    reduced = copy.deepcopy(backbone)
    reduced.dtype = dtype
    for module in reduced.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | PatchProjection):
            module.to(dtype)  # once, in place of once per batch by autocast
    if next(backbone.parameters()).device.type == "cpu":
        use_plain_attention(reduced)
        pack_linear_layers(reduced)
    return reduced


def use_plain_attention(network: nn.Module) -> None:
    """Let attention be two plain products, which are faster on a processor in a reduced format."""
    for module in network.modules():
        if hasattr(module, FUSED_ATTENTION):
            setattr(module, FUSED_ATTENTION, False)


def output_widths(backbone: Backbone, n_inputs: int, input_size: int) -> dict[str, int]:
    """Return output name -> number of features, by one pass over a blank image."""
    parameter = next(backbone.parameters())
    with torch.inference_mode():
        blank = torch.zeros(1, n_inputs, input_size, input_size, device=parameter.device)
        found = backbone(blank)
    return {o.name: v.shape[1] for o, v in zip(backbone.outputs, found, strict=True)}
