from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from transferscope.backbones.checks import check_adaptation
from transferscope.backbones.input_adaptation import (
    AdaptationError,
    adapt_input,
    input_convolutions,
)
from transferscope.backbones.networks import build_backbone
from transferscope.cards import TimmCard
from transferscope.errors import UserError

HERE = Path("cards/x.yaml")


def card(architecture: str, slots: int = 3, **changes: object) -> TimmCard:
    values = {
        "source": "timm", "name": "x", "architecture": architecture, "pretrained": False,
        "slots": [{"name": f"c{i}"} for i in range(slots)], "input_size": 64,
        "outputs": [{"name": "pool", "pooling": "pool"}],
    }  # fmt: skip
    return TimmCard(**{**values, **changes})


@pytest.mark.parametrize("architecture", ["resnet18", "convnext_atto", "vit_tiny_patch16_224"])
@pytest.mark.parametrize("n_channels", [1, 2, 3, 5])
def test_kernels_are_repeated_and_scaled_as_documented(architecture: str, n_channels: int) -> None:
    network = timm.create_model(architecture, num_classes=0)
    [layer] = input_convolutions(network, 3)
    before = layer.weight.detach().clone()
    adapt_input(network, 3, n_channels)
    if n_channels == 1:
        expected = before.sum(dim=1, keepdim=True)
    else:
        kernels = [before[:, i % 3] for i in range(n_channels)]
        expected = torch.stack(kernels, dim=1) * (3 / n_channels)
    torch.testing.assert_close(layer.weight, expected)
    x = torch.rand(2, n_channels, 224, 224)
    assert network.eval()(x).isfinite().all()


@pytest.mark.parametrize("architecture", ["resnet18", "vit_tiny_patch16_224"])
def test_a_channel_shown_to_all_inputs_gives_what_it_gave_before(architecture: str) -> None:
    """With as many channels as slots, or a multiple of them, the sum of the kernels is kept."""
    before = build_backbone(card(architecture), HERE)
    after = build_backbone(card(architecture), HERE, 6)
    one = torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        expected = before(one.expand(-1, 3, -1, -1))[0]
        torch.testing.assert_close(after(one.expand(-1, 6, -1, -1))[0], expected, atol=1e-4, rtol=0)


def test_four_slots_are_adapted_from_all_four() -> None:
    before = build_backbone(card("resnet18", slots=4), HERE).network.conv1.weight
    after = build_backbone(card("resnet18", slots=4), HERE, 1).network.conv1.weight
    torch.testing.assert_close(after, before.sum(dim=1, keepdim=True))


def test_a_first_layer_that_is_not_known_or_no_convolution_is_refused_before_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(AdaptationError, match="no plain convolution"):
        input_convolutions(nn.Sequential(nn.Linear(3, 3)), 3)
    network = timm.create_model("mixer_s32_224", num_classes=0)
    network.pretrained_cfg["first_conv"] = "blocks.0.mlp_tokens.fc1"
    with pytest.raises(AdaptationError, match="no plain convolution"):
        adapt_input(network, 3, 2)
    assert check_adaptation(card("resnet18"), HERE) == []
    monkeypatch.setattr(
        "transferscope.backbones.checks.network_without_values",
        lambda _: nn.Sequential(nn.Flatten()),
    )
    [problem] = check_adaptation(card("resnet18"), HERE)
    assert "cannot serve the channel strategy adapt" in str(problem)
    monkeypatch.setattr(
        "transferscope.backbones.networks._created", lambda *_, **__: nn.Sequential(nn.Flatten())
    )
    with pytest.raises(UserError, match="cannot serve the channel strategy adapt"):
        build_backbone(card("resnet18"), HERE, 2)
