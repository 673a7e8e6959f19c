"""What the weights of a plain vision transformer say about its size."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import timm
from torch import Tensor

from transferscope.checkpoints.layouts.base import PATCH_WEIGHT, Network
from transferscope.checkpoints.positions import grid_side

BLOCK = re.compile(r"blocks\.(\d+)\.")
# (features, blocks) -> (name of the size, heads), as Dosovitskiy et al. and Touvron et al. have it.
SIZES = {
    (192, 12): ("tiny", 3),
    (384, 12): ("small", 6),
    (768, 12): ("base", 12),
    (1024, 24): ("large", 16),
    (1280, 32): ("huge", 16),
}
# Features a head, where the size is none of the usual: heads cannot be read off the weights.
HEAD_WIDTH = 64
MLP_RATIO = 4


def depth_of(tensors: Mapping[str, Tensor]) -> int:
    """Return the number of blocks."""
    return len({m.group(1) for name in tensors if (m := BLOCK.match(name))})


def heads_of(width: int) -> int:
    """Return the usual number of attention heads for a number of features."""
    return max(1, round(width / HEAD_WIDTH))


def mlp_ratio(width: int, hidden: int) -> float:
    """Return the ratio from which timm computes the hidden width, by truncation."""
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else (hidden + 0.5) / width


def plain_vit(tensors: Mapping[str, Tensor]) -> Network:
    """Return timm's network for the weights of a plain vision transformer.

    Parameters
    ----------
    tensors
        Weights under timm's names.
    """
    width, channels, patch = patch_shape(tensors[PATCH_WEIGHT])
    depth = depth_of(tensors)
    arguments = _variant(tensors, width)
    architecture, sized = _sized(width, depth, patch)
    return Network(
        architecture=architecture,
        arguments={**sized, **arguments},
        channels=channels,
        embed_dim=width,
        depth=depth,
        patch_size=patch,
        image_size=grid_side(tensors["pos_embed"], position_prefix(tensors)) * patch,
    )


def own_vit(
    architecture: str, state: Mapping[str, Tensor], channels: int, **arguments: Any
) -> Network:
    """Return the network of an architecture that timm lacks, a transformer with a class token.

    Parameters
    ----------
    architecture
        Its name.
    state
        Its weights, under the names of the network.
    channels
        Input channels.
    arguments
        What else the architecture has to be told.
    """
    width, _, patch = patch_shape(state[PATCH_WEIGHT])
    depth, hidden = depth_of(state), state["blocks.0.mlp.fc1.weight"].shape[0]
    sized: dict[str, Any] = {
        "embed_dim": width,
        "depth": depth,
        "num_heads": heads_of(width),
        "patch_size": patch,
    }
    if hidden != MLP_RATIO * width:
        sized["mlp_ratio"] = mlp_ratio(width, hidden)
    return Network(
        architecture=architecture,
        arguments={**sized, **arguments},
        channels=channels,
        embed_dim=width,
        depth=depth,
        patch_size=patch,
        image_size=grid_side(state["pos_embed"], 1) * patch,
    )


def position_prefix(tensors: Mapping[str, Tensor]) -> int:
    """Return how many position embeddings belong to class and register tokens.

    With registers timm's networks have either none or one for each of these tokens; only one of
    the two leaves a square grid.
    """
    tokens = sum(tensors[name].shape[1] for name in ("cls_token", "reg_token") if name in tensors)
    patches = tensors["pos_embed"].shape[1]
    return 0 if math.isqrt(patches) ** 2 == patches else tokens


def patch_shape(weight: Tensor) -> tuple[int, int, int]:
    """Return features, input channels and patch size of a patch projection's weight."""
    return weight.shape[0], weight.shape[1], weight.shape[-1]


def _sized(width: int, depth: int, patch: int) -> tuple[str, dict[str, Any]]:
    """Return the name of the size, and what else timm has to be told."""
    if (width, depth) not in SIZES:
        arguments = {"embed_dim": width, "depth": depth, "num_heads": heads_of(width)}
        return "vit_small_patch16_224", {**arguments, **_patch_argument(patch, 16)}
    size = SIZES[width, depth][0]
    if timm.is_model(name := f"vit_{size}_patch{patch}_224"):
        return name, {}
    usual = 14 if size == "huge" else 16
    return f"vit_{size}_patch{usual}_224", _patch_argument(patch, usual)


def _patch_argument(patch: int, usual: int) -> dict[str, int]:
    return {} if patch == usual else {"patch_size": patch}


def _variant(tensors: Mapping[str, Tensor], width: int) -> dict[str, Any]:
    """Return what sets these weights apart from the plainest transformer."""
    arguments: dict[str, Any] = {}
    hidden = tensors["blocks.0.mlp.fc1.weight"].shape[0]
    if hidden != MLP_RATIO * width:
        arguments["mlp_ratio"] = mlp_ratio(width, hidden)
    if "blocks.0.attn.qkv.bias" not in tensors:
        arguments["qkv_bias"] = False
    if "blocks.0.ls1.gamma" in tensors:
        arguments["init_values"] = 1e-5
    if "norm_pre.weight" in tensors:
        arguments["pre_norm"] = True
    if "reg_token" in tensors:
        arguments["reg_tokens"] = tensors["reg_token"].shape[1]
        arguments["no_embed_class"] = position_prefix(tensors) == 0
    if "fc_norm.weight" in tensors:
        arguments["global_pool"] = "avg"
    elif "cls_token" not in tensors:
        arguments.update({"class_token": False, "global_pool": "avg", "fc_norm": False})
    return arguments
