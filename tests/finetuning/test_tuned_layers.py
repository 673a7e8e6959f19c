"""Which weights a mode trains, and at which rates."""

import pytest
import timm
from torch import nn

from transferscope.finetuning.layers import layers_of, parameter_groups, prepare


def vit(depth=3):
    return timm.create_model(
        "vit_tiny_patch16_224", depth=depth, embed_dim=48, num_heads=3, num_classes=0
    )


def trained(network, mode):
    prepare(network, mode, rank=2, alpha=4.0, seed=0)
    return {name for name, weight in network.named_parameters() if weight.requires_grad}


def test_full_trains_everything_and_head_nothing():
    network = vit()
    assert trained(network, "head") == set()
    assert trained(network, "full") == {name for name, _ in network.named_parameters()}


@pytest.mark.parametrize(("n", "blocks"), [(1, {"2"}), (2, {"1", "2"}), (3, {"0", "1", "2"})])
def test_the_last_blocks_are_trained_with_the_norm_after_them(n, blocks):
    names = trained(vit(), f"last-{n}")
    assert {name.split(".")[1] for name in names if name.startswith("blocks.")} == blocks
    assert {name for name in names if not name.startswith("blocks.")} == {
        "norm.weight",
        "norm.bias",
    }


def test_a_norm_outside_of_the_blocks_goes_with_the_last():
    network = timm.create_model("convnext_atto", num_classes=0)
    names = trained(network, "last-1")
    assert {"head.norm.weight", "head.norm.bias"} < names
    assert all(name.startswith(("stages.3.blocks.1.", "head.norm.")) for name in names)


def test_residual_blocks_are_layers():
    names = trained(timm.create_model("resnet18", num_classes=0), "last-2")
    assert names
    assert all(name.startswith("layer4.") for name in names)


def test_each_weight_learns_once_at_the_rate_of_its_layer():
    network, head = vit(), nn.Linear(48, 4)
    trained(network, "full")
    groups = parameter_groups(network, head, layer_decay=0.5, backbone_rate=0.1)
    rate_of = {id(p): g["lr_scale"] for g in groups for p in g["params"]}
    assert sum(len(g["params"]) for g in groups) == len(rate_of)
    assert set(rate_of) == {id(p) for p in [*network.parameters(), *head.parameters()]}
    for name, weight in network.named_parameters():
        layer = 3 if name.startswith("norm.") else 0
        if name.startswith("blocks."):
            layer = int(name.split(".")[1]) + 1
        assert rate_of[id(weight)] == pytest.approx(0.1 * 0.5 ** (3 - layer)), name
    assert {rate_of[id(p)] for p in head.parameters()} == {1.0}


def test_norms_biases_and_position_embeddings_do_not_decay():
    network = vit()
    trained(network, "full")
    groups = parameter_groups(network, nn.Linear(48, 4), layer_decay=1, backbone_rate=1)
    decays = {id(p) for g in groups if g["wd_scale"] for p in g["params"]}
    for name, weight in network.named_parameters():
        excepted = weight.ndim <= 1 or name in ("pos_embed", "cls_token")
        assert (id(weight) in decays) != excepted, name


def test_layers_count_from_the_input():
    found = layers_of(vit())
    assert found["patch_embed.proj.weight"] == found["cls_token"] == 0
    assert found["blocks.2.attn.qkv.weight"] == found["norm.weight"] == 3
