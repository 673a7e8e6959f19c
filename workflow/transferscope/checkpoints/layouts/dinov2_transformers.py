"""DINOv2 under the names of the transformers library: Phikon-v2, Midnight, Hibou, and DINOv2's own.

Oquab et al., TMLR 2024, arXiv 2304.07193; with registers Darcet et al., ICLR 2024, arXiv
2309.16588. Some repositories hold code for the registers, which is not needed here, nor run.
"""

from __future__ import annotations

import re

from torch import Tensor

from transferscope.checkpoints.layouts.base import Converted, Layout, converted
from transferscope.checkpoints.layouts.dinov2 import dinov2_network, without_class_position
from transferscope.checkpoints.layouts.transformers_names import PATCH, renamed
from transferscope.checkpoints.location import NetworkWeights
from transferscope.checkpoints.positions import PositionRule

SCALE = "encoder.layer.0.layer_scale1.lambda1"
REGISTERS = "embeddings.register_tokens"
PARTS = {
    "attention.output.dense": "attn.proj",
    "norm1": "norm1",
    "norm2": "norm2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
    "mlp.weights_in": "mlp.fc1",
    "mlp.weights_out": "mlp.fc2",
}
SCALES = re.compile(r"encoder\.layer\.(\d+)\.layer_scale([12])\.lambda1$")
LEFTOVERS = {r"embeddings\.mask_token": "mask token", r"pooler\.": "pooling of the class token"}
# How the names of what has to be used begin.
OWN = ("embeddings.", "encoder.", "layernorm.")


def _convert(located: NetworkWeights) -> Converted:
    state: dict[str, Tensor] = {}
    consumed = set()
    for name, tensor in located.tensors.items():
        if name == REGISTERS:
            state["register_tokens"] = tensor
        elif scale := SCALES.match(name):
            state[f"blocks.{scale[1]}.ls{scale[2]}.gamma"] = tensor
        elif (plain := renamed(located.tensors, name, PARTS)) is not None:
            state.update(plain)
        elif name.startswith(OWN) and not any(re.match(known, name) for known in LEFTOVERS):
            state[name] = tensor  # unknown within the encoder: for the loader to refuse
        else:
            continue
        consumed.add(name)
    rule: PositionRule = "antialiased" if REGISTERS in located.tensors else "size"
    state = without_class_position(state)
    network = dinov2_network(state)
    return converted(
        "dinov2-transformers", located, state, network, rule, consumed, leftovers=LEFTOVERS
    )


LAYOUTS = (Layout("dinov2-transformers", lambda w: SCALE in w.tensors, _convert, PATCH),)
