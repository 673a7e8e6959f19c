"""Linear layers whose weights lie as oneDNN multiplies them, in a reduced number format.

Otherwise oneDNN rearranges the weights of every layer for every batch, which for batches that fit
into the cache of a core takes about a tenth of the time of a vision transformer. A GELU that
follows is computed with the product, before that is rounded and leaves the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from timm.layers.activations import GELU, GELUTanh
from timm.layers.mlp import Mlp
from torch import Tensor, nn
from torch.nn import functional

# Approximations of GELU, as `torch.nn.GELU` names them.
GELUS = ("none", "tanh")


class PackedLinear(nn.Linear):
    """A linear layer for inference on a processor; its parameters stay readable.

    Parameters
    ----------
    linear
        The layer whose parameters are shared, in the number format to multiply in.
    gelu
        Approximation of the GELU to compute of the product, as `torch.nn.GELU` names it; None: no
        GELU.
    """

    def __init__(self, linear: nn.Linear, gelu: str | None = None) -> None:
        super().__init__(linear.in_features, linear.out_features, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        self._packed, self._gelu = _packed(linear.weight), gelu

    def forward(self, input: Tensor) -> Tensor:
        """Return [..., out_features] in the format of the weights, for [..., in_features]."""
        x = input.to(self.weight.dtype)
        if torch.compiler.is_compiling():
            packed: Tensor = torch.ops.transferscope.packed_product(
                x, self._packed, self.weight, self.bias, self._gelu
            )
            return packed
        return _product(x, self._packed, self.bias, self._gelu)


def pack_linear_layers(network: nn.Module) -> int:
    """Pack every linear layer in place, if this machine can; return their number."""
    packed = 0
    for mlp in [module for module in network.modules() if type(module) is Mlp]:
        gelu = _gelu(mlp.act)
        if gelu and type(mlp.fc1) is nn.Linear and can_pack(mlp.fc1.weight.dtype):
            mlp.fc1, mlp.act = PackedLinear(mlp.fc1, gelu), nn.Identity()
            packed += 1
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
    x, weight = (torch.randn(64, 64, generator=generator).to(dtype) for _ in range(2))
    product = functional.linear(x.float(), weight.float())
    wanted = [product, *(functional.gelu(product, approximate=kind) for kind in GELUS)]
    try:
        found = [_product(x, _packed(weight), None, kind) for kind in (None, *GELUS)]
    # The operators are not documented, and differ between builds of torch.
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return False
    pairs = zip(found, wanted, strict=True)
    return all(torch.allclose(one.float(), other, rtol=0.02, atol=0.02) for one, other in pairs)


def _gelu(activation: nn.Module) -> str | None:
    """Return which approximation of GELU a layer computes; None: something else."""
    if type(activation) is nn.GELU:
        return activation.approximate
    return {GELU: "none", GELUTanh: "tanh"}.get(type(activation))


def _packed(weight: Tensor) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
    return packed


def _product(x: Tensor, packed: Tensor, bias: Tensor | None, gelu: str | None) -> Tensor:
    after: tuple[str, list[float], str] = ("none", [], "") if gelu is None else ("gelu", [], gelu)
    found: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, *after)
    return found


@lru_cache
def operator_for_compiler() -> Callable[..., Tensor]:
    """Return the product as an operator of which the compiler knows what shape it returns."""

    @torch.library.custom_op("transferscope::packed_product", mutates_args=())
    def product(
        x: Tensor, packed: Tensor, weight: Tensor, bias: Tensor | None, gelu: str | None
    ) -> Tensor:
        return _product(x, packed, bias, gelu)

    @product.register_fake
    def _shape(x: Tensor, packed: Tensor, weight: Tensor, *_: object) -> Tensor:
        return x.new_empty(*x.shape[:-1], len(weight))

    return product
