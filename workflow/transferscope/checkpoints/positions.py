"""Position embeddings at another image size, as each family of networks resamples its own."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor
from torch.nn import functional

# scale-factor: bicubic by (n + 0.1) / m, without antialiasing. DINO, DINOv2 without registers and
#   what is built on them. The 0.1 kept a rounding error of old PyTorch versions from losing a row,
#   and moves every sampling point a little, so that a plain bicubic resize differs from it by far
#   more than rounding (timm's, which is antialiased, too: by 1e-2 of the values and more).
# scale-factor-always: the same, even where n = m, which moves the sampling points alone. ChannelViT
#   with more channels than one: its code compares the number of all tokens with that of positions.
# size: bicubic to n x n, without antialiasing. MAE, and the ViTs of transformers.
# antialiased: bicubic to n x n, antialiased. timm, and DINOv2 with registers.
# sin-cos: fixed, computed anew for the grid. Channel-agnostic MAE.
PositionRule = Literal["scale-factor", "scale-factor-always", "size", "antialiased", "sin-cos"]
SCALE_OFFSET = 0.1
SINCOS_BASE = 10000.0


class GridError(ValueError):
    """Position embeddings are not those of a square grid of patches."""


def resample_positions(positions: Tensor, side: int, prefix: int, rule: PositionRule) -> Tensor:
    """Return position embeddings for another grid of patches.

    Parameters
    ----------
    positions
        [1, prefix + m * m, D], of a square grid.
    side
        Patches along one side of the new grid, n.
    prefix
        How many positions at the start belong to class or register tokens; they stay as they are.
    rule
        How the family of the network does it.

    Returns
    -------
    Tensor
        [1, prefix + n * n, D] float32; `positions` itself where n = m, except under the
        rule that always resamples.
    """
    old = grid_side(positions, prefix)
    if old == side and rule != "scale-factor-always":
        return positions
    fixed, patches = positions[:, :prefix].float(), positions[:, prefix:].float()
    if rule == "sin-cos":
        return torch.cat([fixed, sincos_positions(side, positions.shape[-1])], dim=1)
    if rule == "antialiased":
        resampled: Tensor = resample_abs_pos_embed(
            positions.float(), new_size=[side, side], num_prefix_tokens=prefix
        )
        return resampled
    image = patches.reshape(1, old, old, -1).permute(0, 3, 1, 2)
    sized: dict[str, Any] = {"size": (side, side)}
    if rule != "size":
        sized = {"scale_factor": (side + SCALE_OFFSET) / old}
    image = functional.interpolate(image, mode="bicubic", **sized)
    return torch.cat([fixed, image.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


def grid_side(positions: Tensor, prefix: int) -> int:
    """Return the patches along one side of the square grid of positions [1, prefix + m * m, D].

    Raises
    ------
    GridError
        Where the grid is not square.
    """
    patches = positions.shape[1] - prefix
    side = math.isqrt(max(patches, 0))
    if side * side != patches or side == 0:
        tokens = f", {prefix} of them of tokens without a place," if prefix else ""
        raise GridError(f"{positions.shape[1]} position embeddings{tokens} are no square grid")
    return side


def sincos_positions(side: int, width: int) -> Tensor:
    """Return fixed two-dimensional position codes [1, side * side, width] float32.

    A quarter of the features each is sin(row w), cos(row w), sin(column w), cos(column w), with
    w = 10000^(-i / (width / 4)) for i from 0, as channel-agnostic MAEs have it (Kraus et al.,
    CVPR 2024, arXiv 2404.10242).
    """
    quarter = width // 4
    frequencies = SINCOS_BASE ** -(torch.arange(quarter, dtype=torch.float32) / quarter)
    steps = torch.arange(side, dtype=torch.float32)
    rows = torch.outer(steps.repeat_interleave(side), frequencies)
    columns = torch.outer(steps.repeat(side), frequencies)
    return torch.cat([rows.sin(), rows.cos(), columns.sin(), columns.cos()], dim=1)[None]
