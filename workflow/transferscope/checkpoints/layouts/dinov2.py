"""DINOv2, and Cell-DINO, which is DINOv2 on microscopy with other input channels.

Oquab et al., TMLR 2024, arXiv 2304.07193. Blocks may stand in chunks, as ``blocks.<chunk>.<block>``
with blocks numbered throughout; registers have no position embedding.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from torch import Tensor

from transferscope.cards import LayoutName
from transferscope.checkpoints.layouts.base import (
    PATCH_WEIGHT,
    Converted,
    Layout,
    Network,
    converted,
    encoder_state,
    has_rgb_input,
    microscopy,
)
from transferscope.checkpoints.layouts.vit import (
    is_gated,
    mlp_argument,
    mlp_ratio,
    patch_shape,
    plain_vit,
    sizes_of,
    vit,
)
from transferscope.checkpoints.location import NetworkWeights
from transferscope.checkpoints.positions import PositionRule

CHUNK = re.compile(r"^blocks\.\d+\.(?=\d+\.)")
REGISTERS = "register_tokens"
SCALE = "blocks.0.ls1.gamma"
PATCH = 14
# (features, blocks) -> size, for feed-forward networks with one and with two gates.
SIZES = {(384, 12): "small", (768, 12): "base", (1024, 24): "large"}
GATED_SIZES = {(1536, 40): "giant"}
ONE_CHANNEL = (
    "the weights take one channel at a time: with `replicate` every channel gets its own embedding"
)


def _is_dinov2(located: NetworkWeights) -> bool:
    names = located.tensors
    if not {"cls_token", "pos_embed", "norm.weight"} <= set(names) or names[PATCH_WEIGHT].ndim != 4:
        return False
    mask = names.get("mask_token")
    chunked = any(CHUNK.match(name) for name in names)
    return chunked or REGISTERS in names or (mask is not None and mask.ndim == 2)


def _convert(layout: LayoutName, located: NetworkWeights) -> Converted:
    own = encoder_state(located)
    state = _renamed(own)
    network = dinov2_network(state)
    suggested = microscopy(network.channels) if layout == "cell-dino" else {}
    if network.channels == 1:
        suggested["remarks"] = [ONE_CHANNEL]
    rule: PositionRule = "antialiased" if REGISTERS in own else "scale-factor"
    return converted(layout, located, state, network, rule, own, **suggested)


def _renamed(own: dict[str, Tensor]) -> dict[str, Tensor]:
    return without_class_position({_plain_name(name): tensor for name, tensor in own.items()})


def without_class_position(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights with registers under timm's name, where they have any.

    timm adds positions to the patches alone then, so that the class token carries its own.
    """
    if REGISTERS not in state:
        return state
    positions, tokens = state["pos_embed"], state["cls_token"]
    rest = {name: tensor for name, tensor in state.items() if name != REGISTERS}
    return {
        **rest,
        "reg_token": state[REGISTERS],
        "cls_token": tokens + positions[:, :1],
        "pos_embed": positions[:, 1:],
    }


def _plain_name(name: str) -> str:
    plain = CHUNK.sub("blocks.", name)
    return plain.replace(".mlp.w12.", ".mlp.fc1.").replace(".mlp.w3.", ".mlp.fc2.")


def dinov2_network(state: dict[str, Tensor]) -> Network:
    """Return timm's network for the weights of DINOv2 under timm's names."""
    if SCALE not in state:
        return plain_vit(state)
    patch = patch_shape(state[PATCH_WEIGHT])[2]
    registers = state["reg_token"].shape[1] if "reg_token" in state else 0
    architecture, arguments = _sized(state, "_reg4" if registers else "")
    if patch != PATCH:
        arguments["patch_size"] = patch
    if registers not in (0, 4):
        arguments["reg_tokens"] = registers
    return vit(architecture, arguments, state)


def _sized(state: dict[str, Tensor], registers: str) -> tuple[str, dict[str, Any]]:
    sizes = sizes_of(state)
    width, hidden = sizes["embed_dim"], state["blocks.0.mlp.fc1.weight"].shape[0]
    gated = is_gated(state)
    size = (GATED_SIZES if gated else SIZES).get((width, sizes["depth"]))
    name = f"vit_{size or ('giant' if gated else 'small')}_patch{PATCH}{registers}_dinov2"
    if size:
        return name, {}
    ratio = {"mlp_ratio": mlp_ratio(width, hidden)} if gated else mlp_argument(width, hidden)
    return name, {**sizes, **ratio}


LAYOUTS = (
    Layout("dinov2", lambda w: _is_dinov2(w) and has_rgb_input(w), partial(_convert, "dinov2")),
    Layout(
        "cell-dino",
        lambda w: _is_dinov2(w) and not has_rgb_input(w),
        partial(_convert, "cell-dino"),
    ),
)
