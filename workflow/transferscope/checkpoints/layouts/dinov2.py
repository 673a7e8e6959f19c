"""DINOv2, and Cell-DINO, which is DINOv2 on microscopy with other input channels.

Oquab et al., TMLR 2024, arXiv 2304.07193. Blocks may stand in chunks, as ``blocks.<chunk>.<block>``
with blocks counted through; registers have no position embedding.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from torch import Tensor

from transferscope.cards import LayoutName
from transferscope.checkpoints.layouts.base import (
    PATCH_WEIGHT,
    SELF_STANDARDISED,
    Converted,
    Network,
    encoder_state,
    usual_normalization,
)
from transferscope.checkpoints.layouts.dino import (
    TOKEN_OUTPUTS,
    microscopy_remarks,
    microscopy_slots,
    rgb,
)
from transferscope.checkpoints.layouts.vit import (
    depth_of,
    heads_of,
    mlp_ratio,
    patch_shape,
    plain_vit,
    position_prefix,
)
from transferscope.checkpoints.location import NetworkWeights
from transferscope.checkpoints.positions import grid_side
from transferscope.checkpoints.reading import Checkpoint

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


class DinoV2:
    """Three input channels."""

    name: ClassVar[LayoutName] = "dinov2"
    anchor: ClassVar[str] = PATCH_WEIGHT

    def recognises(self, located: NetworkWeights, checkpoint: Checkpoint) -> bool:
        """Tell whether these are DINOv2 weights."""
        return _is_dinov2(located) and located.tensors[PATCH_WEIGHT].shape[1] == 3

    def convert(self, located: NetworkWeights) -> Converted:
        """Return the weights under timm's names."""
        return _converted(located, self.name)


class CellDino:
    """Any other number of input channels, each image self-standardised."""

    name: ClassVar[LayoutName] = "cell-dino"
    anchor: ClassVar[str] = PATCH_WEIGHT

    def recognises(self, located: NetworkWeights, checkpoint: Checkpoint) -> bool:
        """Tell whether these are DINOv2 weights for microscopy."""
        return _is_dinov2(located) and located.tensors[PATCH_WEIGHT].shape[1] != 3

    def convert(self, located: NetworkWeights) -> Converted:
        """Return the weights under timm's names."""
        return _converted(located, self.name)


def _is_dinov2(located: NetworkWeights) -> bool:
    names = located.tensors
    if not {"cls_token", "pos_embed", "norm.weight"} <= set(names) or names[PATCH_WEIGHT].ndim != 4:
        return False
    mask = names.get("mask_token")
    chunked = any(CHUNK.match(name) for name in names)
    return chunked or REGISTERS in names or (mask is not None and mask.ndim == 2)


def _converted(located: NetworkWeights, layout: LayoutName) -> Converted:
    own = encoder_state(located.tensors)
    state = _renamed(own)
    channels = state[PATCH_WEIGHT].shape[1]
    cell = layout == "cell-dino"
    remarks = [] if not cell else microscopy_remarks(channels)
    return Converted(
        layout=layout,
        located=located,
        state=state,
        consumed=frozenset(own),
        network=_network(state),
        positions="antialiased" if REGISTERS in own else "scale-factor",
        slots=microscopy_slots(channels) if cell else rgb(channels),
        normalization=SELF_STANDARDISED if cell else usual_normalization(channels),
        outputs=TOKEN_OUTPUTS,
        remarks=[ONE_CHANNEL] if channels == 1 else remarks,
    )


def _renamed(own: dict[str, Tensor]) -> dict[str, Tensor]:
    state = {_plain_name(name): tensor for name, tensor in own.items()}
    if REGISTERS in state:
        # timm adds positions to the patches alone, so that the class token carries its own.
        positions = state["pos_embed"]
        state["reg_token"] = state.pop(REGISTERS)
        state["cls_token"] = state["cls_token"] + positions[:, :1]
        state["pos_embed"] = positions[:, 1:]
    return state


def _plain_name(name: str) -> str:
    plain = CHUNK.sub("blocks.", name)
    return plain.replace(".mlp.w12.", ".mlp.fc1.").replace(".mlp.w3.", ".mlp.fc2.")


def _network(state: dict[str, Tensor]) -> Network:
    if SCALE not in state:
        return plain_vit(state)
    width, channels, patch = patch_shape(state[PATCH_WEIGHT])
    depth = depth_of(state)
    registers = state["reg_token"].shape[1] if "reg_token" in state else 0
    architecture, arguments = _sized(state, width, depth, "_reg4" if registers else "")
    if patch != PATCH:
        arguments["patch_size"] = patch
    if registers not in (0, 4):
        arguments["reg_tokens"] = registers
    return Network(
        architecture=architecture,
        arguments=arguments,
        channels=channels,
        embed_dim=width,
        depth=depth,
        patch_size=patch,
        image_size=grid_side(state["pos_embed"], position_prefix(state)) * patch,
    )


def _sized(
    state: dict[str, Tensor], width: int, depth: int, registers: str
) -> tuple[str, dict[str, Any]]:
    hidden = state["blocks.0.mlp.fc1.weight"].shape[0]
    # A gated network computes two halves in one product, of which one gates the other.
    gated = state["blocks.0.mlp.fc2.weight"].shape[1] != hidden
    size = (GATED_SIZES if gated else SIZES).get((width, depth))
    name = f"vit_{size or ('giant' if gated else 'small')}_patch{PATCH}{registers}_dinov2"
    if size:
        return name, {}
    arguments: dict[str, Any] = {
        "embed_dim": width,
        "depth": depth,
        "num_heads": heads_of(width),
    }
    if gated or hidden != 4 * width:
        arguments["mlp_ratio"] = mlp_ratio(width, hidden)
    return name, arguments


LAYOUTS = (DinoV2(), CellDino())
