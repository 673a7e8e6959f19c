"""Vision transformers of which only the class token is read: its last block computes that alone.

The other tokens of the last block reach the class token through keys and values only; their
queries, their projection and their perceptron, five sixths of a block, are for nothing.
"""

from __future__ import annotations

from typing import Any

from timm.layers.attention import Attention
from timm.layers.mlp import GluMlp, Mlp, SwiGLU
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from transferscope.backbones.readout import Backbone, number_of_layers
from transferscope.cards import Output

# Perceptrons that treat each token on its own.
BY_TOKEN = (Mlp, GluMlp, SwiGLU)


class ClassTokenAttention(nn.Module):
    """What the first token takes from all tokens.

    Parameters
    ----------
    attention
        The attention of all tokens, whose parameters are shared.
    """

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.num_heads, self.head_dim = attention.num_heads, attention.head_dim
        self.scale, self.fused_attn = attention.scale, attention.fused_attn
        width = attention.attn_dim
        self.query = _rows_of(attention.qkv, 0, width)
        self.key_value = _rows_of(attention.qkv, width, 3 * width)
        self.q_norm, self.k_norm, self.norm = attention.q_norm, attention.k_norm, attention.norm
        self.gate, self.proj = attention.gate, attention.proj

    def forward(self, tokens: Tensor) -> Tensor:
        """Return [B, 1, D] for tokens [B, N, D]."""
        first = tokens[:, :1]
        query = self.q_norm(self._by_head(self.query(first), 1)[0])
        key, value = self._by_head(self.key_value(tokens), 2)
        key = self.k_norm(key)
        if self.fused_attn:
            taken = functional.scaled_dot_product_attention(query, key, value)
        else:
            taken = ((query * self.scale) @ key.transpose(-2, -1)).softmax(dim=-1) @ value
        taken = self.norm(taken.transpose(1, 2).flatten(2))
        if self.gate is not None:
            taken = taken * self.gate(first).sigmoid()
        projected: Tensor = self.proj(taken)
        return projected

    def _by_head(self, values: Tensor, n: int) -> Tensor:
        """Return [n, B, heads, N, d] for [B, N, n * heads * d]."""
        parts = values.reshape(*values.shape[:2], n, self.num_heads, self.head_dim)
        return parts.permute(2, 0, 3, 1, 4)


class ClassTokenBlock(nn.Module):
    """The last block of a vision transformer, for its first token.

    Parameters
    ----------
    block
        The block, whose parameters are shared.
    """

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.norm1, self.attn, self.ls1 = block.norm1, ClassTokenAttention(block.attn), block.ls1
        self.norm2, self.mlp, self.ls2 = block.norm2, block.mlp, block.ls2

    def forward(self, tokens: Tensor) -> Tensor:
        """Return [B, 1, D] for tokens [B, N, D]."""
        first = tokens[:, :1] + self.ls1(self.attn(self.norm1(tokens)))
        token: Tensor = first + self.ls2(self.mlp(self.norm2(first)))
        return token


def compute_class_token_alone(backbone: Backbone) -> bool:
    """Replace the last block in place, if nothing else of it is read; return whether it was.

    Known are timm's plain vision transformers: a subclass may do anything with its tokens.
    """
    network = backbone.network
    if type(network) is not VisionTransformer:
        return False
    last = network.blocks[-1]
    known = type(last) is Block and type(last.attn) is Attention and isinstance(last.mlp, BY_TOKEN)
    of_last = number_of_layers(network) - 1
    alone = of_last not in backbone.layers and all(
        _reads_class_token(output, network) for output in backbone.outputs
    )
    if not (known and alone) or network.training:
        return False
    network.blocks[-1] = ClassTokenBlock(last)
    return True


def _reads_class_token(output: Output, network: Any) -> bool:
    """Tell whether of the last layer an output needs the class token at most."""
    if output.layer is not None or output.pooling == "cls":
        return True
    own = output.pooling == "pool" and network.attn_pool is None
    return own and network.global_pool == "token"


def _rows_of(linear: nn.Linear, start: int, stop: int) -> nn.Linear:
    """Return a layer with some of the output features of another."""
    part = nn.Linear(linear.in_features, stop - start, bias=False, device="meta")
    part.weight = nn.Parameter(linear.weight[start:stop], requires_grad=False)
    if linear.bias is not None:
        part.bias = nn.Parameter(linear.bias[start:stop], requires_grad=False)
    return part.eval()
