"""Low-rank updates against a plain transcription of their equation."""

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torch.nn.utils import parametrize

from transferscope.finetuning.lora import LowRankUpdate, add_low_rank_updates, low_rank_layers


def tiny_vit(**arguments):
    torch.manual_seed(0)
    return timm.create_model(
        "vit_tiny_patch16_224",
        img_size=32,
        depth=2,
        embed_dim=48,
        num_heads=3,
        num_classes=0,
        **arguments,
    )


@pytest.mark.parametrize(("rank", "alpha"), [(1, 1.0), (3, 8.0)])
def test_the_layer_computes_the_published_equation(rank, alpha):
    rng = np.random.default_rng(0)
    w, bias, x = rng.normal(size=(5, 4)), rng.normal(size=5), rng.normal(size=(7, 4))
    a, b = rng.normal(size=(rank, 4)), rng.normal(size=(5, rank))
    # h = W x + (alpha / r) B A x, Hu et al. 2022, equation 3, one row at a time.
    expected = np.stack([w @ row + alpha / rank * (b @ (a @ row)) + bias for row in x])
    layer = nn.Linear(4, 5).double()
    update = LowRankUpdate(layer.weight, rank, alpha)
    parametrize.register_parametrization(layer, "weight", update)
    with torch.no_grad():
        layer.parametrizations.weight.original.copy_(torch.from_numpy(w))
        layer.bias.copy_(torch.from_numpy(bias))
        update.a.copy_(torch.from_numpy(a))
        update.b.copy_(torch.from_numpy(b))
    np.testing.assert_allclose(layer(torch.from_numpy(x)).detach(), expected, rtol=1e-12)


def test_gradients_are_those_of_the_equation():
    rng = np.random.default_rng(1)
    w, a, b, x, g = (rng.normal(size=s) for s in [(5, 4), (2, 4), (5, 2), (7, 4), (7, 5)])
    update = LowRankUpdate(torch.from_numpy(w), 2, 6.0)
    with torch.no_grad():
        update.a.copy_(torch.from_numpy(a))
        update.b.copy_(torch.from_numpy(b))
    h = torch.from_numpy(x) @ update(torch.from_numpy(w)).T
    (h * torch.from_numpy(g)).sum().backward()
    # d/dB = (alpha / r) g (A x)', d/dA = (alpha / r) B' g x'.
    np.testing.assert_allclose(update.b.grad, 3 * g.T @ (x @ a.T), rtol=1e-10)
    np.testing.assert_allclose(update.a.grad, 3 * (g @ b).T @ x, rtol=1e-10)


def test_training_starts_at_the_given_network_and_changes_nothing_else():
    network = tiny_vit()
    images = torch.rand(2, 3, 32, 32)
    before = network(images)
    network.requires_grad_(False)
    names = add_low_rank_updates(network, rank=2, alpha=4.0, seed=0)
    assert names == [
        f"blocks.{i}.{layer}"
        for i in range(2)
        for layer in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    ]
    torch.testing.assert_close(network(images), before)
    trained = [name for name, weight in network.named_parameters() if weight.requires_grad]
    assert len(trained) == 2 * len(names)
    assert all(".parametrizations.weight.0." in name for name in trained)


def test_networks_that_read_the_weight_themselves_are_updated_too():
    torch.manual_seed(0)
    network = timm.create_model(
        "beit_base_patch16_224", img_size=32, depth=1, embed_dim=48, num_heads=3, num_classes=0
    ).eval()
    images = torch.rand(2, 3, 32, 32)
    before = network(images)
    add_low_rank_updates(network, rank=2, alpha=4.0, seed=0)
    for name, weight in network.named_parameters():
        if name.endswith("attn.qkv.parametrizations.weight.0.b"):
            nn.init.normal_(weight)
    assert (network(images) - before).abs().max() > 1e-3


def test_a_convolutional_network_has_no_such_layers():
    assert low_rank_layers(timm.create_model("resnet18", num_classes=0)) == {}
    assert low_rank_layers(timm.create_model("convnext_atto", num_classes=0)) == {}
