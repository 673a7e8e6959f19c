"""CONCH: the image encoder of a model of images and captions, and the query that pools its tokens.

Lu et al., Nature Medicine 2024, DOI 10.1038/s41591-024-02856-4.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from transferscope.checkpoints.layouts.base import (
    MAP_OUTPUTS,
    PATCH_WEIGHT,
    TOKEN_OUTPUTS,
    Converted,
    Layout,
    converted,
)
from transferscope.checkpoints.layouts.vit import own_vit
from transferscope.checkpoints.location import NetworkWeights

TRUNK = "trunk."
POOLING = "attn_pool_contrast."
NORM = "ln_contrast."
QUERY = f"{POOLING}query"
HEADS = 8
LEFTOVERS = {
    r"(proj_contrast|attn_pool_caption\.|ln_caption\.)": "alignment with captions",
    r"(text|text_decoder)\.|logit_scale": "the network of captions",
}
# Of CLIP (Radford et al., 2021, arXiv 2103.00020).
NORMALIZATION: dict[str, Any] = {
    "intensity": "range",
    "kind": "mean-std",
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
}


def _convert(located: NetworkWeights) -> Converted:
    state: dict[str, Tensor] = {}
    consumed = set()
    for name, tensor in located.tensors.items():
        for prefix, new in ((TRUNK, ""), (POOLING, "pooler."), (NORM, "pooler.ln.")):
            if name.startswith(prefix):
                state[new + name.removeprefix(prefix)] = tensor
                consumed.add(name)
    pooled = state["pooler.query"].shape[1]
    arguments = {} if pooled == 64 * HEADS else {"pooled_width": pooled}
    return converted(
        "conch",
        located,
        state,
        own_vit("conch_vit", state, **arguments),
        "antialiased",
        consumed,
        normalization=NORMALIZATION,
        outputs={"attention": MAP_OUTPUTS["pool"], **TOKEN_OUTPUTS},
        leftovers=LEFTOVERS,
    )


LAYOUTS = (Layout("conch", lambda w: QUERY in w.tensors, _convert, TRUNK + PATCH_WEIGHT),)
