"""What a layout is: how a family of networks names its weights, and what they become here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from transferscope.cards import LayoutName
from transferscope.checkpoints.location import NetworkWeights, locate
from transferscope.checkpoints.positions import PositionRule
from transferscope.checkpoints.reading import Checkpoint

PATCH_WEIGHT = "patch_embed.proj.weight"
HPA_SLOTS = ("microtubules", "protein", "nucleus", "er")
RGB_SLOTS = ("red", "green", "blue")
TOKEN_OUTPUTS = {"cls": "cls", "mean": "mean"}
MAP_OUTPUTS = {"pool": "pool"}
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
    knows_heads
        Whether the weights tell the number of attention heads.
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
    knows_heads: bool = False

    def known_leftovers(self) -> dict[str, str]:
        """Return path in the file -> what it is, for everything that no embedding needs."""
        prefix, outside = self.located.prefix, self.located.outside
        inside = {prefix + name: kind for name, kind in self._unused().items() if kind}
        return inside | {
            path: self._kind(self._relative(path)) or "outside the network" for path in outside
        }

    def unknown_leftovers(self) -> list[str]:
        """Return the unused names within the network whose purpose is unknown."""
        return [name for name, kind in self._unused().items() if not kind]

    def _unused(self) -> dict[str, str | None]:
        names = self.located.tensors
        return {name: self._kind(name) for name in names if name not in self.consumed}

    def _kind(self, name: str) -> str | None:
        named = {**self.leftovers, **COMMON_LEFTOVERS}
        return next((kind for pattern, kind in named.items() if re.match(pattern, name)), None)

    def _relative(self, path: str) -> str:
        """Return a path without the leading parts that it shares with the network's prefix."""
        parts, shared = path.split("."), self.located.prefix.split(".")
        while len(parts) > 1 and shared and parts[0] == shared[0]:
            parts, shared = parts[1:], shared[1:]
        return ".".join(parts)


@dataclass(frozen=True)
class Layout:
    """How a family of networks names its weights.

    Parameters
    ----------
    name
        As a card names it.
    recognises
        Tells whether located weights are named in this way.
    convert
        Returns them under the names of the network here.
    anchor
        Name of a weight that every network of the family has.
    """

    name: LayoutName
    recognises: Callable[[NetworkWeights], bool]
    convert: Callable[[NetworkWeights], Converted]
    anchor: str = PATCH_WEIGHT


def recognised(
    layout: Layout, checkpoint: Checkpoint, state_key: str | None
) -> NetworkWeights | None:
    """Return where a file holds weights of a layout, or None where it does not."""
    located = locate(checkpoint, layout.anchor, state_key)
    return located if located is not None and layout.recognises(located) else None


def converted(
    layout: LayoutName,
    located: NetworkWeights,
    state: Mapping[str, Tensor],
    network: Network,
    positions: PositionRule,
    consumed: Iterable[str] | None = None,
    **suggested: Any,
) -> Converted:
    """Return converted weights, with the usual suggestions where a layout has no others.

    Parameters
    ----------
    layout, located, state, network, positions
        As in `Converted`.
    consumed
        As in `Converted`; None: the names in `state`, which are those in the file.
    **suggested
        Further fields of `Converted`. By default slots are colours or numbers, the normalisation
        is ImageNet's for three channels, and class token and mean are the outputs.
    """
    usual = {
        "slots": rgb(network.channels),
        "normalization": usual_normalization(network.channels),
        "outputs": TOKEN_OUTPUTS,
    }
    names = frozenset(state if consumed is None else consumed)
    return Converted(layout, located, state, names, network, positions, **{**usual, **suggested})


def encoder_state(located: NetworkWeights) -> dict[str, Tensor]:
    """Return the weights that belong to the encoder by their names."""
    return {n: tensor for n, tensor in located.tensors.items() if ENCODER_WEIGHT.match(n)}


def has_rgb_input(located: NetworkWeights) -> bool:
    """Tell whether the patch projection takes three channels."""
    return located.tensors[PATCH_WEIGHT].shape[1] == len(RGB_SLOTS)


def usual_normalization(channels: int) -> Mapping[str, Any]:
    """Return ImageNet's normalisation for three channels, else each image's own."""
    return IMAGENET if channels == len(RGB_SLOTS) else SELF_STANDARDISED


def numbered_slots(channels: int) -> tuple[str, ...]:
    """Return names for channels of which only the number is known."""
    return tuple(f"channel-{number}" for number in range(1, channels + 1))


def rgb(channels: int) -> tuple[str, ...]:
    """Return the colours for three channels, else numbers."""
    return RGB_SLOTS if channels == len(RGB_SLOTS) else numbered_slots(channels)


def microscopy(channels: int) -> dict[str, Any]:
    """Return suggestions for weights trained on fluorescence images.

    Slots are the Human Protein Atlas channels for four channels, else numbers; each image is
    standardised by itself.
    """
    slots = numbered_slots(channels)
    remark = f"the file does not say what its {channels} channels show: name the slots yourself"
    if channels == len(HPA_SLOTS):
        slots = HPA_SLOTS
        remark = "four channels: the slots are taken to be those of the Human Protein Atlas"
    return {"slots": slots, "normalization": SELF_STANDARDISED, "remarks": [remark]}
