"""Linear layers whose weights lie as oneDNN multiplies them, in a reduced number format.

Otherwise oneDNN rearranges the weights of every layer for every batch, which for batches that fit
into the cache of a core takes about a tenth of the time of a vision transformer.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional


class PackedLinear(nn.Linear):
    """A linear layer for inference on a processor; its parameters stay readable.

    Parameters
    ----------
    linear
        The layer whose parameters are shared, in the number format to multiply in.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.in_features, linear.out_features, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        self._packed = _packed(linear.weight)

    def forward(self, input: Tensor) -> Tensor:
        """Return [..., out_features] in the format of the weights, for [..., in_features]."""
        return _product(input.to(self.weight.dtype), self._packed, self.bias)


def pack_linear_layers(network: nn.Module) -> int:
    """Pack every linear layer in place, if this machine can; return their number."""
    packed = 0
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            # A subclass may compute something else.
            if type(child) is nn.Linear and can_pack(child.weight.dtype):
                setattr(parent, name, PackedLinear(child))
                packed += 1
    return packed


@lru_cache
def can_pack(dtype: torch.dtype) -> bool:
    """Tell whether oneDNN multiplies packed weights of a format here, and rightly."""
    if dtype not in (torch.bfloat16, torch.float16):
        return False
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.rand(64, 64, generator=generator).to(dtype) for _ in range(2))
    wanted = functional.linear(x, weight)
    try:
        found = _product(x, _packed(weight), None)
    # The operators are not documented, and differ between builds of torch.
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return False
    return torch.allclose(found, wanted, rtol=0.02)


def _packed(weight: Tensor) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
    return packed


def _product(x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
    return found
