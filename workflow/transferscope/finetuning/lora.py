"""Low-rank updates of linear layers (LoRA).

Hu et al., ICLR 2022, arXiv 2106.09685: a layer's weights W stay as they are, and an update of low
rank r is learned in addition,

    h = W x + (alpha / r) B A x,    A in R^(r x in), B in R^(out x r),

with A drawn at random and B zero at the start, so that training begins at the given network.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class LowRankUpdate(nn.Module):
    """The parametrisation W -> W + (alpha / r) B A of a weight matrix.

    It acts on the weight, not on the layer, because some networks read a layer's weight and
    multiply it themselves.

    Parameters
    ----------
    weight
        W, [out, in].
    rank
        r.
    alpha
        Numerator of the scale.
    generator
        Draws A as `torch.nn.Linear` draws its weights.
    """

    def __init__(
        self, weight: Tensor, rank: int, alpha: float, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        n_out, n_in = weight.shape
        bound = 1 / math.sqrt(n_in)
        drawn = torch.rand(rank, n_in, generator=generator).mul_(2 * bound).sub_(bound)
        self.a = nn.Parameter(drawn.to(weight))
        self.b = nn.Parameter(weight.new_zeros(n_out, rank))
        self.scale = alpha / rank

    def forward(self, weight: Tensor) -> Tensor:
        """Return the updated weights, [out, in]."""
        return weight + self.scale * (self.b @ self.a)


def low_rank_layers(network: nn.Module) -> dict[str, nn.Linear]:
    """Return the linear layers of attention and feed-forward within a transformer's blocks.

    Parameters
    ----------
    network
        A timm network.

    Returns
    -------
    dict
        Name -> layer; empty where the network has no transformer blocks.
    """
    blocks = getattr(network, "blocks", None)
    if not isinstance(blocks, nn.Module) or not hasattr(network, "num_prefix_tokens"):
        return {}
    return {
        f"blocks.{name}": module
        for name, module in blocks.named_modules()
        if isinstance(module, nn.Linear)
    }


def add_low_rank_updates(network: nn.Module, rank: int, alpha: float, seed: int) -> list[str]:
    """Add an update to each layer of `low_rank_layers`, in place, and return their names.

    Parameters
    ----------
    network
        A vision transformer.
    rank, alpha
        As in `LowRankUpdate`.
    seed
        Of the random halves.
    """
    generator = torch.Generator().manual_seed(seed)
    layers = low_rank_layers(network)
    for layer in layers.values():
        layer.weight.requires_grad_(False)
        update = LowRankUpdate(layer.weight, rank, alpha, generator)
        parametrize.register_parametrization(layer, "weight", update)
    return list(layers)
