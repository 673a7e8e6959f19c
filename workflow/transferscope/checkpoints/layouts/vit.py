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
# (features, blocks) -> name of the size, as in Dosovitskiy et al. and Touvron et al.
SIZES = {
    (192, 12): "tiny",
    (384, 12): "small",
    (768, 12): "base",
    (1024, 24): "large",
    (1280, 32): "huge",
}
# Features per head, where the size is unusual: heads cannot be read off the weights.
HEAD_WIDTH = 64
MLP_RATIO = 4
# timm's only gated transformer: (features, blocks, both halves of the feed-forward network).
GATED, GATED_PATCH = (1536, 40, 8192), 14
# Features -> heads of gated transformers whose heads are wider than usual (Virchow, Virchow2).
GATED_HEADS = {1280: 16}


def sizes_of(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Return `embed_dim`, `depth` and the usual `num_heads` of a transformer's weights."""
    width = patch_shape(state[PATCH_WEIGHT])[0]
    depth = len({m[1] for name in state if (m := BLOCK.match(name))})
    return {"embed_dim": width, "depth": depth, "num_heads": max(1, round(width / HEAD_WIDTH))}


def mlp_argument(width: int, hidden: int) -> dict[str, float]:
    """Return the argument for the hidden width; nothing where it is the usual one."""
    return {} if hidden == MLP_RATIO * width else {"mlp_ratio": mlp_ratio(width, hidden)}


def mlp_ratio(width: int, hidden: int) -> float:
    """Return the ratio from which timm computes the hidden width, by truncation."""
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else (hidden + 0.5) / width


def vit(
    architecture: str,
    arguments: Mapping[str, Any],
    state: Mapping[str, Tensor],
    channels: int | None = None,
    has_positions: bool = True,
) -> Network:
    """Return the network of an architecture, with the sizes that its weights show.

    Parameters
    ----------
    architecture, arguments
        For the card.
    state
        Weights under the names of the network.
    channels
        Input channels; None: those of the patch projection.
    has_positions
        Whether it has position embeddings, which fix the image size.
    """
    _, projected, patch = patch_shape(state[PATCH_WEIGHT])
    sizes, side = sizes_of(state), None
    if has_positions:
        side = grid_side(state["pos_embed"], position_prefix(state)) * patch
    return Network(
        architecture=architecture,
        arguments=arguments,
        channels=channels or projected,
        embed_dim=sizes["embed_dim"],
        depth=sizes["depth"],
        patch_size=patch,
        image_size=side,
    )


def plain_vit(tensors: Mapping[str, Tensor]) -> Network:
    """Return timm's network for the weights of a plain vision transformer, under timm's names."""
    if is_gated(tensors):
        return _gated_vit(tensors)
    architecture, sized = _sized(tensors)
    return vit(architecture, {**sized, **_variant(tensors)}, tensors)


def is_gated(tensors: Mapping[str, Tensor]) -> bool:
    """Tell whether feed-forward networks compute two halves, one of which gates the other."""
    hidden = tensors["blocks.0.mlp.fc1.weight"].shape[0]
    return tensors["blocks.0.mlp.fc2.weight"].shape[1] != hidden


def _gated_vit(tensors: Mapping[str, Tensor]) -> Network:
    """Return timm's gated transformer, which is DINOv2's largest, at the size of the weights."""
    hidden, width = tensors["blocks.0.mlp.fc1.weight"].shape
    sizes, patch = sizes_of(tensors), patch_shape(tensors[PATCH_WEIGHT])[2]
    registers = tensors["reg_token"].shape[1] if "reg_token" in tensors else 0
    sizes["num_heads"] = GATED_HEADS.get(width, sizes["num_heads"])
    arguments: dict[str, Any] = {}
    if (width, sizes["depth"], hidden) != GATED:
        arguments = {**sizes, "mlp_ratio": mlp_ratio(width, hidden)}
    if registers not in (0, 4):
        arguments["reg_tokens"] = registers
    if registers and position_prefix(tensors):
        arguments["no_embed_class"] = False
    if patch != GATED_PATCH:
        arguments["patch_size"] = patch
    if "blocks.0.ls1.gamma" not in tensors:
        arguments["init_values"] = None
    return vit(f"vit_giant_patch14{'_reg4' if registers else ''}_dinov2", arguments, tensors)


def own_vit(
    architecture: str, state: Mapping[str, Tensor], channels: int | None = None, **arguments: Any
) -> Network:
    """Return the network of an architecture that timm lacks, a transformer with a class token.

    Parameters
    ----------
    architecture, state, channels
        As in `vit`.
    arguments
        Further arguments of the architecture.
    """
    width, _, patch = patch_shape(state[PATCH_WEIGHT])
    hidden = state["blocks.0.mlp.fc1.weight"].shape[0]
    sized = {**sizes_of(state), "patch_size": patch, **mlp_argument(width, hidden)}
    return vit(architecture, {**sized, **arguments}, state, channels)


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


def _sized(tensors: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]]:
    """Return the name of the size, and the further arguments that timm needs."""
    sizes, patch = sizes_of(tensors), patch_shape(tensors[PATCH_WEIGHT])[2]
    size = SIZES.get((sizes["embed_dim"], sizes["depth"]))
    if size and timm.is_model(name := f"vit_{size}_patch{patch}_224"):
        return name, {}
    usual = 14 if size == "huge" else 16
    arguments = {} if size else sizes
    if patch != usual:
        arguments = {**arguments, "patch_size": patch}
    return f"vit_{size or 'small'}_patch{usual}_224", arguments


def _variant(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return what sets these weights apart from the plainest transformer."""
    hidden, width = tensors["blocks.0.mlp.fc1.weight"].shape
    arguments: dict[str, Any] = {**mlp_argument(width, hidden)}
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
