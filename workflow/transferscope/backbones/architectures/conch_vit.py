"""CONCH's image encoder: a vision transformer whose tokens one learned query attends to.

Lu et al., Nature Medicine 2024, DOI 10.1038/s41591-024-02856-4, after CoCa (Yu et al., TMLR 2022,
arXiv 2205.01917).
"""

from __future__ import annotations

from typing import Any

import torch
from timm.models import register_model
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from transferscope.backbones.architectures.registration import own_arguments, untrained

default_cfgs = untrained("conch_vit", channels=3, size=448)
SIZE = {"patch_size": 16, "embed_dim": 768, "depth": 12, "num_heads": 12}


class QueryPooling(nn.Module):
    """Attention of one learned query to all tokens, and a layer norm.

    Parameters
    ----------
    width
        Features per token, D.
    pooled
        Features of the query and of the result.
    heads
        Of the attention.
    """

    def __init__(self, width: int, pooled: int, heads: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, pooled))
        self.attn = nn.MultiheadAttention(pooled, heads, kdim=width, vdim=width, batch_first=True)
        self.ln_q = nn.LayerNorm(pooled)
        self.ln_k = nn.LayerNorm(width)
        self.ln = nn.LayerNorm(pooled)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return [B, pooled] for tokens [B, N, D], of which the class token is one."""
        keys = self.ln_k(tokens)
        query = self.ln_q(self.query).expand(len(tokens), -1, -1)
        attended: Tensor = self.attn(query, keys, keys, need_weights=False)[0]
        pooled: Tensor = self.ln(attended[:, 0])
        return pooled


class ConchVit(VisionTransformer):
    """The encoder.

    Parameters
    ----------
    pooled_width, pooling_heads
        Features and heads of the query.
    **arguments
        Those of timm's vision transformer.
    """

    def __init__(
        self, *, pooled_width: int = 512, pooling_heads: int = 8, **arguments: Any
    ) -> None:
        super().__init__(**arguments)
        self.pooler = QueryPooling(self.embed_dim, pooled_width, pooling_heads)

    def pool(self, tokens: Tensor, pool_type: str | None = None) -> Tensor:
        """Return one vector per image, of tokens [B, N, D]."""
        pooled: Tensor = self.pooler(tokens)
        return pooled


@register_model
def conch_vit(**arguments: Any) -> ConchVit:
    """Build the network; `arguments` are those of `ConchVit`."""
    return ConchVit(**{**SIZE, **own_arguments(arguments)})
