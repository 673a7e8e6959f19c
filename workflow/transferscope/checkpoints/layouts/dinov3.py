"""DINOv3: rotary position codes, storage tokens, and queries and values with a bias.

Simeoni et al., 2025, arXiv 2508.10104. timm has the network, under names of its EVA family.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from transferscope.checkpoints.layouts.base import (
    PATCH_WEIGHT,
    Converted,
    Layout,
    Network,
    converted,
    encoder_state,
)
from transferscope.checkpoints.layouts.vit import mlp_argument, patch_shape, sizes_of, vit
from transferscope.checkpoints.location import NetworkWeights
from transferscope.errors import Problem, UserError

STORAGE = "storage_tokens"
PERIODS = "rope_embed.periods"
# Base of the rotary periods, in the networks that were published and in timm.
ROTARY_BASE = 100.0
PERIOD_TOLERANCE = 0.01  # periods may be stored in bf16, which has three digits
RENAMED = {
    "storage_tokens": "reg_token",
    ".ls1.gamma": ".gamma_1",
    ".ls2.gamma": ".gamma_2",
    ".mlp.w1.": ".mlp.fc1_g.",
    ".mlp.w2.": ".mlp.fc1_x.",
    ".mlp.w3.": ".mlp.fc2.",
}
# (features, blocks, gated feed-forward) -> timm's size.
SIZES = {
    (384, 12, False): "small",
    (384, 12, True): "small_plus",
    (768, 12, False): "base",
    (1024, 24, False): "large",
    (1280, 32, True): "huge_plus",
    (4096, 40, True): "7b",
}
LEFTOVERS = {
    r"rope_embed\.": "rotary periods, which follow from the size",
    r"blocks\.\d+\.attn\.qkv\.bias_mask": "mask of the key bias",
    r"local_cls_norm\.": "norm of local crops, for training alone",
}


def _recognises(located: NetworkWeights) -> bool:
    return not {STORAGE, PERIODS}.isdisjoint(located.tensors)


def _convert(located: NetworkWeights) -> Converted:
    own = encoder_state(located)
    state = _renamed(own, located.prefix)
    used = [name for name in own if not name.endswith(".bias_mask")]
    network = _network(state, located)
    known = PERIODS in located.tensors
    return converted(
        "dinov3", located, state, network, "size", used, leftovers=LEFTOVERS, knows_heads=known
    )


def _renamed(own: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for name, tensor in own.items():
        if name.endswith(".bias_mask"):
            continue
        if name.endswith("attn.qkv.bias"):
            start = name.removesuffix("qkv.bias")
            queries, values = _query_and_value_bias(tensor, own.get(f"{name}_mask"), prefix + name)
            state[f"{start}q_bias"], state[f"{start}v_bias"] = queries, values
            continue
        for old, new in RENAMED.items():
            name = name.replace(old, new)
        state[name] = tensor
    return state


def _query_and_value_bias(bias: Tensor, mask: Tensor | None, path: str) -> tuple[Tensor, Tensor]:
    """Return two of the three parts; the keys' has to be masked out, as timm has none."""
    masked = bias if mask is None else torch.where(mask == 0, 0.0, bias.float())
    queries, keys, values = masked.float().chunk(3)
    if keys.any():
        what = "biases the keys, which no published network of the family does"
        raise UserError(Problem(path, what, "This network cannot be used."))
    return queries, values


def _network(state: dict[str, Tensor], located: NetworkWeights) -> Network:
    sizes = sizes_of(state)
    width, gated = sizes["embed_dim"], "blocks.0.mlp.fc1_g.weight" in state
    patch = patch_shape(state[PATCH_WEIGHT])[2]
    size = SIZES.get((width, sizes["depth"], gated))
    heads = _heads(located, width, sizes["num_heads"])
    arguments: dict[str, Any] = {}
    if size is None:
        hidden = state["blocks.0.mlp.fc2.weight"].shape[1]
        arguments = {**sizes, "num_heads": heads, **mlp_argument(width, hidden)}
    if "blocks.0.attn.q_bias" in state:
        arguments["qkv_bias"] = True
    if patch != 16:
        arguments["patch_size"] = patch
    registers = state["reg_token"].shape[1] if "reg_token" in state else 0
    if registers != 4:
        arguments["num_reg_tokens"] = registers
    architecture = f"vit_{size or ('small_plus' if gated else 'small')}_patch16_dinov3"
    return vit(architecture, arguments, state, has_positions=False)


def _heads(located: NetworkWeights, width: int, usual: int) -> int:
    """Return the number of heads, from the rotary periods where the file has them."""
    periods = located.tensors.get(PERIODS)
    if periods is None:
        return usual
    n = len(periods)
    expected = ROTARY_BASE ** (torch.arange(n, dtype=torch.float64) / n)
    if not torch.allclose(periods.double(), expected, rtol=PERIOD_TOLERANCE, atol=0):
        what = f"the rotary periods are not those of base {ROTARY_BASE:g}"
        fix = "Published networks of the family use that base; this one cannot be used."
        raise UserError(Problem(located.prefix + PERIODS, what, fix))
    return width // (4 * n)


LAYOUTS = (Layout("dinov3", _recognises, _convert),)
