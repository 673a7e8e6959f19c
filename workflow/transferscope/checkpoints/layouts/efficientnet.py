"""EfficientNet-Lite as converted from TensorFlow to PyTorch: one list of `_blocks`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from torch import Tensor

from transferscope.checkpoints.layouts.base import (
    MAP_OUTPUTS,
    Converted,
    Layout,
    Network,
    converted,
)
from transferscope.checkpoints.location import NetworkWeights

ANCHOR = "_conv_stem.weight"
# Number of blocks, and features of the last one -> timm's network.
SIZES = {
    (16, 320): "tf_efficientnet_lite0",
    (21, 320): "tf_efficientnet_lite1",
    (21, 352): "tf_efficientnet_lite2",
    (24, 384): "tf_efficientnet_lite3",
    (30, 448): "tf_efficientnet_lite4",
}
# Images were scaled to -1 to 1.
NORMALIZATION = {"intensity": "range", "kind": "mean-std", "mean": [0.5], "std": [0.5]}
OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
# Parts of a block, with a convolution that widens it or without.
WIDENED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
IN_BLOCK = re.compile(r"_blocks\.(\d+)\.(\w+)\.(\w+)")


def _is_lite(located: NetworkWeights) -> bool:
    names = located.tensors
    return "_blocks.0._project_conv.weight" in names and not any("._se_" in n for n in names)


def _convert(located: NetworkWeights) -> Converted:
    tensors = located.tensors
    widths = _widths(tensors)
    if (len(widths), widths[-1]) not in SIZES:
        raise ValueError(f"{len(widths)} blocks, the last with {widths[-1]} features, are no Lite")
    names = dict(_new_names(tensors, widths))
    network = Network(
        architecture=SIZES[len(widths), widths[-1]],
        arguments={},
        channels=tensors[ANCHOR].shape[1],
        embed_dim=tensors["_conv_head.weight"].shape[0],
        depth=len(widths),
    )
    return converted(
        "efficientnet-lite",
        located,
        {new: tensors[old] for old, new in names.items()},
        network,
        "antialiased",
        consumed=names,
        normalization=NORMALIZATION,
        outputs=MAP_OUTPUTS,
        leftovers={r"_fc\.": "classification head"},
    )


def _widths(tensors: Mapping[str, Tensor]) -> list[int]:
    """Return the number of features after each block."""
    blocks = {int(found[1]) for name in tensors if (found := IN_BLOCK.fullmatch(name))}
    return [
        tensors[f"_blocks.{block}._project_conv.weight"].shape[0] for block in range(len(blocks))
    ]


def _new_names(tensors: Mapping[str, Tensor], widths: list[int]) -> Iterator[tuple[str, str]]:
    """Yield the name in the file and timm's, where each stage is a list of its own.

    The blocks of a stage have as many features; those of two stages never have.
    """
    starts = [b for b, width in enumerate(widths) if b == 0 or width != widths[b - 1]]
    for name in tensors:
        module, _, kind = name.partition(".")
        if module in OUTSIDE:
            yield name, f"{OUTSIDE[module]}.{kind}"
        elif found := IN_BLOCK.fullmatch(name):
            block, part, kind = int(found[1]), found[2], found[3]
            stage = sum(start <= block for start in starts) - 1
            is_widened = f"_blocks.{block}._expand_conv.weight" in tensors
            parts = WIDENED if is_widened else PLAIN
            yield name, f"blocks.{stage}.{block - starts[stage]}.{parts[part]}.{kind}"


LAYOUTS = (Layout("efficientnet-lite", _is_lite, _convert, ANCHOR),)
