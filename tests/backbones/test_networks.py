from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
import timm
import torch
from torch import nn

from transferscope.backbones.checks import check_backbone
from transferscope.backbones.network_embedder import NetworkEmbedder
from transferscope.backbones.networks import build_backbone, known_architectures
from transferscope.backbones.patch_projection import replace_patch_convolutions
from transferscope.backbones.precision import LEAST_AGREEMENT, centred_cosine
from transferscope.backbones.readout import in_precision, output_widths
from transferscope.backbones.weights import weights_sha256
from transferscope.cards import BackboneCard, FileCard, TimmCard
from transferscope.channels.assignment import assign
from transferscope.config.compute import ComputeSettings
from transferscope.config.model import read_model
from transferscope.errors import UserError

TINY = {"depth": 3, "embed_dim": 48, "num_heads": 3}
SWIN = "swin_tiny_patch4_window7_224"
HERE = Path("cards/x.yaml")
OUTPUTS = [{"name": "cls"}, {"name": "mean", "pooling": "mean"}]


def card(architecture: str = "vit_tiny_patch16_224", channels: int = 3, **changes: Any) -> TimmCard:
    values: dict[str, Any] = {
        "source": "timm", "name": "x", "architecture": architecture, "pretrained": False,
        "arguments": TINY if architecture.startswith("vit") else {}, "input_size": 32,
        "slots": [{"name": f"c{i}"} for i in range(channels)], "outputs": OUTPUTS,
    }  # fmt: skip
    return TimmCard(**{**values, **changes})


def images(channels: int = 3, size: int = 32, n: int = 6) -> torch.Tensor:
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(0))


def reference(wanted: TimmCard) -> Any:
    """Return timm's own model with the same weights."""
    backbone = build_backbone(wanted, HERE)
    arguments = dict(wanted.arguments)
    if wanted.architecture.startswith(("vit", "swin")):
        arguments["img_size"] = wanted.input_size
    model = timm.create_model(
        wanted.architecture, in_chans=len(wanted.slots), num_classes=0, **arguments
    )
    model.load_state_dict(backbone.network.state_dict())
    return backbone, model.eval().requires_grad_(False)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_tokens_equal_timm_s_own_forward(channels: int) -> None:
    outputs = [
        *OUTPUTS,
        {"name": "both", "pooling": "cls+mean"},
        {"name": "pool", "pooling": "pool"},
    ]
    backbone, model = reference(card(channels=channels, outputs=outputs))
    x = images(channels)
    tokens = model.forward_features(x)
    cls, mean, both, pool = backbone(x)
    torch.testing.assert_close(cls, tokens[:, 0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(mean, tokens[:, 1:].mean(dim=1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(both, torch.cat([cls, mean], dim=1))
    torch.testing.assert_close(pool, model(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "architecture", ["resnet18", "convnext_atto", "swin_tiny_patch4_window7_224"]
)
def test_pooled_features_equal_timm_s_own_forward(architecture: str) -> None:
    outputs = [{"name": "pool", "pooling": "pool"}, {"name": "mean", "pooling": "mean"}]
    size = 56 if "swin" in architecture else 64
    wanted = card(architecture, outputs=outputs, input_size=size)
    backbone, model = reference(wanted)
    x = images(size=size, n=2)
    pool, mean = backbone(x)
    torch.testing.assert_close(pool, model(x), rtol=1e-4, atol=1e-5)
    features = model.forward_features(x)
    axes = (1, 2) if "swin" in architecture else (2, 3)
    torch.testing.assert_close(mean, features.mean(dim=axes), rtol=1e-4, atol=1e-5)


def test_inner_layers_equal_the_blocks_and_come_from_one_pass() -> None:
    outputs = [
        {"name": "last"},
        {"name": "second", "layer": 1},
        {"name": "first", "layer": -3, "pooling": "mean"},
        {"name": "third", "layer": 2},
        {"name": "both", "layer": 1, "pooling": "cls+mean"},
    ]
    backbone, model = reference(card(outputs=outputs))
    calls = []
    backbone.network.patch_embed.register_forward_hook(lambda *_: calls.append(1))
    last, second, first, third, both = backbone(images())
    assert len(calls) == 1
    x = model._pos_embed(model.patch_embed(images()))
    inner = []
    for block in model.blocks:
        x = block(x)
        inner.append(model.norm(x))
    torch.testing.assert_close(second, inner[1][:, 0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(first, inner[0][:, 1:].mean(dim=1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(third, inner[2][:, 0], rtol=1e-5, atol=1e-5)
    expected = torch.cat([inner[1][:, 0], inner[1][:, 1:].mean(dim=1)], dim=1)
    torch.testing.assert_close(both, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(last, third)


def test_inner_layers_of_a_convolutional_network_are_pooled_maps() -> None:
    outputs = [{"name": "stage", "pooling": "pool", "layer": 2}]
    backbone, model = reference(card("resnet18", outputs=outputs, input_size=64))
    x = images(size=64)
    x1 = model.maxpool(model.act1(model.bn1(model.conv1(x))))
    expected = model.layer2(model.layer1(x1)).mean(dim=(2, 3))
    torch.testing.assert_close(backbone(x)[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("patch", [8, 14, 16, 32])
@pytest.mark.parametrize("channels", range(1, 9))
def test_reduced_precision_agrees_with_fp32(patch: int, channels: int) -> None:
    """oneDNN's own convolution is far below this for several of these shapes."""
    arguments = {**TINY, "depth": 2, "patch_size": patch}
    wanted = card(channels=channels, arguments=arguments, input_size=4 * patch)
    backbone = build_backbone(wanted, HERE)
    # Images that differ as microscopy does, rather than by noise that any network averages out.
    x = images(channels, 4 * patch, n=8) * torch.linspace(0.2, 2, 8)[:, None, None, None]
    with torch.inference_mode():
        pairs = zip(backbone(x), in_precision(backbone, torch.bfloat16)(x), strict=True)
        assert all(centred_cosine(a, b) > LEAST_AGREEMENT for a, b in pairs)


def test_no_patch_convolution_is_left_and_batch_norm_keeps_fp32() -> None:
    assert replace_patch_convolutions(build_backbone(card(), HERE)) == 0
    resnet = build_backbone(card("resnet18", outputs=[{"name": "p", "pooling": "pool"}]), HERE)
    reduced = in_precision(resnet, torch.bfloat16)
    assert reduced.network.bn1.running_var.dtype == torch.float32
    assert reduced.network.conv1.weight.dtype == torch.bfloat16
    assert resnet.network.conv1.weight.dtype == torch.float32


@pytest.mark.parametrize("architecture", ["resnet18", "efficientnet_lite0"])
def test_convolutions_lie_channels_last_and_are_the_same_network(architecture: str) -> None:
    outputs = [{"name": "pool", "pooling": "pool"}]
    backbone = build_backbone(card(architecture, outputs=outputs), HERE)
    plain = copy.deepcopy(backbone).to(memory_format=torch.contiguous_format)
    assert all(weight.is_contiguous() for weight in plain.parameters())
    weights = [m.weight for m in backbone.modules() if isinstance(m, nn.Conv2d)]
    assert weights
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)
    assert weights_sha256(backbone) == weights_sha256(plain)
    pixels = images(size=64, n=3)
    torch.testing.assert_close(backbone(pixels), plain(pixels), rtol=1e-4, atol=1e-5)


def test_random_weights_depend_on_the_card_s_seed_alone() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = weights_sha256(build_backbone(card(seed=5), HERE))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert weights_sha256(build_backbone(card(seed=5), HERE)) == first
    assert weights_sha256(build_backbone(card(seed=6), HERE)) != first


def test_widths_are_those_of_the_outputs() -> None:
    outputs = [*OUTPUTS, {"name": "both", "pooling": "cls+mean"}]
    backbone = build_backbone(card(outputs=outputs), HERE)
    assert output_widths(backbone, 3, 32) == {"cls": 48, "mean": 48, "both": 96}


WRONG = pytest.mark.parametrize(
    ("changes", "where", "what"),
    [
        ({"architecture": "vit_tiny_patch61_224"}, "architecture", 'Did you mean "vit_'),
        ({"architecture": "vit_small_patch16_224.dyno"}, "architecture", "patch16_224.dino"),
        ({"arguments": {"depht": 3}}, "arguments", "depht"),
        ({"arguments": {"in_chans": 3}}, "arguments.in_chans", "slots"),
        ({"input_size": 40}, "input_size", "multiple of the patch size"),
        ({"outputs": [{"name": "a", "layer": 12}]}, "output a", "no layer 12"),
        ({"outputs": [{"name": "a", "layer": 1, "pooling": "pool"}]}, "output a", "last layer"),
        ({"architecture": "resnet18"}, "output cls", "no class token"),
        ({"pretrained": True, "channels": 4}, "slots", "3 input channels"),
        ({"pretrained": True, "architecture": "vit_small_patch16_224.dino",
          "arguments": {"depht": 3}}, "arguments", "depht"),
        ({"blocks": 5}, "blocks", "the network has"),
    ],
)  # fmt: skip


@WRONG
def test_a_card_that_cannot_work_is_explained(changes: dict, where: str, what: str) -> None:
    problems = check_backbone(card(**changes), HERE)
    assert problems
    assert where in problems[0].where
    assert what in str(problems[0])


@WRONG
def test_a_job_explains_a_wrong_card_as_the_check_before_a_run_does(
    changes: dict, where: str, what: str
) -> None:
    wanted = card(**changes)
    channels = [slot.name for slot in wanted.slots]
    levels = np.tile(np.float32([0, 1]), (len(channels), 1))
    assignment = assign("replicate", channels, wanted.named_slots)
    settings = ComputeSettings(device="cpu", precision="fp32", threads=1)
    with pytest.raises(UserError) as caught:
        NetworkEmbedder(wanted, HERE, channels, levels, assignment, settings)
    assert caught.value.problems == check_backbone(wanted, HERE)


def test_a_missing_weights_file_is_named() -> None:
    wanted = FileCard(
        source="file", name="x", architecture="vit_tiny_patch16_224", weights=Path("absent.pth"),
        slots=[{"name": "a"}],
    )  # fmt: skip
    assert "absent.pth does not exist" in str(check_backbone(wanted, HERE)[0])


def test_hub_weights_without_a_network_say_what_to_fetch_and_where_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    wanted = card("vit_small_patch16_224.dino", pretrained=True, arguments={}, input_size=224)
    expected = ["hf download timm/vit_small_patch16_224.dino", str(tmp_path)]
    problems = check_backbone(wanted, HERE)
    with pytest.raises(UserError) as caught:
        build_backbone(wanted, HERE)
    for text in expected:
        assert text in str(problems[0])
        assert text in str(caught.value)


def test_every_card_of_the_repository_is_in_order(repository: Path) -> None:
    paths = sorted((repository / "resources/backbones").glob("*.yaml"))
    assert len(paths) >= 21
    for path in paths:
        found = read_model(path, BackboneCard)
        assert found.name == path.stem
        if found.source != "handcrafted":
            problems = check_backbone(found, path)
            # Weights that their authors hand out on request only are not on this machine.
            absent = found.source == "file" and "does not exist" in str(problems)
            assert absent or problems == []


def test_known_architectures_hold_plain_and_tagged_names() -> None:
    assert {"resnet50", "vit_small_patch16_224.dino"} <= set(known_architectures())
