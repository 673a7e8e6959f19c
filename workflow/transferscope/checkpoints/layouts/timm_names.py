"""timm's own names, plain: what safetensors files and most fine-tuned networks have."""

from __future__ import annotations

from collections.abc import Collection

from transferscope.checkpoints.layouts import resnet
from transferscope.checkpoints.layouts.base import (
    MAP_OUTPUTS,
    PATCH_WEIGHT,
    TOKEN_OUTPUTS,
    Converted,
    Layout,
    Network,
    converted,
    encoder_state,
)
from transferscope.checkpoints.layouts.vit import plain_vit
from transferscope.checkpoints.location import NetworkWeights, locate
from transferscope.checkpoints.reading import Checkpoint

GUESS = "the normalisation is a guess, as neither the file nor timm names it"


def convert_by_names(
    checkpoint: Checkpoint, state_key: str | None, wanted: Collection[str], network: Network
) -> Converted | None:
    """Return the encoder's weights in a file that has some of a network's names.

    Parameters
    ----------
    checkpoint
        The file.
    state_key
        Which network of the file.
    wanted
        Names of the network's weights.
    network
        What takes the weights, of any architecture.

    Returns
    -------
    Converted or None
        None where the file has none of the names.
    """
    for name in wanted:
        located = locate(checkpoint, name, state_key)
        if located is not None:
            return _converted(located, network, MAP_OUTPUTS)
    return None


def _is_vit(located: NetworkWeights) -> bool:
    names = located.tensors
    needed = {"pos_embed", "blocks.0.mlp.fc1.weight", "blocks.0.attn.proj.weight"}
    return needed <= set(names) and names[PATCH_WEIGHT].ndim == 4


def _convert_vit(located: NetworkWeights) -> Converted:
    names = located.tensors
    outputs = TOKEN_OUTPUTS if "cls_token" in names else {"mean": "mean"}
    if "fc_norm.weight" in names:
        outputs = MAP_OUTPUTS
    return _converted(located, plain_vit(names), outputs)


def _convert_resnet(located: NetworkWeights) -> Converted:
    return _converted(located, resnet.resnet(located.tensors), MAP_OUTPUTS)


def _converted(located: NetworkWeights, network: Network, outputs: dict[str, str]) -> Converted:
    return converted(
        "timm",
        located,
        encoder_state(located),
        network,
        "antialiased",
        outputs=outputs,
        remarks=(GUESS,),
    )


LAYOUTS = (
    Layout("timm", _is_vit, _convert_vit),
    Layout("timm", lambda w: resnet.is_resnet(w.tensors), _convert_resnet, resnet.ANCHOR),
)
