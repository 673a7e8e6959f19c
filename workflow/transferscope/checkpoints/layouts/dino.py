"""DINO: the teacher of a training checkpoint, or its backbone alone.

Caron et al., ICCV 2021, arXiv 2104.14294. The names within the network are timm's; position
embeddings are resampled in a way of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from transferscope.cards import LayoutName
from transferscope.checkpoints.layouts import resnet
from transferscope.checkpoints.layouts.base import (
    HPA_SLOTS,
    PATCH_WEIGHT,
    RGB_SLOTS,
    SELF_STANDARDISED,
    Converted,
    Network,
    encoder_state,
    numbered_slots,
    usual_normalization,
)
from transferscope.checkpoints.layouts.vit import plain_vit
from transferscope.checkpoints.location import AVERAGED, TRAINED, NetworkWeights
from transferscope.checkpoints.reading import Checkpoint

TOKEN_OUTPUTS = {"cls": "cls", "mean": "mean"}
MAP_OUTPUTS = {"pool": "pool"}
# Patterns of names that a network of the family has; a head, a mask or a scale is another family.
OTHER_FAMILIES = (
    "head.weight",
    "fc_norm.weight",
    "norm_pre.weight",
    "mask_token",
    "blocks.0.ls1.gamma",
    "blocks.0.attn.q_norm.weight",
)


class Dino:
    """A vision transformer with three input channels."""

    name: ClassVar[LayoutName] = "dino"
    anchor: ClassVar[str] = PATCH_WEIGHT

    def recognises(self, located: NetworkWeights, checkpoint: Checkpoint) -> bool:
        """Tell whether these are a DINO transformer's weights."""
        return _is_dino_vit(located, checkpoint) and located.tensors[PATCH_WEIGHT].shape[1] == 3

    def convert(self, located: NetworkWeights) -> Converted:
        """Return the weights; their names are timm's already."""
        network = plain_vit(located.tensors)
        return _converted(self.name, located, network, rgb(network.channels))


class DinoResnet:
    """A residual network, which the same training pretrained."""

    name: ClassVar[LayoutName] = "dino"
    anchor: ClassVar[str] = resnet.ANCHOR

    def recognises(self, located: NetworkWeights, checkpoint: Checkpoint) -> bool:
        """Tell whether these are weights of a ResNet from a DINO checkpoint."""
        if checkpoint.format != "torch" or not resnet.is_resnet(located.tensors):
            return False
        return _is_wrapped(located) or "fc.weight" not in located.tensors

    def convert(self, located: NetworkWeights) -> Converted:
        """Return the weights; their names are timm's already."""
        network = resnet.resnet(located.tensors)
        return _converted(self.name, located, network, rgb(network.channels))


class Dino4Cells:
    """DINO on fluorescence microscopy: 3 to 5 input channels, each image self-standardised.

    Doron et al., 2023, DOI 10.1101/2023.06.16.545359.
    """

    name: ClassVar[LayoutName] = "dino4cells"
    anchor: ClassVar[str] = PATCH_WEIGHT

    def recognises(self, located: NetworkWeights, checkpoint: Checkpoint) -> bool:
        """Tell whether these are a DINO transformer's weights for another number of channels."""
        return _is_dino_vit(located, checkpoint) and located.tensors[PATCH_WEIGHT].shape[1] != 3

    def convert(self, located: NetworkWeights) -> Converted:
        """Return the weights; their names are timm's already."""
        network = plain_vit(located.tensors)
        return _converted(
            self.name,
            located,
            network,
            microscopy_slots(network.channels),
            SELF_STANDARDISED,
            microscopy_remarks(network.channels),
        )


def rgb(channels: int) -> tuple[str, ...]:
    """Return the colours, where there are three channels."""
    return RGB_SLOTS if channels == len(RGB_SLOTS) else numbered_slots(channels)


def microscopy_slots(channels: int) -> tuple[str, ...]:
    """Return the Human Protein Atlas channels where there are four, else numbers."""
    return HPA_SLOTS if channels == len(HPA_SLOTS) else numbered_slots(channels)


def microscopy_remarks(channels: int) -> list[str]:
    """Return what to check about suggested slots."""
    if channels == len(HPA_SLOTS):
        return ["four channels: the slots are taken to be those of the Human Protein Atlas"]
    return [f"the file does not say what its {channels} channels show: name the slots yourself"]


def _is_dino_vit(located: NetworkWeights, checkpoint: Checkpoint) -> bool:
    names = located.tensors
    if checkpoint.format != "torch" or names[PATCH_WEIGHT].ndim != 4:
        return False
    needed = {"cls_token", "pos_embed", "blocks.0.attn.qkv.weight", "norm.weight"}
    return needed <= set(names) and not any(other in names for other in OTHER_FAMILIES)


def _is_wrapped(located: NetworkWeights) -> bool:
    return any(part in (*AVERAGED, *TRAINED) for part in located.prefix.split("."))


def _converted(
    layout: LayoutName,
    located: NetworkWeights,
    network: Network,
    slots: tuple[str, ...],
    normalization: Mapping[str, Any] | None = None,
    remarks: list[str] | None = None,
) -> Converted:
    state = encoder_state(located.tensors)
    return Converted(
        layout=layout,
        located=located,
        state=state,
        consumed=frozenset(state),
        network=network,
        positions="scale-factor",
        slots=slots,
        normalization=normalization or usual_normalization(network.channels),
        outputs=TOKEN_OUTPUTS if network.patch_size else MAP_OUTPUTS,
        remarks=remarks or (),
    )


LAYOUTS = (Dino4Cells(), Dino(), DinoResnet())
