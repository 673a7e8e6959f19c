"""Masked autoencoders: encoder and decoder together, the encoder alone, or fine-tuned.

He et al., CVPR 2022, arXiv 2111.06377. The encoder's names are timm's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from transferscope.cards import LayoutName
from transferscope.checkpoints.layouts.base import (
    PATCH_WEIGHT,
    Converted,
    encoder_state,
    usual_normalization,
)
from transferscope.checkpoints.layouts.dino import microscopy_remarks, microscopy_slots, rgb
from transferscope.checkpoints.layouts.vit import plain_vit
from transferscope.checkpoints.location import NetworkWeights
from transferscope.checkpoints.reading import Checkpoint


class Mae:
    """The encoder of a masked autoencoder."""

    name: ClassVar[LayoutName] = "mae"
    anchor: ClassVar[str] = PATCH_WEIGHT

    def recognises(self, located: NetworkWeights, checkpoint: Checkpoint) -> bool:
        """Tell whether these are the weights of a masked autoencoder's encoder."""
        names = located.tensors
        needed = {"cls_token", "pos_embed", "blocks.0.attn.qkv.weight"}
        if not needed <= set(names) or names[PATCH_WEIGHT].ndim != 4:
            return False
        return "decoder_embed.weight" in names or _has_fixed_positions(names)

    def convert(self, located: NetworkWeights) -> Converted:
        """Return the encoder's weights; their names are timm's already."""
        state = encoder_state(located.tensors)
        network = plain_vit(state)
        cell = network.channels != 3
        tuned = {"pool": "pool"} if "fc_norm.weight" in state else {"mean": "mean", "cls": "cls"}
        return Converted(
            layout=self.name,
            located=located,
            state=state,
            consumed=frozenset(state),
            network=network,
            positions="size",
            slots=microscopy_slots(network.channels) if cell else rgb(network.channels),
            normalization=usual_normalization(network.channels),
            outputs=tuned,
            remarks=microscopy_remarks(network.channels) if cell else (),
        )


def _has_fixed_positions(names: Mapping[str, Tensor]) -> bool:
    """Tell whether the class token has a position of zero, as in fixed sine-cosine codes."""
    return bool((names["pos_embed"][:, 0] == 0).all())


LAYOUTS = (Mae(),)
