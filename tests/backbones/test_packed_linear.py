import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
from timm.layers.activations import GELU, GELUTanh, QuickGELU
from timm.layers.mlp import Mlp
from torch import nn
from torch.nn import functional

from transferscope.backbones import packed_linear
from transferscope.backbones.packed_linear import PackedLinear, can_pack, pack_linear_layers
from transferscope.backbones.precision import centred_cosine

packs = pytest.mark.skipif(not can_pack(torch.bfloat16), reason="oneDNN packs no weights here")


@packs
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (384, 1152), (65, 1000)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [(1,), (5,), (8, 197), (2, 3, 4)])
def test_a_packed_layer_equals_the_plain_one(
    shape: tuple[int, int], bias: bool, rows: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(*shape, bias=bias).to(torch.bfloat16).requires_grad_(False)
    x = torch.randn(*rows, shape[0])
    with torch.inference_mode():
        wanted = functional.linear(x.to(torch.bfloat16), linear.weight, linear.bias)
        found = PackedLinear(linear)(x)
    assert found.shape == wanted.shape
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, wanted, rtol=0.02, atol=0.02)


class Reader(nn.Module):
    """Reads the parameters of its layer instead of calling it, as some attention does."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, self.read.weight, self.read.bias)


class Tripled(nn.Linear):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return 3 * super().forward(input)


@packs
def test_whatever_a_network_does_with_its_layers_it_gives_the_same() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 8), Reader(), Tripled(8, 8), nn.GELU(), nn.Linear(8, 4))
    network.append(nn.TransformerEncoderLayer(4, 2, 16, batch_first=True))
    network = network.to(torch.bfloat16).eval().requires_grad_(False)
    plain = copy.deepcopy(network)
    # Two in the sequence, one that is read, two of the encoder's; its attention has a subclass.
    assert pack_linear_layers(network) == 5
    x = torch.randn(5, 3, 6)
    with torch.inference_mode():
        found, wanted = network(x.to(torch.bfloat16)), plain(x.to(torch.bfloat16))
    assert centred_cosine(wanted.flatten(0, 1), found.flatten(0, 1)) > 0.999


class Squared(Mlp):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.act(self.fc1(x)).square())


@packs
@pytest.mark.parametrize(
    ("act", "fused"),
    [
        (nn.GELU, True),
        (partial(nn.GELU, approximate="tanh"), True),
        (GELU, True),
        (GELUTanh, True),
        (QuickGELU, False),
        (nn.ReLU, False),
    ],
)
@pytest.mark.parametrize("kind", [Mlp, Squared])
def test_a_gelu_is_computed_with_the_product_before_it(
    act: Callable[[], nn.Module], fused: bool, kind: type[Mlp]
) -> None:
    torch.manual_seed(0)
    mlp = kind(16, 40, act_layer=act, norm_layer=nn.LayerNorm).eval().requires_grad_(False)
    x = 3 * torch.randn(50, 16)
    with torch.inference_mode():
        wanted = mlp(x)
        for layer in (mlp.fc1, mlp.fc2):
            layer.to(torch.bfloat16)
        packed = nn.Sequential(mlp)
        assert pack_linear_layers(packed) == 2
        with torch.autocast("cpu", torch.bfloat16):
            found = packed(x)
    # A subclass may do anything with what comes after the activation, which is left to it.
    assert (type(mlp.act) is nn.Identity) == (fused and kind is Mlp)
    assert centred_cosine(wanted, found) > 0.995


def test_fp32_is_left_alone() -> None:
    network = nn.Sequential(nn.Linear(3, 3))
    assert pack_linear_layers(network) == 0
    assert type(network[0]) is nn.Linear


@pytest.mark.parametrize("error", [AttributeError, NotImplementedError, RuntimeError, TypeError])
def test_where_torch_cannot_pack_layers_stay_plain(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def absent(*_: object) -> None:
        raise error("no such operator")

    monkeypatch.setattr(packed_linear, "_packed", absent)
    can_pack.cache_clear()
    network = nn.Sequential(nn.Linear(3, 3)).to(torch.bfloat16)
    assert pack_linear_layers(network) == 0
    can_pack.cache_clear()


def test_where_the_products_are_wrong_layers_stay_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_linear, "_packed", lambda weight: weight)
    monkeypatch.setattr(packed_linear, "_product", lambda x, weight, *_: 2 * (x @ weight.mT))
    can_pack.cache_clear()
    assert not can_pack(torch.bfloat16)
    can_pack.cache_clear()
