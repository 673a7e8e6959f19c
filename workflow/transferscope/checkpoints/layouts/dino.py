"""DINO: the teacher of a training checkpoint, or its backbone alone.

Caron et al., ICCV 2021, arXiv 2104.14294; on fluorescence microscopy, with 3 to 5 input channels
and each image standardised by itself, Doron et al., 2023, DOI 10.1101/2023.06.16.545359. The names
within the network are timm's; position embeddings are resampled by DINO's own rule.
"""

from __future__ import annotations

from typing import Any

from transferscope.cards import LayoutName
from transferscope.checkpoints.layouts import resnet
from transferscope.checkpoints.layouts.base import (
    MAP_OUTPUTS,
    PATCH_WEIGHT,
    Converted,
    Layout,
    Network,
    converted,
    encoder_state,
    has_rgb_input,
    microscopy,
)
from transferscope.checkpoints.layouts.vit import plain_vit
from transferscope.checkpoints.location import AVERAGED, TRAINED, NetworkWeights

NEEDED = {"cls_token", "pos_embed", "blocks.0.attn.qkv.weight", "norm.weight"}
# Weights that a DINO transformer lacks: a head, a mask or a scale marks another family.
OTHER_FAMILIES = {
    "head.weight",
    "fc_norm.weight",
    "norm_pre.weight",
    "mask_token",
    "blocks.0.ls1.gamma",
    "blocks.0.attn.q_norm.weight",
}


def _is_vit(located: NetworkWeights) -> bool:
    names = located.tensors
    if located.format != "torch" or names[PATCH_WEIGHT].ndim != 4:
        return False
    return set(names) >= NEEDED and OTHER_FAMILIES.isdisjoint(names)


def _is_resnet(located: NetworkWeights) -> bool:
    if located.format != "torch" or not resnet.is_resnet(located.tensors):
        return False
    wrapped = (AVERAGED | TRAINED) & set(located.prefix.split("."))
    return bool(wrapped) or "fc.weight" not in located.tensors


def _converted(
    layout: LayoutName, located: NetworkWeights, network: Network, **more: Any
) -> Converted:
    return converted(layout, located, encoder_state(located), network, "scale-factor", **more)


def _convert_vit(located: NetworkWeights) -> Converted:
    return _converted("dino", located, plain_vit(located.tensors))


def _convert_microscopy(located: NetworkWeights) -> Converted:
    network = plain_vit(located.tensors)
    return _converted("dino4cells", located, network, **microscopy(network.channels))


def _convert_resnet(located: NetworkWeights) -> Converted:
    network = resnet.resnet(located.tensors)
    return _converted("dino", located, network, outputs=MAP_OUTPUTS)


LAYOUTS = (
    Layout("dino4cells", lambda w: _is_vit(w) and not has_rgb_input(w), _convert_microscopy),
    Layout("dino", lambda w: _is_vit(w) and has_rgb_input(w), _convert_vit),
    Layout("dino", _is_resnet, _convert_resnet, resnet.ANCHOR),
)
