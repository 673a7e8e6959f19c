"""The image encoder of Segment Anything, and of Cellpose-SAM, which has smaller patches.

Kirillov et al., ICCV 2023, arXiv 2304.02643; Pachitariu et al., 2025, DOI
10.1101/2025.04.28.651001. Most blocks attend within windows; the tables of relative positions tell
which. Cellpose-SAM attends globally in every block and keeps SAM's tables, which its code
resamples to the grid in each pass.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor
from torch.nn import functional

from transferscope.cards import LayoutName
from transferscope.checkpoints.layouts.base import (
    PATCH_WEIGHT,
    Converted,
    Layout,
    Network,
    converted,
)
from transferscope.checkpoints.layouts.vit import BLOCK, patch_shape
from transferscope.checkpoints.location import NetworkWeights
from transferscope.checkpoints.positions import GridError

TABLE = "blocks.0.attn.rel_pos_h"
FEED_FORWARD = "blocks.0.mlp.lin1.weight"
# Cellpose keeps the encoder under this name, SAM under `image_encoder`.
CELLPOSE = "encoder"
WINDOW = 14
NORMALISED_BY_PERCENTILES = {"intensity": "tile", "percentiles": [1, 99], "kind": "none"}
LEFTOVERS = {
    r"(prompt_encoder|mask_decoder|pixel_mean|pixel_std)": "decoder of masks",
    r"(module\.)?(out\.|W2$|diam_labels$|diam_mean$)": "readout of masks",
}


def _recognises(located: NetworkWeights) -> bool:
    return {TABLE, FEED_FORWARD, "pos_embed"} <= set(located.tensors)


def _is_cellpose(located: NetworkWeights) -> bool:
    return _recognises(located) and located.prefix.split(".")[-2:] == [CELLPOSE, ""]


def _convert(layout: LayoutName, located: NetworkWeights) -> Converted:
    own = located.tensors
    state = {name.replace(".mlp.lin", ".mlp.fc"): tensor for name, tensor in own.items()}
    suggested: dict[str, Any] = {"outputs": {"mean": "mean"}, "leftovers": LEFTOVERS}
    everywhere = layout == "cellpose-sam"
    if everywhere:
        side = state["pos_embed"].shape[1]
        state = {n: _table(t, side) if ".rel_pos_" in n else t for n, t in state.items()}
        suggested["normalization"] = NORMALISED_BY_PERCENTILES
    network = _network(state, everywhere)
    return converted(layout, located, state, network, "size", frozenset(own), **suggested)


def _table(positions: Tensor, side: int) -> Tensor:
    """Return a table of relative positions [L, D] for a grid: [2 side - 1, D]."""
    if positions.shape[0] == 2 * side - 1:
        return positions
    rows = positions.float().T[None]
    return functional.interpolate(rows, size=2 * side - 1, mode="linear")[0].T.contiguous()


def _network(state: dict[str, Tensor], everywhere: bool) -> Network:
    width, channels, patch = patch_shape(state[PATCH_WEIGHT])
    side, other = state["pos_embed"].shape[1:3]
    if side != other:
        raise GridError(f"position embeddings of {side} x {other} patches are no square grid")
    depth = len({found[1] for name in state if (found := BLOCK.match(name))})
    of_window = 2 * WINDOW - 1
    tables = [state[f"blocks.{block}.attn.rel_pos_h"] for block in range(depth)]
    heads = width // tables[0].shape[1]
    arguments: dict[str, Any] = {"embed_dim": width, "depth": depth, "num_heads": heads}
    if everywhere:
        arguments["window_size"] = 0
    else:
        windows = [len(table) == of_window for table in tables]
        arguments["global_attn_indexes"] = [n for n, window in enumerate(windows) if not window]
    if patch != 16:
        arguments["patch_size"] = patch
    return Network(
        architecture="sam_vit",
        arguments=arguments,
        channels=channels,
        embed_dim=width,
        depth=depth,
        patch_size=patch,
        image_size=side * patch,
    )


LAYOUTS = (
    Layout("cellpose-sam", _is_cellpose, partial(_convert, "cellpose-sam")),
    Layout("sam", _recognises, partial(_convert, "sam")),
)
