"""Each further family: a file in its layout, against an independent forward pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import timm
import torch
from torch import Tensor

import reference_networks as reference
from checkpoint_files import (
    State,
    Values,
    assert_tokens,
    card_for,
    embeddings,
    images,
    prefixed,
    save,
    vit_state,
)
from transferscope.cards import LayoutName
from transferscope.checkpoints.conversion import convert
from transferscope.checkpoints.layouts import LAYOUTS
from transferscope.checkpoints.reading import read_checkpoint
from transferscope.errors import UserError


def converted(path: Path) -> Any:
    return convert(read_checkpoint(path))


def chunked(state: State, size: int) -> State:
    """Return blocks in chunks, counted through, as DINOv2 keeps them for sharded training."""
    renamed = {}
    for name, tensor in state.items():
        parts = name.split(".")
        if parts[0] == "blocks":
            parts.insert(1, str(int(parts[1]) // size))
        renamed[".".join(parts)] = tensor
    return renamed


def dinov2_state(registers: int = 0, **size: Any) -> State:
    state = {**vit_state(scales=True, **size), "mask_token": Values(4)(1, size.get("width", 64))}
    if registers:
        state["register_tokens"] = Values(5)(1, registers, size.get("width", 64))
    return state


@pytest.mark.parametrize("registers", [0, 4, 2])
@pytest.mark.parametrize("size", [42, 70, 28])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_dinov2(tmp_path: Path, registers: int, size: int, suffix: str) -> None:
    state = dinov2_state(registers, patch=14)
    card = card_for(save(state, tmp_path / f"w{suffix}"), size)
    assert card.layout == "dinov2"
    x = images(3, size)
    assert_tokens(embeddings(card, x), reference.dinov2(state, x, 1), prefix=1 + registers)


@pytest.mark.parametrize("registers", [0, 4])
def test_dinov2_with_a_gated_feed_forward(tmp_path: Path, registers: int) -> None:
    state = dinov2_state(registers, patch=14, gated=True)
    card = card_for(save(state, tmp_path / "w.pth"))
    assert card.architecture.startswith("vit_giant_patch14")
    x = images(3, 42)
    assert_tokens(embeddings(card, x), reference.dinov2(state, x, 1), prefix=1 + registers)


@pytest.mark.parametrize("channels", [1, 4, 5])
@pytest.mark.parametrize("size", [48, 80])
def test_cell_dino(tmp_path: Path, channels: int, size: int) -> None:
    """A teacher of DINOv2's training, blocks in chunks, for fluorescence channels."""
    state = dinov2_state(channels=channels, depth=4)
    teacher = {
        **prefixed(chunked(state, 2), "backbone."),
        **Values(6).linear("dino_head.mlp.0", 8, 64),
        **Values(7).linear("ibot_head.mlp.0", 8, 64),
    }
    path = save({"teacher": teacher, "iteration": 12499}, tmp_path / "teacher_checkpoint.pth")
    card = card_for(path, size)
    assert card.layout == "cell-dino"
    assert len(card.slots) == channels
    x = images(channels, size)
    assert_tokens(embeddings(card, x), reference.dinov2(state, x, 1))
    left = converted(path).known_leftovers()
    assert left["teacher.dino_head.mlp.0.weight"] == "projection head"
    assert left["teacher.backbone.mask_token"] == "mask token"


@pytest.mark.parametrize(
    "architecture",
    ["vit_small_patch14_dinov2", "vit_base_patch14_reg4_dinov2", "vit_giant_patch14_dinov2"],
)
def test_the_published_sizes_of_dinov2_are_known(tmp_path: Path, architecture: str) -> None:
    with torch.device("meta"):
        network = timm.create_model(architecture, num_classes=0, img_size=518)
    shapes = {n: torch.empty(1).expand(t.shape) for n, t in network.state_dict().items()}
    if "reg_token" in shapes:
        shapes["register_tokens"] = shapes.pop("reg_token")
        width = shapes["pos_embed"].shape[2]
        shapes["pos_embed"] = torch.empty(1).expand(1, 1 + 37 * 37, width)
    if "giant" in architecture:
        shapes = {
            n.replace("mlp.fc1", "mlp.w12").replace("mlp.fc2", "mlp.w3"): t
            for n, t in shapes.items()
        }
    shapes["mask_token"] = torch.empty(1, shapes["pos_embed"].shape[2])
    found = converted(save(shapes, tmp_path / "w.pth")).network
    assert (found.architecture, found.arguments, found.image_size) == (architecture, {}, 518)


def dinov3_state(gated: bool = False, width: int = 64, depth: int = 2, heads: int = 2) -> State:
    state = vit_state(width=width, depth=depth, scales=True)
    del state["pos_embed"]
    v = Values(8)
    state["storage_tokens"], state["mask_token"] = v(1, 4, width), v(1, width)
    n = width // heads // 4
    state["rope_embed.periods"] = 100.0 ** (torch.arange(n) / n)
    for i in range(depth):
        mask = torch.ones(3 * width)
        mask[width : 2 * width] = 0
        state[f"blocks.{i}.attn.qkv.bias_mask"] = mask
        if gated:
            for part in ("fc1", "fc2"):
                for kind in ("weight", "bias"):
                    del state[f"blocks.{i}.mlp.{part}.{kind}"]
            state |= v.linear(f"blocks.{i}.mlp.w1", 2 * width, width)
            state |= v.linear(f"blocks.{i}.mlp.w2", 2 * width, width)
            state |= v.linear(f"blocks.{i}.mlp.w3", width, 2 * width)
    return state


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("size", [48, 80])
def test_dinov3(tmp_path: Path, gated: bool, size: int) -> None:
    state = dinov3_state(gated)
    path = save(state, tmp_path / "w.pth")
    card = card_for(path, size)
    assert card.layout == "dinov3"
    assert card.arguments["num_heads"] == 2
    x = images(3, size)
    assert_tokens(embeddings(card, x), reference.dinov3(state, x, heads=2), prefix=5)
    left = converted(path).known_leftovers()
    masks = {f"blocks.{i}.attn.qkv.bias_mask" for i in (0, 1)}
    assert {"rope_embed.periods", "mask_token", *masks} == set(left)


def test_dinov3_with_what_timm_cannot_compute_is_refused(tmp_path: Path) -> None:
    unmasked = dinov3_state()
    unmasked["blocks.0.attn.qkv.bias_mask"] = torch.ones(192)
    with pytest.raises(UserError, match=r"blocks\.0\.attn\.qkv\.bias.*biases the keys"):
        converted(save(unmasked, tmp_path / "keys.pth"))
    other_base = dinov3_state()
    other_base["rope_embed.periods"] = 1000.0 ** (torch.arange(8) / 8)
    with pytest.raises(UserError, match="rotary periods"):
        converted(save(other_base, tmp_path / "periods.pth"))


def mae_state(channels: int = 3) -> State:
    state = vit_state(channels=channels)
    state["pos_embed"][:, 0] = 0  # fixed codes leave the class token without a position
    return state


@pytest.mark.parametrize("size", [48, 80])
def test_mae_with_its_decoder(tmp_path: Path, size: int) -> None:
    state, v = mae_state(), Values(6)
    decoder = {
        "mask_token": v(1, 1, 32), "decoder_pos_embed": v(1, 10, 32),
        **v.linear("decoder_embed", 32, 64), **v.linear("decoder_pred", 768, 32),
        **v.linear("decoder_blocks.0.attn.qkv", 96, 32), **v.norm("decoder_norm", 32),
    }  # fmt: skip
    path = save({"model": {**state, **decoder}, "optimizer": {}}, tmp_path / "w.pth")
    card = card_for(path, size)
    assert card.layout == "mae"
    x = images(3, size)
    assert_tokens(embeddings(card, x), mae_tokens(state, x))
    kinds = set(converted(path).known_leftovers().values())
    assert kinds == {"decoder", "mask token"}


def mae_tokens(state: State, x: Tensor) -> Tensor:
    """Return DINO's tokens with positions resized as MAE's own code does."""
    side = x.shape[-1] // state["patch_embed.proj.weight"].shape[-1]
    positions = reference.resized_positions(state["pos_embed"], side, None)
    return reference.dino({**state, "pos_embed": positions}, x, heads=1)


def test_a_fine_tuned_mae_is_pooled_as_it_was_tuned(tmp_path: Path) -> None:
    state = {n: t for n, t in mae_state().items() if not n.startswith("norm.")}
    state |= Values(7).norm("fc_norm", 64) | Values(8).linear("head", 5, 64)
    path = save({"model": state}, tmp_path / "w.pth")
    card = card_for(path, outputs=[{"name": "pool", "pooling": "pool"}])
    assert card.layout == "mae"
    x = images(3, 48)
    plain = {**state, "norm.weight": torch.ones(64), "norm.bias": torch.zeros(64)}
    tokens = tokens_before_norm(plain, x)
    expected = reference.layer_norm(tokens[:, 1:].mean(dim=1), state, "fc_norm", 1e-6)
    torch.testing.assert_close(embeddings(card, x)["pool"], expected, rtol=1e-5, atol=1e-5)


def tokens_before_norm(state: State, images: Tensor) -> Tensor:
    weight, bias = state["patch_embed.proj.weight"], state["patch_embed.proj.bias"]
    x = reference.patch_tokens(images, weight, bias)
    x = torch.cat([state["cls_token"].expand(len(x), -1, -1), x], dim=1) + state["pos_embed"]
    for i in range(reference.depth(state)):
        x = reference.block(x, state, f"blocks.{i}", 1)
    return x


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("vit_small_patch16_224", {}),
        ("vit_small_patch16_224", {"qkv_bias": False, "init_values": 0.1}),
        ("vit_small_patch16_224", {"reg_tokens": 4, "no_embed_class": True}),
        ("vit_small_patch16_224", {"class_token": False, "global_pool": "avg", "fc_norm": False}),
        ("vit_small_patch16_224", {"mlp_ratio": 2.5, "pre_norm": True}),
        ("vit_small_patch16_224", {"global_pool": "avg"}),
    ],
)
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_timm_s_own_files_embed_as_timm_s_own_forward(
    tmp_path: Path, architecture: str, changes: dict[str, Any], suffix: str
) -> None:
    torch.manual_seed(0)
    sizes = {"embed_dim": 64, "depth": 2, "num_heads": 1, "img_size": 48, "num_classes": 7}
    network = timm.create_model(architecture, **sizes, **changes).eval()
    for parameter in network.parameters():
        parameter.data += torch.randn_like(parameter) * 0.05
    path = save(network.state_dict(), tmp_path / f"w{suffix}")
    outputs = [{"name": "pool", "pooling": "pool"}, {"name": "mean", "pooling": "mean"}]
    card = card_for(path, outputs=outputs)
    assert card.layout == "timm"
    x = images(3, 48)
    found = embeddings(card, x)
    with torch.inference_mode():
        tokens = network.forward_features(x)
        expected = network.forward_head(tokens, pre_logits=True)
    torch.testing.assert_close(found["pool"], expected, rtol=1e-5, atol=1e-5)
    mean = tokens[:, network.num_prefix_tokens :].mean(dim=1)
    torch.testing.assert_close(found["mean"], mean, rtol=1e-5, atol=1e-5)


def test_any_architecture_of_timm_s_loads_by_its_names(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = timm.create_model("convnext_atto", num_classes=7, depths=[1, 1, 1, 1]).eval()
    path = save({"state_dict": prefixed(network.state_dict(), "module.")}, tmp_path / "w.pth")
    from transferscope.cards import FileCard

    card = FileCard(
        source="file", name="x", weights=path, architecture="convnext_atto", input_size=64,
        arguments={"depths": [1, 1, 1, 1]}, slots=[{"name": n} for n in "rgb"],
        outputs=[{"name": "pool", "pooling": "pool"}],
    )  # fmt: skip
    x = images(3, 64)
    with torch.inference_mode():
        expected = network.forward_head(network.forward_features(x), pre_logits=True)
    torch.testing.assert_close(embeddings(card, x)["pool"], expected, rtol=1e-5, atol=1e-5)


def test_an_unknown_file_says_what_it_holds(tmp_path: Path) -> None:
    path = save({"encoder.conv.weight": torch.ones(2)}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"no weights of a known layout; it holds encoder\.conv"):
        converted(path)
    with pytest.raises(UserError, match=r"no weights of the layout dino; it holds encoder\.conv"):
        convert(read_checkpoint(path), "dino")
    state = save(vit_state(), tmp_path / "v.pth")
    with pytest.raises(UserError, match=r"known layout under `studnet`"):
        convert(read_checkpoint(state), state_key="studnet")


def test_every_layout_that_a_card_can_name_is_there_and_no_other() -> None:
    assert list(dict.fromkeys(one.name for one in LAYOUTS)) == list(get_args(LayoutName))


@pytest.mark.parametrize("name", get_args(LayoutName))
def test_no_layout_takes_a_file_of_something_else(tmp_path: Path, name: str) -> None:
    path = save({"encoder.conv.weight": torch.ones(2)}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=f"no weights of the layout {name};"):
        convert(read_checkpoint(path), name)


def test_an_incomplete_file_of_a_layout_is_named(tmp_path: Path) -> None:
    state = vit_state()
    del state["pos_embed"]
    with pytest.raises(UserError, match=r"no complete file of the layout dino: 'pos_embed'"):
        convert(read_checkpoint(save(state, tmp_path / "w.pth")), "dino")


def test_a_layout_that_is_named_is_believed(tmp_path: Path) -> None:
    """Three channels may be microscopy's as well as colours."""
    path = save(vit_state(channels=3), tmp_path / "w.pth")
    assert converted(path).layout == "dino"
    found = convert(read_checkpoint(path), "dino4cells")
    assert found.layout == "dino4cells"
    assert found.normalization["kind"] == "self"
