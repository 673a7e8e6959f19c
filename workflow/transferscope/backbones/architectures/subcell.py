"""SubCell's encoder: a vision transformer whose tokens are pooled by gated attention.

Gupta et al., 2024, DOI 10.1101/2024.12.06.627299. Without a pooling it is the plain transformer
with the layer norm of the transformers library.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from timm.layers.norm import LayerNorm
from timm.models import register_model
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from transferscope.backbones.architectures.registration import own_arguments, untrained

default_cfgs = untrained("subcell_vit", channels=4, size=448)
SIZE = {"patch_size": 16, "embed_dim": 768, "depth": 12, "num_heads": 12}
NORM_EPSILON = 1e-12


class GatedAttentionPooling(nn.Module):
    """Weighted means of tokens, one per head (Ilse et al., ICML 2018, arXiv 1802.04712).

    Parameters
    ----------
    width
        Features per token, D.
    hidden
        Width of the two branches whose product gives the attention.
    heads
        Number of means, H.
    """

    def __init__(self, width: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.attention_v = nn.Linear(width, hidden)
        self.attention_u = nn.Linear(width, hidden)
        self.attention = nn.Linear(hidden, heads)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return [B, H D] for tokens [B, N, D], of which the class token is one."""
        gate = functional.gelu(self.attention_u(tokens))
        scores: Tensor = self.attention(torch.tanh(self.attention_v(tokens)) * gate)
        return (scores.transpose(1, 2).softmax(dim=-1) @ tokens).flatten(1)


class SubCellVit(VisionTransformer):
    """The encoder.

    Parameters
    ----------
    pooling_heads, pooling_width
        Of the gated attention; 0 heads: there is none, and the class token is the pooling.
    **arguments
        Those of timm's vision transformer.
    """

    def __init__(
        self, *, pooling_heads: int = 0, pooling_width: int = 512, **arguments: Any
    ) -> None:
        super().__init__(norm_layer=partial(LayerNorm, eps=NORM_EPSILON), **arguments)
        self.pooler = (
            GatedAttentionPooling(self.embed_dim, pooling_width, pooling_heads)
            if pooling_heads
            else None
        )

    def pool(self, tokens: Tensor, pool_type: str | None = None) -> Tensor:
        """Return one vector per image, of tokens [B, N, D]."""
        if self.pooler is None:
            plain: Tensor = super().pool(tokens, pool_type)
            return plain
        pooled: Tensor = self.pooler(tokens)
        return pooled


@register_model
def subcell_vit(**arguments: Any) -> SubCellVit:
    """Build the network; `arguments` are those of `SubCellVit`."""
    return SubCellVit(**{**SIZE, **own_arguments(arguments)})
