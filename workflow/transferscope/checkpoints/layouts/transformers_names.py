"""Names that the transformers library gives to the blocks of an encoder, and timm's for them."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

PATCH = "embeddings.patch_embeddings.projection.weight"
POSITIONS = "embeddings.position_embeddings"
NAMES = {
    "embeddings.cls_token": "cls_token",
    POSITIONS: "pos_embed",
    PATCH: "patch_embed.proj.weight",
    "embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
    "layernorm.weight": "norm.weight",
    "layernorm.bias": "norm.bias",
}
LAYER = re.compile(r"encoder\.layer\.(\d+)\.(.+)\.(\w+)$")
PROJECTIONS = ("query", "key", "value")


def renamed(
    tensors: Mapping[str, Tensor], name: str, parts: Mapping[str, str], prefix: str = ""
) -> dict[str, Tensor] | None:
    """Return what a weight becomes; the three projections are joined at the first.

    Parameters
    ----------
    tensors
        All weights, by their names in the file.
    name
        One of them.
    parts
        Names of the parts of a block -> timm's.
    prefix
        What stands before every name of the encoder.

    Returns
    -------
    dict or None
        Weights by timm's names, none for a projection that was joined to another one; of a part
        that `parts` does not have, the weight itself. None: not a weight of this encoder.
    """
    plain = name.removeprefix(prefix)
    if not name.startswith(prefix):
        return None
    if plain in NAMES:
        return {NAMES[plain]: tensors[name]}
    if (layer := LAYER.match(plain)) is None:
        return None
    block, part, kind = layer.groups()
    if part in parts:
        return {f"blocks.{block}.{parts[part]}.{kind}": tensors[name]}
    inner = f"{prefix}encoder.layer.{block}.attention.attention"
    joined = [f"{inner}.{projection}.{kind}" for projection in PROJECTIONS]
    if name == joined[0] and all(one in tensors for one in joined):
        return {f"blocks.{block}.attn.qkv.{kind}": torch.cat([tensors[one] for one in joined])}
    return {} if name in joined else {name: tensors[name]}
