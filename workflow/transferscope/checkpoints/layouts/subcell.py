"""SubCell: a transformer under the names of the transformers library, and a gated pooling.

Gupta et al., 2024, DOI 10.1101/2024.12.06.627299.
"""

from __future__ import annotations

import re
from typing import ClassVar

import torch
from torch import Tensor

from transferscope.cards import LayoutName
from transferscope.checkpoints.layouts.base import (
    PATCH_WEIGHT,
    Converted,
    Network,
    numbered_slots,
)
from transferscope.checkpoints.layouts.vit import own_vit, patch_shape
from transferscope.checkpoints.location import NetworkWeights
from transferscope.checkpoints.reading import Checkpoint

PATCH = "encoder.embeddings.patch_embeddings.projection.weight"
LAYER = re.compile(r"encoder\.encoder\.layer\.(\d+)\.(.+)\.(weight|bias)$")
PARTS = {
    "attention.output.dense": "attn.proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
}
PROJECTIONS = ("query", "key", "value")
NAMES = {
    "encoder.embeddings.cls_token": "cls_token",
    "encoder.embeddings.position_embeddings": "pos_embed",
    "encoder.embeddings.patch_embeddings.projection.weight": "patch_embed.proj.weight",
    "encoder.embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
    "encoder.layernorm.weight": "norm.weight",
    "encoder.layernorm.bias": "norm.bias",
}
# With dropout in training the linear layer is the second module of its branch, else the first.
POOLING = re.compile(r"pool_model\.(attention(?:_v|_u)?)(?:\.[01])?\.(weight|bias)$")
# How the names of what has to be used begin.
OWN = ("encoder.", "pool_model.")
LEFTOVERS = {
    r"encoder\.embeddings\.mask_token": "mask token",
    r"encoder\.pooler\.": "pooling of the class token, which SubCell does not use",
}
SLOTS = {
    4: ("microtubules", "er", "nucleus", "protein"),
    3: ("microtubules", "nucleus", "protein"),
    2: ("nucleus", "protein"),
}
# SubCell was trained with one minimum and maximum over all channels; this is the nearest.
NORMALIZATION = {"intensity": "joint", "kind": "none"}


class SubCell:
    """The encoder and, where the file has it, the pooling."""

    name: ClassVar[LayoutName] = "subcell"
    anchor: ClassVar[str] = PATCH

    def recognises(self, located: NetworkWeights, checkpoint: Checkpoint) -> bool:
        """Tell whether these are SubCell weights."""
        return "encoder.embeddings.position_embeddings" in located.tensors

    def convert(self, located: NetworkWeights) -> Converted:
        """Return the weights under timm's names, the pooling under ``pooler``."""
        state, consumed = _renamed(located)
        network = _network(state)
        pooled = "pooler.attention.weight" in state
        return Converted(
            layout=self.name,
            located=located,
            state=state,
            consumed=consumed,
            network=network,
            positions="size",
            slots=SLOTS.get(network.channels, numbered_slots(network.channels)),
            normalization=NORMALIZATION,
            outputs={**({"pool": "pool"} if pooled else {}), "cls": "cls", "mean": "mean"},
            leftovers=LEFTOVERS,
            remarks=_remarks(network.channels),
        )


def _remarks(channels: int) -> list[str]:
    remarks = ["trained with one minimum and maximum over all channels of a cell"]
    if channels == 3:
        remarks.append("three channels: the first slot is microtubules, or er in the ybg model")
    return remarks


def _renamed(located: NetworkWeights) -> tuple[dict[str, Tensor], frozenset[str]]:
    state: dict[str, Tensor] = {}
    consumed: set[str] = set()
    for name, tensor in located.tensors.items():
        if name in NAMES:
            state[NAMES[name]] = tensor
        elif pooling := POOLING.match(name):
            state[f"pooler.{pooling.group(1)}.{pooling.group(2)}"] = tensor
        elif layer := LAYER.match(name):
            state.update(_of_layer(located, *layer.groups()))
        elif name.startswith(OWN) and not any(re.match(known, name) for known in LEFTOVERS):
            state[name] = tensor  # unheard of within the encoder: for the loader to refuse
        else:
            continue
        consumed.add(name)
    return state, frozenset(consumed)


def _of_layer(located: NetworkWeights, block: str, part: str, kind: str) -> dict[str, Tensor]:
    """Return what a weight of a layer becomes; the three projections are joined at the first."""
    start = f"blocks.{block}"
    if part in PARTS:
        name = f"encoder.encoder.layer.{block}.{part}.{kind}"
        return {f"{start}.{PARTS[part]}.{kind}": located.tensors[name]}
    inner = f"encoder.encoder.layer.{block}.attention.attention"
    joined = [f"{inner}.{projection}.{kind}" for projection in PROJECTIONS]
    if part == "attention.attention.query" and all(name in located.tensors for name in joined):
        return {f"{start}.attn.qkv.{kind}": torch.cat([located.tensors[n] for n in joined])}
    if part.removeprefix("attention.attention.") in PROJECTIONS:
        return {}
    name = f"encoder.encoder.layer.{block}.{part}.{kind}"
    return {name: located.tensors[name]}


def _network(state: dict[str, Tensor]) -> Network:
    _, channels, _ = patch_shape(state[PATCH_WEIGHT])
    pooling = {}
    if "pooler.attention.weight" in state:
        heads, width = state["pooler.attention.weight"].shape
        pooling = {"pooling_heads": heads, "pooling_width": width}
    return own_vit("subcell_vit", state, channels, **pooling)


LAYOUTS = (SubCell(),)
