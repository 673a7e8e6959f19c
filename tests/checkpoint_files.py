"""Checkpoint files with small random networks, in the layouts in which papers publish theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from transferscope.cards import FileCard
from transferscope.checkpoints.conversion import convert
from transferscope.checkpoints.positions import sincos_positions
from transferscope.checkpoints.reading import read_checkpoint

State = dict[str, Tensor]
OUTPUTS = [
    {"name": "cls", "pooling": "cls"},
    {"name": "mean", "pooling": "mean"},
    {"name": "first", "pooling": "cls", "layer": 0},
]


class Values:
    """Random weights whose sizes keep activations near 1, in a fixed order."""

    def __init__(self, seed: int = 0) -> None:
        self._random = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int, scale: float = 1.0, centre: float = 0.0) -> Tensor:
        return torch.randn(*shape, generator=self._random) * scale + centre

    def linear(self, name: str, out: int, into: int, *, bias: bool = True) -> State:
        state = {f"{name}.weight": self(out, into, scale=into**-0.5)}
        return {**state, f"{name}.bias": self(out, scale=0.3)} if bias else state

    def norm(self, name: str, width: int) -> State:
        return {
            f"{name}.weight": self(width, scale=0.2, centre=1),
            f"{name}.bias": self(width, scale=0.2),
        }


def vit_state(
    width: int = 64,
    depth: int = 2,
    channels: int = 3,
    patch: int = 16,
    side: int = 3,
    seed: int = 0,
    *,
    scales: bool = False,
    gated: bool = False,
    patch_dimensions: int = 2,
) -> State:
    """Return the weights of a vision transformer as DINO names them."""
    v = Values(seed)
    kernel = (patch,) * 2 if patch_dimensions == 2 else (1, patch, patch)
    inputs = channels if patch_dimensions == 2 else 1
    state = {
        "cls_token": v(1, 1, width),
        "pos_embed": v(1, 1 + side * side, width, scale=0.5),
        "patch_embed.proj.weight": v(width, inputs, *kernel, scale=(inputs * patch**2) ** -0.5),
        "patch_embed.proj.bias": v(width, scale=0.3),
    }
    for i in range(depth):
        name = f"blocks.{i}"
        state |= v.norm(f"{name}.norm1", width)
        state |= v.linear(f"{name}.attn.qkv", 3 * width, width)
        state |= v.linear(f"{name}.attn.proj", width, width)
        state |= v.norm(f"{name}.norm2", width)
        if gated:
            hidden = (int(4 * width * 2 / 3) + 7) // 8 * 8
            state |= v.linear(f"{name}.mlp.w12", 2 * hidden, width)
            state |= v.linear(f"{name}.mlp.w3", width, hidden)
        else:
            state |= v.linear(f"{name}.mlp.fc1", 4 * width, width)
            state |= v.linear(f"{name}.mlp.fc2", width, 4 * width)
        if scales:
            state |= {f"{name}.ls{n}.gamma": v(width, scale=0.3, centre=0.5) for n in (1, 2)}
    return state | v.norm("norm", width)


def prefixed(state: State, prefix: str) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def phenom_positions(side: int, width: int, channels: int) -> Tensor:
    fixed = sincos_positions(side, width).repeat(1, channels, 1)
    return torch.cat([torch.zeros(1, 1, width), fixed], dim=1)


def phenom_state(width: int = 64, heads: int = 2, side: int = 3, patch: int = 16) -> State:
    v = Values()
    state = {
        "cls_token": v(1, 1, width),
        "pos_embed": phenom_positions(side, width, channels=11),
        "patch_embed.proj.weight": v(width, 1, patch, patch, scale=1 / patch),
        "patch_embed.proj.bias": v(width, scale=0.3),
        **v.norm("fc_norm", width),
    }
    for i in range(2):
        name = f"blocks.{i}"
        state |= v.norm(f"{name}.in_norm", width)
        state |= v.linear(f"{name}.in_proj", 7 * width, width, bias=False)
        state[f"{name}.mlp_bias"] = v(4 * width, scale=0.3)
        state |= v.norm(f"{name}.q_norm", width // heads) | v.norm(f"{name}.k_norm", width // heads)
        state |= v.linear(f"{name}.attn_out_proj", width, width)
        state |= v.linear(f"{name}.mlp_out_proj", width, 4 * width)
        state[f"{name}.ls.gamma"] = v(width, scale=0.3, centre=0.5)
    return state


def phenom_file(state: State) -> State:
    """Return the encoder with the decoder, as the hub's model.safetensors has them."""
    v = Values(2)
    return {
        **prefixed(state, "encoder.vit_backbone."),
        **v.linear("encoder_decoder_proj", 32, 64), **v.linear("decoder_pred", 256, 32),
        "decoder.mask_token": v(1, 1, 32), "decoder.pos_embeddings": v(1, 55, 32),
        "decoder.modality_tokens.0": v(1, 1, 32),
        **v.linear("decoder.decoders.0.0.attn.qkv", 96, 32),
    }  # fmt: skip


def channelvit_file(state: State, channels: int, table: bool) -> State:
    embedding = Values(3)(channels, 64)
    if table:
        return {**state, "patch_embed.channel_embed.weight": embedding}
    return {**state, "patch_embed.channel_embed": embedding.T[None, :, :, None, None].clone()}


def subcell_file(channels: int = 4, dropout: bool = True) -> tuple[State, State]:
    """Return the weights under SubCell's names, and the pooling's as after training."""
    plain, v = vit_state(channels=channels), Values(4)
    state = {
        "embeddings.cls_token": plain["cls_token"],
        "embeddings.position_embeddings": plain["pos_embed"],
        "embeddings.patch_embeddings.projection.weight": plain["patch_embed.proj.weight"],
        "embeddings.patch_embeddings.projection.bias": plain["patch_embed.proj.bias"],
        "layernorm.weight": plain["norm.weight"],
        "layernorm.bias": plain["norm.bias"],
    }
    for i in range(2):
        new, old = f"encoder.layer.{i}", f"blocks.{i}"
        for kind in ("weight", "bias"):
            parts = plain[f"{old}.attn.qkv.{kind}"].chunk(3)
            for part, tensor in zip(("query", "key", "value"), parts, strict=True):
                state[f"{new}.attention.attention.{part}.{kind}"] = tensor.clone()
            for part, name in (
                ("attention.output.dense", "attn.proj"), ("intermediate.dense", "mlp.fc1"),
                ("output.dense", "mlp.fc2"), ("layernorm_before", "norm1"),
                ("layernorm_after", "norm2"),
            ):  # fmt: skip
                state[f"{new}.{part}.{kind}"] = plain[f"{old}.{name}.{kind}"]
    pooling = {
        **v.linear("attention_v.1", 16, 64), **v.linear("attention_u.1", 16, 64),
        **v.linear("attention", 2, 16),
    }  # fmt: skip
    return state, pooling


def images(channels: int, size: int, n: int = 2) -> Tensor:
    return torch.randn(n, channels, size, size, generator=torch.Generator().manual_seed(9))


def save(content: Any, path: Path) -> Path:
    """Write a file, of the kind that its name says."""
    if path.suffix == ".safetensors":
        save_file({n: t.contiguous() for n, t in content.items()}, path)
    else:
        torch.save(content, path)
    return path


def card_for(path: Path, size: int | None = None, **changes: Any) -> FileCard:
    """Return the card that a file's own layout suggests, at another image size if wanted."""
    found = convert(read_checkpoint(path), changes.get("layout", "auto"), changes.get("state_key"))
    network = found.network
    values: dict[str, Any] = {
        "source": "file", "name": "x", "weights": path, "layout": found.layout,
        "architecture": network.architecture, "arguments": dict(network.arguments),
        "slots": [{"name": name} for name in found.slots],
        "input_size": size or network.image_size, "outputs": OUTPUTS,
    }  # fmt: skip
    return FileCard(**{**values, **changes})


def embeddings(card: FileCard, x: Tensor, filled: list[int] | None = None) -> dict[str, Tensor]:
    """Return what the backbone of a card gives out, by output."""
    from transferscope.backbones.networks import build_backbone

    backbone = build_backbone(card, Path("x.yaml"))
    with torch.inference_mode():
        found = backbone(x, filled)
    return {o.name: v for o, v in zip(card.outputs, found, strict=True)}


def assert_tokens(
    found: dict[str, Tensor], tokens: Tensor, prefix: int = 1, first: Tensor | None = None
) -> None:
    """Compare class token and patch mean with those of reference tokens, to 1e-5."""
    torch.testing.assert_close(found["cls"], tokens[:, 0], rtol=1e-5, atol=1e-5)
    mean = tokens[:, prefix:].mean(dim=1)
    torch.testing.assert_close(found["mean"], mean, rtol=1e-5, atol=1e-5)
    if first is not None:
        torch.testing.assert_close(found["first"], first, rtol=1e-5, atol=1e-5)
