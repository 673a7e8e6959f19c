"""OpenPhenom and its like: channel-agnostic masked autoencoders for microscopy.

Kraus et al., CVPR 2024, arXiv 2404.10242. One patch projection for every channel; the tokens of all
channels together; the same position codes for each channel.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from transferscope.checkpoints.layouts.base import (
    PATCH_WEIGHT,
    SELF_STANDARDISED,
    Converted,
    Layout,
    Network,
    converted,
    encoder_state,
)
from transferscope.checkpoints.layouts.vit import mlp_argument, patch_shape, sizes_of, vit
from transferscope.checkpoints.location import NetworkWeights
from transferscope.checkpoints.positions import PositionRule, sincos_positions

PARALLEL = "blocks.0.in_proj.weight"
POSITION_TOLERANCE = 1e-4
LEFTOVERS = {r"encoder_decoder_proj\.": "decoder"}
REMARK = (
    "the weights take any channels at once: use the strategy `agnostic`; the one slot serves "
    "`replicate`, which embeds each channel by itself"
)


def _recognises(located: NetworkWeights) -> bool:
    names = located.tensors
    return PARALLEL in names and "pos_embed" in names and names[PATCH_WEIGHT].shape[1] == 1


def _convert(located: NetworkWeights) -> Converted:
    """Return the weights, with the position codes of one channel."""
    own = encoder_state(located)
    positions, rule = _of_one_channel(own["pos_embed"])
    state = {**own, "pos_embed": positions}
    return converted(
        "openphenom",
        located,
        state,
        _network(state),
        rule,
        slots=("any",),
        normalization=SELF_STANDARDISED,
        # The published embedding is the mean of the patch tokens, before the last norm.
        outputs={"mean": "mean", "cls": "cls"},
        leftovers=LEFTOVERS,
        remarks=(REMARK,),
        knows_heads=True,
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
    # Queries and keys are normalised per head, so that the weights tell how wide a head is.
    heads = width // state["blocks.0.q_norm.weight"].shape[0]
    hidden = state["blocks.0.mlp_out_proj.weight"].shape[1]
    sized = {**sizes_of(state), "num_heads": heads, "patch_size": patch}
    return vit("channel_agnostic_vit", {**sized, **mlp_argument(width, hidden)}, state)


LAYOUTS = (Layout("openphenom", _recognises, _convert),)
