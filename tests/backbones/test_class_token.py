import copy
from typing import Any

import pytest
import timm
import torch

from transferscope.backbones.class_token import ClassTokenBlock, compute_class_token_alone
from transferscope.backbones.readout import Backbone
from transferscope.cards import Output

TINY: dict[str, Any] = {"img_size": 32, "num_classes": 0, "depth": 3}
CLS, MEAN, POOL = (Output(name=kind, pooling=kind) for kind in ("cls", "mean", "pool"))
INNER, LAST = (Output(name=f"layer{n}", pooling="cls+mean", layer=n) for n in (1, -1))


def backbone(outputs: list[Output], name: str = "vit_tiny_patch16_224", **changes: Any) -> Backbone:
    torch.manual_seed(0)
    network = timm.create_model(name, pretrained=False, **{**TINY, **changes})
    for parameter in network.parameters():  # layer scales and biases are nearly zero at first
        torch.nn.init.normal_(parameter, std=0.2)
    return Backbone(network, outputs).eval().requires_grad_(False)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("vit_tiny_patch16_224", {}),
        ("vit_tiny_patch16_224", {"qk_norm": True, "init_values": 0.1}),
        ("vit_tiny_patch16_224", {"scale_attn_norm": True, "scale_mlp_norm": True}),
        ("vit_tiny_patch16_224", {"qkv_bias": False, "reg_tokens": 4}),
        ("vit_small_patch14_reg4_dinov2", {"img_size": 28}),
        ("vit_giant_patch14_reg4_dinov2", {"img_size": 28, "embed_dim": 96, "num_heads": 4}),
    ],
)
@pytest.mark.parametrize("outputs", [[CLS], [CLS, POOL], [POOL, INNER]])
@pytest.mark.parametrize("fused", [True, False])
def test_outputs_equal_those_of_the_whole_block(
    name: str, changes: dict[str, Any], outputs: list[Output], fused: bool
) -> None:
    whole = backbone(outputs, name, **changes)
    for module in whole.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = fused
    alone = copy.deepcopy(whole)
    assert compute_class_token_alone(alone)
    assert isinstance(alone.network.blocks[-1], ClassTokenBlock)
    size = whole.network.patch_embed.img_size[0]
    images = torch.randn(5, 3, size, size)
    with torch.inference_mode():
        pairs = list(zip(alone(images), whole(images), strict=True))
    for found, wanted in pairs:
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("outputs", "name", "changes"),
    [
        ([MEAN], "vit_tiny_patch16_224", {}),
        ([CLS, MEAN], "vit_tiny_patch16_224", {}),
        ([Output(name="both", pooling="cls+mean")], "vit_tiny_patch16_224", {}),
        ([CLS, LAST], "vit_tiny_patch16_224", {}),
        ([POOL], "vit_tiny_patch16_224", {"global_pool": "avg"}),
        ([POOL], "vit_tiny_patch16_224", {"global_pool": "map", "class_token": False}),
        ([CLS], "deit_tiny_distilled_patch16_224", {}),  # a subclass
        ([CLS], "eva02_tiny_patch14_224", {"img_size": 28}),  # another class
        ([POOL], "resnet18", {}),
    ],
)
def test_where_other_tokens_are_read_nothing_is_replaced(
    outputs: list[Output], name: str, changes: dict[str, Any]
) -> None:
    if name == "resnet18":
        network = timm.create_model(name, pretrained=False, num_classes=0)
        whole = Backbone(network, outputs).eval()
    else:
        whole = backbone(outputs, name, **changes)
    before = list(whole.modules())
    assert not compute_class_token_alone(whole)
    assert list(whole.modules()) == before


def test_the_block_of_the_class_token_costs_a_sixth() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    whole = backbone([CLS], img_size=224)
    alone = copy.deepcopy(whole)
    compute_class_token_alone(alone)
    flops = []
    for one in (whole, alone):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            one.network.blocks[-1](torch.zeros(1, 197, 192))
        flops.append(counter.get_total_flops())
    assert flops[1] < flops[0] / 5
