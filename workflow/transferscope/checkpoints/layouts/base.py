"""What a layout is: how a family of networks names its weights, and what they become here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from torch import Tensor

from transferscope.cards import LayoutName
from transferscope.checkpoints.location import NetworkWeights, locate
from transferscope.checkpoints.positions import PositionRule
from transferscope.checkpoints.reading import Checkpoint

PATCH_WEIGHT = "patch_embed.proj.weight"
HPA_SLOTS = ("microtubules", "protein", "nucleus", "er")
RGB_SLOTS = ("red", "green", "blue")
IMAGENET: dict[str, Any] = {
    "intensity": "range",
    "kind": "mean-std",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}
SELF_STANDARDISED: dict[str, Any] = {"intensity": "range", "bits": 8, "kind": "self"}

# Parts of a file that no embedding needs, by how their keys begin or what they hold.
COMMON_LEFTOVERS = {
    r"head\.(mlp|last_layer)\.": "projection head",
    r"(dino_head|ibot_head|projection_head|projector|projectors)\.": "projection head",
    r"(head|head_dist|fc|classifier|classifiers)\.": "classification head",
    r"(optimizer|optimizers|optimizer_states)\.": "state of the optimiser",
    r"(lr_schedulers?|scheduler|fp16_scaler|scaler|loss_scaler)\.": "state of the training",
    r"([a-z]+_)?loss\.": "state of the loss",
    r"(student|student_backbone)\.": "the student network",
    r"(teacher|ema|model_ema|state_dict_ema)\.": "the teacher network",
    r"(encoder_)?decoder(_|\.)": "decoder",
    r"mask_token$": "mask token",
}
# How the names of an encoder's own weights begin, in every family.
ENCODER_WEIGHT = re.compile(
    r"(blocks|patch_embed|pos_embed|cls_token|reg_token|register_tokens|storage_tokens|norm"
    r"|norm_pre|fc_norm|cls_norm|layer[1-4]|conv1|bn1|stem|stages|downsample_layers|embeddings"
    r"|encoder|layernorm|pool_model)(\.|$)"
)


@dataclass(frozen=True)
class Network:
    """A network that takes the weights of a file.

    Parameters
    ----------
    architecture, arguments
        For the card.
    channels, embed_dim, depth
        Input channels; features a token (or of the last stage); blocks.
    patch_size, image_size
        In px; None where the network has no patches, or takes every size.
    """

    architecture: str
    arguments: Mapping[str, Any]
    channels: int
    embed_dim: int
    depth: int
    patch_size: int | None = None
    image_size: int | None = None


@dataclass(frozen=True)
class Converted:
    """The weights of a file under the names that the network here has.

    Parameters
    ----------
    layout
        The layout of the file.
    located
        The weights in the file.
    state
        Weights by their names in `network`; position embeddings at the size of the file.
    consumed
        Names in the file from which `state` was made, and whatever else belongs to the encoder.
    network
        What the weights fit.
    positions
        How the family resamples its position embeddings.
    slots
        Suggested names of the input channels.
    normalization
        Suggested normalisation, as a card has it.
    outputs
        Suggested outputs: name -> pooling, the best known first.
    leftovers
        Patterns of names that no embedding needs -> what they are.
    remarks
        What the user has to know or to check.
    """

    layout: LayoutName
    located: NetworkWeights
    state: Mapping[str, Tensor]
    consumed: frozenset[str]
    network: Network
    positions: PositionRule
    slots: Sequence[str]
    normalization: Mapping[str, Any]
    outputs: Mapping[str, str]
    leftovers: Mapping[str, str] = field(default_factory=dict)
    remarks: Sequence[str] = ()

    def known_leftovers(self) -> dict[str, str]:
        """Return the path in the file -> what it is, for what no embedding needs."""
        named = {**self.leftovers, **COMMON_LEFTOVERS}
        found = {}
        for name in self.located.tensors:
            if name not in self.consumed and (kind := _kind_of(name, named)):
                found[self.located.prefix + name] = kind
        for path in self.located.outside:
            found[path] = _kind_of(self._beside(path), named) or "outside the network"
        return found

    def _beside(self, path: str) -> str:
        """Return a path without the parts that it shares with the prefix of the network."""
        parts, shared = path.split("."), self.located.prefix.split(".")
        while len(parts) > 1 and shared and parts[0] == shared[0]:
            parts, shared = parts[1:], shared[1:]
        return ".".join(parts)

    def unknown_leftovers(self) -> list[str]:
        """Return names within the network that nobody knows a use for."""
        named = {**self.leftovers, **COMMON_LEFTOVERS}
        return [
            name
            for name in self.located.tensors
            if name not in self.consumed and not _kind_of(name, named)
        ]


class Layout(Protocol):
    """How a family of networks names its weights."""

    name: ClassVar[LayoutName]
    anchor: ClassVar[str]

    def recognises(self, located: NetworkWeights, checkpoint: Checkpoint) -> bool:
        """Tell whether the weights are named in this way."""

    def convert(self, located: NetworkWeights) -> Converted:
        """Return the weights under the names of the network here."""


def recognised(
    layout: Layout, checkpoint: Checkpoint, state_key: str | None
) -> NetworkWeights | None:
    """Return where a file holds weights of a layout, or None where it does not."""
    located = locate(checkpoint, layout.anchor, state_key)
    if located is None or not layout.recognises(located, checkpoint):
        return None
    return located


def encoder_state(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights that belong to the encoder by their names."""
    return {name: tensor for name, tensor in tensors.items() if looks_like_encoder(name)}


def usual_normalization(channels: int) -> Mapping[str, Any]:
    """Return ImageNet's for the three colours, else each image's own."""
    return IMAGENET if channels == len(RGB_SLOTS) else SELF_STANDARDISED


def numbered_slots(channels: int) -> tuple[str, ...]:
    """Return names for channels of which nothing is known but their number."""
    return tuple(f"channel-{number}" for number in range(1, channels + 1))


def looks_like_encoder(name: str) -> bool:
    """Tell whether a name begins as those of an encoder's weights do."""
    return ENCODER_WEIGHT.match(name) is not None


def _kind_of(name: str, named: Mapping[str, str]) -> str | None:
    return next((kind for pattern, kind in named.items() if re.match(pattern, name)), None)
