"""SubCell: a transformer under the names of the transformers library, and a gated pooling.

Gupta et al., 2024, DOI 10.1101/2024.12.06.627299.
"""

from __future__ import annotations

import re

from torch import Tensor

from transferscope.checkpoints.layouts.base import (
    MAP_OUTPUTS,
    TOKEN_OUTPUTS,
    Converted,
    Layout,
    converted,
    numbered_slots,
)
from transferscope.checkpoints.layouts.transformers_names import PATCH, POSITIONS, renamed
from transferscope.checkpoints.layouts.vit import own_vit
from transferscope.checkpoints.location import NetworkWeights

PREFIX = "encoder."
PARTS = {
    "attention.output.dense": "attn.proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
}
# With dropout in training the linear layer is the second module of its branch, else the first.
POOLING = re.compile(r"pool_model\.(attention(?:_v|_u)?)(?:\.[01])?\.(weight|bias)$")
# How the names of what has to be used begin.
OWN = (PREFIX, "pool_model.")
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


def _convert(located: NetworkWeights) -> Converted:
    """Return the weights under timm's names, the pooling under ``pooler``."""
    state, consumed = _renamed(located)
    attention = state.get("pooler.attention.weight")
    pooling, outputs = {}, TOKEN_OUTPUTS
    if attention is not None:
        pooling = dict(zip(("pooling_heads", "pooling_width"), attention.shape, strict=True))
        outputs = MAP_OUTPUTS | TOKEN_OUTPUTS
    network = own_vit("subcell_vit", state, **pooling)
    remarks = ["trained with one minimum and maximum over all channels of a cell"]
    if network.channels == 3:
        remarks.append("three channels: the first slot is microtubules, or er in the ybg model")
    return converted(
        "subcell",
        located,
        state,
        network,
        "size",
        consumed,
        slots=SLOTS.get(network.channels, numbered_slots(network.channels)),
        normalization=NORMALIZATION,
        outputs=outputs,
        leftovers=LEFTOVERS,
        remarks=remarks,
    )


def _renamed(located: NetworkWeights) -> tuple[dict[str, Tensor], set[str]]:
    state: dict[str, Tensor] = {}
    consumed: set[str] = set()
    for name, tensor in located.tensors.items():
        if (plain := renamed(located.tensors, name, PARTS, PREFIX)) is not None:
            state.update(plain)
        elif pooling := POOLING.match(name):
            state[f"pooler.{pooling[1]}.{pooling[2]}"] = tensor
        elif name.startswith(OWN) and not any(re.match(known, name) for known in LEFTOVERS):
            state[name] = tensor  # unknown within the encoder: for the loader to refuse
        else:
            continue
        consumed.add(name)
    return state, consumed


LAYOUTS = (Layout("subcell", lambda w: PREFIX + POSITIONS in w.tensors, _convert, PREFIX + PATCH),)
