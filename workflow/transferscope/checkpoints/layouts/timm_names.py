"""timm's own names, plain: what safetensors files and most fine-tuned networks have."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from transferscope.cards import LayoutName
from transferscope.checkpoints.layouts import resnet
from transferscope.checkpoints.layouts.base import (
    PATCH_WEIGHT,
    Converted,
    Network,
    encoder_state,
    usual_normalization,
)
from transferscope.checkpoints.layouts.dino import MAP_OUTPUTS, TOKEN_OUTPUTS, rgb
from transferscope.checkpoints.layouts.vit import plain_vit
from transferscope.checkpoints.location import NetworkWeights, locate
from transferscope.checkpoints.reading import Checkpoint


class TimmVit:
    """A vision transformer under timm's names."""

    name: ClassVar[LayoutName] = "timm"
    anchor: ClassVar[str] = PATCH_WEIGHT

    def recognises(self, located: NetworkWeights, checkpoint: Checkpoint) -> bool:
        """Tell whether these are a plain transformer's weights."""
        names = located.tensors
        needed = {"pos_embed", "blocks.0.mlp.fc1.weight", "blocks.0.attn.proj.weight"}
        return needed <= set(names) and names[PATCH_WEIGHT].ndim == 4

    def convert(self, located: NetworkWeights) -> Converted:
        """Return the weights as they are."""
        network = plain_vit(located.tensors)
        outputs = TOKEN_OUTPUTS if "cls_token" in located.tensors else {"mean": "mean"}
        return _converted(located, network, {"pool": "pool"} if _pools(located) else outputs)


class TimmResnet:
    """A residual network under the names that timm and torchvision share."""

    name: ClassVar[LayoutName] = "timm"
    anchor: ClassVar[str] = resnet.ANCHOR

    def recognises(self, located: NetworkWeights, checkpoint: Checkpoint) -> bool:
        """Tell whether these are a residual network's weights."""
        return resnet.is_resnet(located.tensors)

    def convert(self, located: NetworkWeights) -> Converted:
        """Return the weights as they are."""
        return _converted(located, resnet.resnet(located.tensors), MAP_OUTPUTS)


def convert_by_names(
    checkpoint: Checkpoint, state_key: str | None, wanted: Collection[str], network: Network
) -> Converted | None:
    """Return the weights of a network whose names are known, whatever its architecture.

    Parameters
    ----------
    checkpoint
        The file.
    state_key
        Which network of the file.
    wanted
        Names of the network's weights.
    network
        What takes the weights.

    Returns
    -------
    Converted or None
        None where the file has none of the names.
    """
    for name in wanted:
        located = locate(checkpoint, name, state_key)
        if located is not None:
            return _converted(located, network, MAP_OUTPUTS, wanted)
    return None


def _pools(located: NetworkWeights) -> bool:
    return "fc_norm.weight" in located.tensors


def _converted(
    located: NetworkWeights, network: Network, outputs: dict[str, str], wanted: Collection[str] = ()
) -> Converted:
    named = {name: located.tensors[name] for name in wanted if name in located.tensors}
    state = {**encoder_state(located.tensors), **named}
    return Converted(
        layout="timm",
        located=located,
        state=state,
        consumed=frozenset(state),
        network=network,
        positions="antialiased",
        slots=rgb(network.channels),
        normalization=usual_normalization(network.channels),
        outputs=outputs,
        remarks=("the normalisation is a guess, as the file does not name it",),
    )


LAYOUTS = (TimmVit(), TimmResnet())
