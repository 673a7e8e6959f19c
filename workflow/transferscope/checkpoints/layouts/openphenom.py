"""OpenPhenom and its like: channel-agnostic masked autoencoders for microscopy.

Kraus et al., CVPR 2024, arXiv 2404.10242. One patch projection for every channel; the tokens of all
channels together; the same position codes for each channel.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from transferscope.cards import LayoutName
from transferscope.checkpoints.layouts.base import (
    PATCH_WEIGHT,
    SELF_STANDARDISED,
    Converted,
    Network,
    encoder_state,
)
from transferscope.checkpoints.layouts.vit import depth_of, mlp_ratio, patch_shape
from transferscope.checkpoints.location import NetworkWeights
from transferscope.checkpoints.positions import PositionRule, grid_side, sincos_positions
from transferscope.checkpoints.reading import Checkpoint

PARALLEL = "blocks.0.in_proj.weight"
POSITION_TOLERANCE = 1e-4
LEFTOVERS = {r"encoder_decoder_proj\.": "decoder"}
REMARK = (
    "the weights take any channels at once: use the strategy `agnostic`; the one slot serves "
    "`replicate`, which embeds each channel by itself"
)


class OpenPhenom:
    """The encoder of a channel-agnostic masked autoencoder."""

    name: ClassVar[LayoutName] = "openphenom"
    anchor: ClassVar[str] = PATCH_WEIGHT

    def recognises(self, located: NetworkWeights, checkpoint: Checkpoint) -> bool:
        """Tell whether these are a channel-agnostic encoder's weights."""
        names = located.tensors
        return PARALLEL in names and "pos_embed" in names and names[PATCH_WEIGHT].shape[1] == 1

    def convert(self, located: NetworkWeights) -> Converted:
        """Return the weights, with the position codes of one channel."""
        own = encoder_state(located.tensors)
        positions, rule = _of_one_channel(own["pos_embed"])
        state = {**own, "pos_embed": positions}
        return Converted(
            layout=self.name,
            located=located,
            state=state,
            consumed=frozenset(own),
            network=_network(state),
            positions=rule,
            slots=("any",),
            normalization=SELF_STANDARDISED,
            # The published embedding is the mean of the patch tokens, before the last norm.
            outputs={"mean": "mean", "cls": "cls"},
            leftovers=LEFTOVERS,
            remarks=(REMARK,),
        )


def _of_one_channel(positions: Tensor) -> tuple[Tensor, PositionRule]:
    """Return class and patch positions [1, 1 + P, D] of one channel, and how they resample."""
    patches = positions[:, 1:]
    total = patches.shape[1]
    channels = next(n for n in range(total, 0, -1) if _repeats(patches, n))
    one = patches[:, : total // channels]
    side = math.isqrt(one.shape[1])
    fixed = torch.allclose(
        one.float(), sincos_positions(side, one.shape[2]), atol=POSITION_TOLERANCE
    )
    return torch.cat([positions[:, :1], one], dim=1), "sin-cos" if fixed else "size"


def _repeats(patches: Tensor, channels: int) -> bool:
    """Tell whether positions are those of one square grid, once for each channel."""
    each, rest = divmod(patches.shape[1], channels)
    if rest or math.isqrt(each) ** 2 != each:
        return False
    grids = patches.reshape(1, channels, each, -1)
    return bool((grids == grids[:, :1]).all())


def _network(state: dict[str, Tensor]) -> Network:
    width, _, patch = patch_shape(state[PATCH_WEIGHT])
    depth = depth_of(state)
    arguments: dict[str, Any] = {
        "embed_dim": width,
        "depth": depth,
        # Queries and keys are normalised a head, so that the weights tell how wide one is.
        "num_heads": width // state["blocks.0.q_norm.weight"].shape[0],
        "patch_size": patch,
    }
    hidden = state["blocks.0.mlp_out_proj.weight"].shape[1]
    if hidden != 4 * width:
        arguments["mlp_ratio"] = mlp_ratio(width, hidden)
    return Network(
        architecture="channel_agnostic_vit",
        arguments=arguments,
        channels=1,
        embed_dim=width,
        depth=depth,
        patch_size=patch,
        image_size=grid_side(state["pos_embed"], 1) * patch,
    )


LAYOUTS = (OpenPhenom(),)
