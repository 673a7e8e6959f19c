"""Networks as their papers and code state them, on plain tensors: what loading is compared with."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

Weights = Mapping[str, Tensor]


def layer_norm(x: Tensor, w: Weights, name: str, epsilon: float) -> Tensor:
    mean = x.mean(dim=-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(dim=-1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + epsilon) * w[f"{name}.weight"] + w[f"{name}.bias"]


def linear(x: Tensor, w: Weights, name: str) -> Tensor:
    return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", torch.zeros(()))


def gelu(x: Tensor) -> Tensor:
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Return softmax(q k / sqrt(d)) v for q, k, v [B, N, D], head by head."""
    parts = []
    width = q.shape[-1] // heads
    for head in range(heads):
        own = slice(head * width, (head + 1) * width)
        scores = q[..., own] @ k[..., own].transpose(1, 2) / math.sqrt(width)
        parts.append(scores.softmax(dim=-1) @ v[..., own])
    return torch.cat(parts, dim=-1)


def block(x: Tensor, w: Weights, name: str, heads: int, epsilon: float = 1e-6) -> Tensor:
    q, k, v = linear(layer_norm(x, w, f"{name}.norm1", epsilon), w, f"{name}.attn.qkv").chunk(3, -1)
    attended = linear(attention(q, k, v, heads), w, f"{name}.attn.proj")
    x = x + attended * w.get(f"{name}.ls1.gamma", torch.ones(()))
    hidden = gelu(linear(layer_norm(x, w, f"{name}.norm2", epsilon), w, f"{name}.mlp.fc1"))
    fed = linear(hidden, w, f"{name}.mlp.fc2")
    return x + fed * w.get(f"{name}.ls2.gamma", torch.ones(()))


def patch_tokens(images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return [B, h w, D]: each patch of images [B, C, H, W] times one matrix."""
    p = weight.shape[-1]
    patches = images.unfold(2, p, p).unfold(3, p, p).permute(0, 2, 3, 1, 4, 5).flatten(3)
    return patches.flatten(1, 2) @ weight.flatten(1).T + bias


def depth(w: Weights) -> int:
    return 1 + max(int(name.split(".")[1]) for name in w if name.startswith("blocks."))


def cubic(t: Tensor, a: float = -0.75) -> Tensor:
    """Return Keys' cubic convolution kernel."""
    t = t.abs()
    near = (a + 2) * t**3 - (a + 3) * t**2 + 1
    far = a * (t**3 - 5 * t**2 + 8 * t - 4)
    return torch.where(t <= 1, near, torch.where(t < 2, far, torch.zeros_like(t)))


def bicubic_matrix(old: int, new: int, scale: float) -> Tensor:
    """Return [new, old]: output pixel i is at (i + 1/2) / scale - 1/2 of the input."""
    matrix = torch.zeros(new, old, dtype=torch.float64)
    for i in range(new):
        at = (i + 0.5) / scale - 0.5
        for tap in range(math.floor(at) - 1, math.floor(at) + 3):
            matrix[i, min(max(tap, 0), old - 1)] += cubic(torch.tensor(at - tap).double())
    return matrix


def resized_positions(positions: Tensor, new: int, scale: float | None, prefix: int = 1) -> Tensor:
    """Return position embeddings [1, prefix + n n, D], bicubic, without antialiasing."""
    old = math.isqrt(positions.shape[1] - prefix)
    matrix = bicubic_matrix(old, new, scale or new / old)
    grid = positions[0, prefix:].reshape(old, old, -1).double()
    grid = torch.einsum("ia,jb,abd->ijd", matrix, matrix, grid).float()
    return torch.cat([positions[:, :prefix], grid.reshape(1, new * new, -1)], dim=1)


def dino(w: Weights, images: Tensor, heads: int) -> Tensor:
    """Return the normed tokens [B, 1 + N, D] of DINO and DINO4Cells at any image size."""
    weight = w["patch_embed.proj.weight"]
    x = patch_tokens(images, weight, w["patch_embed.proj.bias"])
    side, old = math.isqrt(x.shape[1]), math.isqrt(w["pos_embed"].shape[1] - 1)
    positions = w["pos_embed"]
    if side != old:
        positions = resized_positions(positions, side, (side + 0.1) / old)
    x = torch.cat([w["cls_token"].expand(len(x), -1, -1), x], dim=1) + positions
    for i in range(depth(w)):
        x = block(x, w, f"blocks.{i}", heads)
    return layer_norm(x, w, "norm", 1e-6)


def channel_agnostic_mae(w: Weights, images: Tensor, heads: int) -> Tensor:
    """Return the tokens [B, 1 + C N, D] before the last norm, for channels in any number."""
    weight, bias = w["patch_embed.proj.weight"], w["patch_embed.proj.bias"]
    parts = [patch_tokens(images[:, i : i + 1], weight, bias) for i in range(images.shape[1])]
    x = torch.cat([w["cls_token"].expand(len(images), -1, -1), *parts], dim=1)
    x = x + w["pos_embed"][:, : x.shape[1]]
    for i in range(depth(w)):
        x = x + parallel_block(x, w, f"blocks.{i}", heads)
    return x


def parallel_block(x: Tensor, w: Weights, name: str, heads: int) -> Tensor:
    """Return what attention and feed-forward side by side add (ViT-22B)."""
    width, hidden = x.shape[-1], w[f"{name}.mlp_bias"].shape[0]
    y = layer_norm(x, w, f"{name}.in_norm", 1e-6) @ w[f"{name}.in_proj.weight"].T
    fed, q, k, v = y.split([hidden, width, width, width], dim=-1)
    q, k = (
        layer_norm(t.unflatten(-1, (heads, -1)), w, f"{name}.{norm}", 1e-6).flatten(-2)
        for t, norm in ((q, "q_norm"), (k, "k_norm"))
    )
    attended = linear(attention(q, k, v, heads), w, f"{name}.attn_out_proj")
    fed = linear(gelu(fed + w[f"{name}.mlp_bias"]), w, f"{name}.mlp_out_proj")
    return (attended + fed) * w[f"{name}.ls.gamma"]


def channel_vit(w: Weights, images: Tensor, channels: list[int], heads: int) -> Tensor:
    """Return the normed tokens of ChannelViT for some of its channels, images [B, C', H, W]."""
    weight = w["patch_embed.proj.weight"][:, :, 0]
    bias = w["patch_embed.proj.bias"]
    table = w.get("patch_embed.channel_embed.weight")
    if table is None:
        table = w["patch_embed.channel_embed"][0, :, :, 0, 0].T
    positions = w["pos_embed"]
    parts = []
    for i, channel in enumerate(channels):
        tokens = patch_tokens(images[:, i : i + 1], weight, bias)
        side, old = math.isqrt(tokens.shape[1]), math.isqrt(w["pos_embed"].shape[1] - 1)
        # The published code compares all tokens with the positions of one channel, so that several
        # channels are resampled even to the size they have.
        if side != old or len(channels) > 1:
            positions = resized_positions(w["pos_embed"], side, (side + 0.1) / old)
        parts.append(tokens + table[channel] + positions[:, 1:])
    first = (w["cls_token"] + positions[:, :1]).expand(len(images), -1, -1)
    x = torch.cat([first, *parts], dim=1)
    for i in range(depth(w)):
        x = block(x, w, f"blocks.{i}", heads)
    return layer_norm(x, w, "norm", 1e-6)


def transformers_vit(w: Weights, images: Tensor, heads: int) -> Tensor:
    """Return the normed tokens of a ViT under the names of the transformers library."""
    start = "embeddings.patch_embeddings.projection"
    x = patch_tokens(images, w[f"{start}.weight"], w[f"{start}.bias"])
    side, positions = math.isqrt(x.shape[1]), w["embeddings.position_embeddings"]
    if x.shape[1] + 1 != positions.shape[1]:
        positions = resized_positions(positions, side, None)
    x = torch.cat([w["embeddings.cls_token"].expand(len(x), -1, -1), x], dim=1) + positions
    layers = 1 + max(int(n.split(".")[2]) for n in w if n.startswith("encoder.layer."))
    for i in range(layers):
        name = f"encoder.layer.{i}"
        y = layer_norm(x, w, f"{name}.layernorm_before", 1e-12)
        q, k, v = (
            linear(y, w, f"{name}.attention.attention.{n}") for n in ("query", "key", "value")
        )
        x = x + linear(attention(q, k, v, heads), w, f"{name}.attention.output.dense")
        y = layer_norm(x, w, f"{name}.layernorm_after", 1e-12)
        x = x + linear(gelu(linear(y, w, f"{name}.intermediate.dense")), w, f"{name}.output.dense")
    return layer_norm(x, w, "layernorm", 1e-12)


def gated_pooling(w: Weights, tokens: Tensor) -> Tensor:
    """Return SubCell's pooled features [B, H D], names as after training with dropout."""
    v = torch.tanh(linear(tokens, w, "attention_v.1"))
    u = gelu(linear(tokens, w, "attention_u.1"))
    scores = linear(v * u, w, "attention").transpose(1, 2).softmax(dim=-1)
    return (scores @ tokens).flatten(1)


def dinov3(w: Weights, images: Tensor, heads: int) -> Tensor:
    """Return the normed tokens of DINOv3, with rotary positions and masked key biases."""
    x = patch_tokens(images, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"])
    side = math.isqrt(x.shape[1])
    first = torch.cat([w["cls_token"], w["storage_tokens"]], dim=1)
    x = torch.cat([first.expand(len(x), -1, -1), x], dim=1)
    prefix = first.shape[1]
    sin, cos = rotary(side, w["rope_embed.periods"])
    for i in range(depth(w)):
        name = f"blocks.{i}"
        bias = w[f"{name}.attn.qkv.bias"] * w[f"{name}.attn.qkv.bias_mask"]
        y = layer_norm(x, w, f"{name}.norm1", 1e-5) @ w[f"{name}.attn.qkv.weight"].T + bias
        q, k, v = y.chunk(3, dim=-1)
        q, k = (rotated(t, sin, cos, heads, prefix) for t in (q, k))
        attended = linear(attention(q, k, v, heads), w, f"{name}.attn.proj")
        x = x + attended * w[f"{name}.ls1.gamma"]
        y = layer_norm(x, w, f"{name}.norm2", 1e-5)
        x = x + dinov3_feed_forward(y, w, f"{name}.mlp") * w[f"{name}.ls2.gamma"]
    return layer_norm(x, w, "norm", 1e-5)


def dinov3_feed_forward(x: Tensor, w: Weights, name: str) -> Tensor:
    if f"{name}.w1.weight" not in w:
        return linear(gelu(linear(x, w, f"{name}.fc1")), w, f"{name}.fc2")
    gate = linear(x, w, f"{name}.w1")
    return linear(gate * torch.sigmoid(gate) * linear(x, w, f"{name}.w2"), w, f"{name}.w3")


def rotary(side: int, periods: Tensor) -> tuple[Tensor, Tensor]:
    centres = (torch.arange(side) + 0.5) / side * 2 - 1
    rows, columns = centres.repeat_interleave(side), centres.repeat(side)
    angles = [2 * math.pi * at[:, None] / periods[None] for at in (rows, columns)]
    both = torch.cat(angles, dim=1).repeat(1, 2)
    return both.sin(), both.cos()


def rotated(x: Tensor, sin: Tensor, cos: Tensor, heads: int, prefix: int) -> Tensor:
    own = x[:, prefix:].unflatten(-1, (heads, -1))
    left, right = own.chunk(2, dim=-1)
    turned = torch.cat([-right, left], dim=-1)
    out = own * cos[None, :, None] + turned * sin[None, :, None]
    return torch.cat([x[:, :prefix], out.flatten(-2)], dim=1)


def dinov2(w: Weights, images: Tensor, heads: int) -> Tensor:
    """Return the normed tokens [B, 1 + registers + N, D] of DINOv2, blocks unchunked."""
    x = patch_tokens(images, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"])
    side, positions = math.isqrt(x.shape[1]), w["pos_embed"]
    old = math.isqrt(positions.shape[1] - 1)
    registers = w.get("register_tokens")
    if side != old and registers is None:
        positions = resized_positions(positions, side, (side + 0.1) / old)
    elif side != old:
        grid = positions[:, 1:].reshape(1, old, old, -1).permute(0, 3, 1, 2)
        grid = functional.interpolate(grid, (side, side), mode="bicubic", antialias=True)
        grid = grid.permute(0, 2, 3, 1).flatten(1, 2)
        positions = torch.cat([positions[:, :1], grid], dim=1)
    x = torch.cat([w["cls_token"].expand(len(x), -1, -1), x], dim=1) + positions
    if registers is not None:
        x = torch.cat([x[:, :1], registers.expand(len(x), -1, -1), x[:, 1:]], dim=1)
    for i in range(depth(w)):
        x = block(x, w, f"blocks.{i}", heads) if f"blocks.{i}.mlp.fc1.weight" in w else (
            gated_block(x, w, f"blocks.{i}", heads))  # fmt: skip
    return layer_norm(x, w, "norm", 1e-6)


def gated_block(x: Tensor, w: Weights, name: str, heads: int) -> Tensor:
    q, k, v = linear(layer_norm(x, w, f"{name}.norm1", 1e-6), w, f"{name}.attn.qkv").chunk(3, -1)
    attended = linear(attention(q, k, v, heads), w, f"{name}.attn.proj")
    x = x + attended * w[f"{name}.ls1.gamma"]
    y = linear(layer_norm(x, w, f"{name}.norm2", 1e-6), w, f"{name}.mlp.w12")
    gate, value = y.chunk(2, dim=-1)
    fed = linear(gate * torch.sigmoid(gate) * value, w, f"{name}.mlp.w3")
    return x + fed * w[f"{name}.ls2.gamma"]


def query_pooling(w: Weights, tokens: Tensor, heads: int) -> Tensor:
    """Return what CoCa's learned queries [Q, P] attend to in tokens [B, N, D]: [B, Q, P]."""
    keys = layer_norm(tokens, w, "ln_k", 1e-5)
    query = layer_norm(w["query"], w, "ln_q", 1e-5).expand(len(tokens), -1, -1)
    biases = w["attn.in_proj_bias"].chunk(3)
    q, k, v = (
        x @ w[f"attn.{name}_proj_weight"].T + bias
        for x, name, bias in zip((query, keys, keys), "qkv", biases, strict=True)
    )
    return linear(attention(q, k, v, heads), w, "attn.out_proj")


def without_class_token(w: Weights, images: Tensor, heads: int) -> Tensor:
    """Return the normed tokens [B, N, D] of a ViT that has patches alone."""
    x = patch_tokens(images, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"])
    x = x + w["pos_embed"]
    for i in range(depth(w)):
        x = block(x, w, f"blocks.{i}", heads)
    return layer_norm(x, w, "norm", 1e-6)


def latent_pooling(w: Weights, tokens: Tensor, heads: int) -> Tensor:
    """Return SigLIP's pooled features [B, D]."""
    q = linear(w["attn_pool.latent"].expand(len(tokens), -1, -1), w, "attn_pool.q")
    k, v = linear(tokens, w, "attn_pool.kv").chunk(2, dim=-1)
    x = linear(attention(q, k, v, heads), w, "attn_pool.proj")
    y = gelu(linear(layer_norm(x, w, "attn_pool.norm", 1e-6), w, "attn_pool.mlp.fc1"))
    return (x + linear(y, w, "attn_pool.mlp.fc2"))[:, 0]


def convnext(w: Weights, images: Tensor) -> Tensor:
    """Return the pooled and normed features [B, D] of ConvNeXt."""
    x = functional.conv2d(images, w["stem.0.weight"], w["stem.0.bias"], stride=4)
    x = map_norm(x, w, "stem.1")
    for stage in range(4):
        name = f"stages.{stage}"
        if stage:
            x = map_norm(x, w, f"{name}.downsample.0")
            weight, bias = (w[f"{name}.downsample.1.{kind}"] for kind in ("weight", "bias"))
            x = functional.conv2d(x, weight, bias, stride=2)
        blocks = {n.split(".")[3] for n in w if n.startswith(f"{name}.blocks.")}
        for i in range(len(blocks)):
            inner = f"{name}.blocks.{i}"
            weight, bias = (w[f"{inner}.conv_dw.{kind}"] for kind in ("weight", "bias"))
            y = functional.conv2d(x, weight, bias, padding=3, groups=len(weight))
            y = layer_norm(y.permute(0, 2, 3, 1), w, f"{inner}.norm", 1e-6)
            y = linear(gelu(linear(y, w, f"{inner}.mlp.fc1")), w, f"{inner}.mlp.fc2")
            x = x + (y * w[f"{inner}.gamma"]).permute(0, 3, 1, 2)
    return layer_norm(x.mean(dim=(2, 3)), w, "head.norm", 1e-6)


def map_norm(x: Tensor, w: Weights, name: str) -> Tensor:
    """Return a map [B, D, h, w] with the features of each position normed."""
    return layer_norm(x.permute(0, 2, 3, 1), w, name, 1e-6).permute(0, 3, 1, 2)


def segment_anything(w: Weights, images: Tensor, heads: int, window: int) -> Tensor:
    """Return the map [B, 256, h, w] of SAM's image encoder; window 0: every block is global."""
    patch = w["patch_embed.proj.weight"].shape[-1]
    side = images.shape[-1] // patch
    x = patch_tokens(images, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"])
    x = x.unflatten(1, (side, side)) + w["pos_embed"]
    for i in range(depth(w)):
        name = f"blocks.{i}"
        y = layer_norm(x, w, f"{name}.norm1", 1e-6)
        is_global = window == 0 or len(w[f"{name}.attn.rel_pos_h"]) != 2 * window - 1
        x = x + (
            relative_attention(y, w, f"{name}.attn", heads)
            if is_global
            else windowed(y, w, f"{name}.attn", heads, window)
        )
        y = gelu(linear(layer_norm(x, w, f"{name}.norm2", 1e-6), w, f"{name}.mlp.lin1"))
        x = x + linear(y, w, f"{name}.mlp.lin2")
    x = functional.conv2d(x.permute(0, 3, 1, 2), w["neck.0.weight"])
    x = functional.conv2d(map_norm(x, w, "neck.1"), w["neck.2.weight"], padding=1)
    return map_norm(x, w, "neck.3")


def windowed(x: Tensor, w: Weights, name: str, heads: int, size: int) -> Tensor:
    """Return attention within windows of a map [B, h, w, D], which zeros fill up."""
    side = x.shape[1]
    more = -side % size
    padded = functional.pad(x, (0, 0, 0, more, 0, more))
    out = torch.empty_like(padded)
    for top in range(0, side + more, size):
        for left in range(0, side + more, size):
            own = slice(top, top + size), slice(left, left + size)
            out[:, *own] = relative_attention(padded[:, *own], w, name, heads)
    return out[:, :side, :side]


def relative_attention(x: Tensor, w: Weights, name: str, heads: int) -> Tensor:
    """Return attention with relative positions along each axis, of a map [B, h, w, D]."""
    side, width = x.shape[1], x.shape[-1] // heads
    q, k, v = linear(x.flatten(1, 2), w, f"{name}.qkv").chunk(3, dim=-1)
    steps = torch.arange(side)
    ahead = steps[:, None] - steps[None] + side - 1
    by_row, by_column = (
        stretched(w[f"{name}.rel_pos_{axis}"], 2 * side - 1)[ahead] for axis in "hw"
    )
    parts = []
    for head in range(heads):
        own = slice(head * width, (head + 1) * width)
        scores = (q[..., own] @ k[..., own].transpose(1, 2) / math.sqrt(width)).unflatten(
            1, (side, side)
        )
        scores = scores.unflatten(-1, (side, side))
        asked = q[..., own].unflatten(1, (side, side))
        scores = scores + torch.einsum("bijd,ikd->bijk", asked, by_row)[..., None]
        scores = scores + torch.einsum("bijd,jkd->bijk", asked, by_column)[..., None, :]
        shares = scores.flatten(3).softmax(dim=-1).flatten(1, 2)
        parts.append(shares @ v[..., own])
    return linear(torch.cat(parts, dim=-1), w, f"{name}.proj").unflatten(1, (side, side))


def stretched(table: Tensor, rows: int) -> Tensor:
    """Return a table [L, D] with another number of rows, each between the two nearest."""
    old = len(table)
    at = ((torch.arange(rows) + 0.5) * old / rows - 0.5).clamp(0, old - 1)
    low = at.floor().long().clamp(max=max(old - 2, 0))
    part = (at - low)[:, None]
    return table[low] * (1 - part) + table[(low + 1).clamp(max=old - 1)] * part
