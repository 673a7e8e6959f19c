"""What the repositories of published backbones hold: names and shapes, and what they compute.

Written from the code that the authors, timm and the transformers library publish, and not from the
networks here. Depths are arguments, so that a test can write a file of one or two blocks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import reference_networks as reference
from checkpoint_files import State

Shapes = dict[str, tuple[int, ...]]
Outputs = dict[str, Tensor]


@dataclass(frozen=True)
class Published:
    """One published backbone.

    Parameters
    ----------
    depth
        Blocks, or their numbers per stage.
    tokens, width
        Of the last features for one image of the card's size: class token, registers and patches,
        or positions of the map; features per token.
    prefix
        Class token and registers.
    millions
        Weights of the network, as the authors or the size of the file say.
    shapes
        Depth -> names and shapes in the file.
    outputs
        Weights of a file, images -> what each output of the card has to be. None: cards of the
        same layout are compared already.
    reduced
        Depth for a test, and the changes to a card that go with it.
    changes
        Further changes to the card for that test.
    size
        Side in px of the images that the file has positions for; None: the card's.
    """

    depth: Any
    tokens: int
    width: int
    prefix: int
    millions: float
    shapes: Callable[[Any], Shapes]
    outputs: Callable[[State, Tensor], Outputs] | None = None
    reduced: tuple[Any, Mapping[str, Any]] = (1, {"depth": 1})
    changes: Mapping[str, Any] = field(default_factory=dict)
    size: int | None = None


def affine(name: str, out: int, into: int) -> Shapes:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def stem(width: int, patch: int, channels: int = 3) -> Shapes:
    name = "patch_embed.proj"
    return {f"{name}.weight": (width, channels, patch, patch), f"{name}.bias": (width,)}


def block(name: str, width: int, fed: tuple[str, str], hidden: tuple[int, int]) -> Shapes:
    """Return a block whose feed-forward network has `hidden` features, and those that gate them."""
    return {
        **norm(f"{name}.norm1", width), **affine(f"{name}.attn.qkv", 3 * width, width),
        **affine(f"{name}.attn.proj", width, width), **norm(f"{name}.norm2", width),
        **affine(f"{name}.mlp.{fed[0]}", hidden[0], width),
        **affine(f"{name}.mlp.{fed[1]}", width, hidden[1]),
    }  # fmt: skip


def vit(
    width: int,
    patch: int,
    positions: int,
    depth: int,
    hidden: tuple[int, int] | None = None,
    *,
    fed: tuple[str, str] = ("fc1", "fc2"),
    registers: tuple[str, int] | None = None,
    scaled: bool = False,
    channels: int = 3,
) -> Shapes:
    """Return a vision transformer with a class token, as timm, DINO and DINOv2 name it."""
    shapes = {"cls_token": (1, 1, width), "pos_embed": (1, positions, width)}
    shapes |= {registers[0]: (1, registers[1], width)} if registers else {}
    shapes |= stem(width, patch, channels)
    for n in range(depth):
        shapes |= block(f"blocks.{n}", width, fed, hidden or (4 * width, 4 * width))
        shapes |= {f"blocks.{n}.ls{i}.gamma": (width,) for i in (1, 2)} if scaled else {}
    return shapes | norm("norm", width)


def transformers_vit(
    width: int, patch: int, positions: int, depth: int, gated: int = 0, registers: int = 0
) -> Shapes:
    """Return DINOv2 as the transformers library names it; gated: features of the gate."""
    start = "embeddings.patch_embeddings.projection"
    shapes = {
        "embeddings.cls_token": (1, 1, width),
        "embeddings.mask_token": (1, width),
        "embeddings.position_embeddings": (1, positions, width),
        f"{start}.weight": (width, 3, patch, patch),
        f"{start}.bias": (width,),
        **({"embeddings.register_tokens": (1, registers, width)} if registers else {}),
    }
    for n in range(depth):
        name = f"encoder.layer.{n}"
        shapes |= norm(f"{name}.norm1", width) | norm(f"{name}.norm2", width)
        for part in ("query", "key", "value"):
            shapes |= affine(f"{name}.attention.attention.{part}", width, width)
        shapes |= affine(f"{name}.attention.output.dense", width, width)
        shapes |= {f"{name}.layer_scale{i}.lambda1": (width,) for i in (1, 2)}
        if gated:
            shapes |= affine(f"{name}.mlp.weights_in", 2 * gated, width)
            shapes |= affine(f"{name}.mlp.weights_out", width, gated)
        else:
            shapes |= affine(f"{name}.mlp.fc1", 4 * width, width)
            shapes |= affine(f"{name}.mlp.fc2", width, 4 * width)
    return shapes | norm("layernorm", width)


def sam(
    prefix: str, width: int, head: int, patch: int, side: int, tables: list[int], rest: Shapes
) -> Shapes:
    """Return SAM's image encoder; tables: rows of the relative positions of each block."""
    shapes = {"pos_embed": (1, side, side, width), **stem(width, patch)}
    for n, rows in enumerate(tables):
        shapes |= block(f"blocks.{n}", width, ("lin1", "lin2"), (4 * width, 4 * width))
        shapes |= {f"blocks.{n}.attn.rel_pos_{axis}": (rows, head) for axis in "hw"}
    neck = {
        "neck.0.weight": (256, width, 1, 1), **norm("neck.1", 256),
        "neck.2.weight": (256, 256, 3, 3), **norm("neck.3", 256),
    }  # fmt: skip
    return {prefix + name: shape for name, shape in (shapes | neck).items()} | rest


def conch(depth: int) -> Shapes:
    """Return CONCH's encoder of images, with one weight each of the parts that are left out."""
    pooled, width = 512, 768
    shapes = {f"trunk.{name}": shape for name, shape in vit(768, 16, 785, depth).items()}
    for name, features in (("attn_pool_contrast", pooled), ("attn_pool_caption", width)):
        shapes |= {f"{name}.query": (1, features), f"{name}.attn.in_proj_bias": (3 * features,)}
        shapes |= norm(f"{name}.ln_q", features) | norm(f"{name}.ln_k", width)
        shapes |= affine(f"{name}.attn.out_proj", features, features)
    name = "attn_pool_contrast.attn"
    shapes[f"{name}.q_proj_weight"] = (pooled, pooled)
    shapes |= {f"{name}.{part}_proj_weight": (pooled, width) for part in "kv"}
    shapes["attn_pool_caption.attn.in_proj_weight"] = (3 * width, width)
    shapes |= norm("ln_contrast", pooled) | norm("ln_caption", width)
    shapes["proj_contrast"] = (pooled, pooled)
    captions = {"text.token_embedding.weight": (9, 8), "logit_scale": ()}
    captions["text_decoder.resblocks.0.ln_1.weight"] = (8,)
    return {f"visual.{name}": shape for name, shape in shapes.items()} | captions


def siglip(depth: int) -> Shapes:
    width, pool = 768, "attn_pool"
    shapes = vit(width, 16, 196, depth)
    del shapes["cls_token"]
    return {
        **shapes, f"{pool}.latent": (1, 1, width), **affine(f"{pool}.q", width, width),
        **affine(f"{pool}.kv", 2 * width, width), **affine(f"{pool}.proj", width, width),
        **norm(f"{pool}.norm", width), **affine(f"{pool}.mlp.fc1", 4 * width, width),
        **affine(f"{pool}.mlp.fc2", width, 4 * width),
    }  # fmt: skip


def dinov3_small_plus(depth: int) -> Shapes:
    width, hidden = 384, 1536
    shapes = {"cls_token": (1, 1, width), "reg_token": (1, 4, width), **stem(width, 16)}
    for n in range(depth):
        name = f"blocks.{n}"
        shapes |= norm(f"{name}.norm1", width) | norm(f"{name}.norm2", width)
        shapes[f"{name}.attn.qkv.weight"] = (3 * width, width)
        shapes |= affine(f"{name}.attn.proj", width, width)
        shapes |= {f"{name}.gamma_{i}": (width,) for i in (1, 2)}
        shapes |= affine(f"{name}.mlp.fc1_g", hidden, width)
        shapes |= affine(f"{name}.mlp.fc1_x", hidden, width)
        shapes |= affine(f"{name}.mlp.fc2", width, hidden)
    return shapes | norm("norm", width)


def dinov3_base(depth: int) -> Shapes:
    width = 768
    shapes = {"cls_token": (1, 1, width), "reg_token": (1, 4, width), **stem(width, 16)}
    for n in range(depth):
        shapes |= block(f"blocks.{n}", width, ("fc1", "fc2"), (4 * width, 4 * width))
        del shapes[f"blocks.{n}.attn.qkv.bias"]
        shapes |= {f"blocks.{n}.gamma_{i}": (width,) for i in (1, 2)}
    return shapes | norm("norm", width)


def convnext_tiny(depths: list[int]) -> Shapes:
    shapes: Shapes = {"stem.0.weight": (96, 3, 4, 4), "stem.0.bias": (96,), **norm("stem.1", 96)}
    for stage, depth in enumerate(depths):
        width = 96 * 2**stage
        if stage:
            name = f"stages.{stage}.downsample"
            shapes |= norm(f"{name}.0", width // 2)
            shapes |= {f"{name}.1.weight": (width, width // 2, 2, 2), f"{name}.1.bias": (width,)}
        for n in range(depth):
            name = f"stages.{stage}.blocks.{n}"
            shapes |= {f"{name}.conv_dw.weight": (width, 1, 7, 7), f"{name}.gamma": (width,)}
            shapes |= {f"{name}.conv_dw.bias": (width,), **norm(f"{name}.norm", width)}
            shapes |= affine(f"{name}.mlp.fc1", 4 * width, width)
            shapes |= affine(f"{name}.mlp.fc2", width, 4 * width)
    return shapes | norm("head.norm", 768)


def cell_dino(depth: int) -> Shapes:
    """Return the teacher of Cell-DINO's training, whose blocks stand in four chunks."""
    plain = vit(1024, 16, 197, depth, scaled=True, channels=4)
    own = {"mask_token": (1, 1024), "dino_head.mlp.0.weight": (8, 1024)}
    per_chunk = max(1, depth // 4)
    for name, shape in plain.items():
        parts = name.split(".")
        if parts[0] == "blocks":
            parts.insert(1, str(int(parts[1]) // per_chunk))
        own[".".join(parts)] = shape
    head = own.pop("dino_head.mlp.0.weight")
    named = {f"teacher.backbone.{name}": shape for name, shape in own.items()}
    return {**named, "teacher.dino_head.mlp.0.weight": head}


def dino4cells(depth: int, width: int = 768, channels: int = 4) -> Shapes:
    """Return teacher and student of DINO's training, with their heads."""
    own = vit(width, 16, 197, depth, channels=channels)
    heads = {"head.mlp.0.weight": (8, width), "head.last_layer.weight_v": (9, 8)}
    networks = {"teacher": "backbone.", "student": "module.backbone."}
    found: Shapes = {}
    for network, prefix in networks.items():
        found |= {f"{network}.{prefix}{name}": shape for name, shape in own.items()}
        stem_of_head = prefix.removesuffix("backbone.")
        found |= {f"{network}.{stem_of_head}{name}": shape for name, shape in heads.items()}
    return found


def subcell(depth: int) -> Shapes:
    """Return SubCell's encoder and pooling, as after training with dropout."""
    width, start = 768, "embeddings.patch_embeddings.projection"
    shapes: Shapes = {
        "embeddings.cls_token": (1, 1, width),
        "embeddings.position_embeddings": (1, 785, width),
        f"{start}.weight": (width, 4, 16, 16),
        f"{start}.bias": (width,),
        **norm("layernorm", width),
    }
    for n in range(depth):
        name = f"encoder.layer.{n}"
        for part in ("query", "key", "value"):
            shapes |= affine(f"{name}.attention.attention.{part}", width, width)
        shapes |= affine(f"{name}.attention.output.dense", width, width)
        shapes |= affine(f"{name}.intermediate.dense", 4 * width, width)
        shapes |= affine(f"{name}.output.dense", width, 4 * width)
        shapes |= norm(f"{name}.layernorm_before", width) | norm(f"{name}.layernorm_after", width)
    pooling = {
        **affine("attention_v.1", 512, width), **affine("attention_u.1", 512, width),
        **affine("attention", 2, 512),
    }  # fmt: skip
    encoder = {f"encoder.{name}": shape for name, shape in shapes.items()}
    return encoder | {f"pool_model.{name}": shape for name, shape in pooling.items()}


def random_state(shapes: Shapes, seed: int = 0) -> State:
    """Return random weights whose sizes keep activations near 1."""
    random = torch.Generator().manual_seed(seed)

    def values(name: str, shape: tuple[int, ...]) -> Tensor:
        drawn = torch.randn(shape, generator=random)
        if len(shape) > 1:
            is_token = shape[0] == 1
            return drawn * (0.5 if is_token else math.prod(shape[1:]) ** -0.5)
        if name.endswith(("gamma", "lambda1", "gamma_1", "gamma_2")):
            return drawn * 0.3 + 0.5
        return drawn * 0.2 + (1.0 if name.endswith("weight") else 0.0)

    return {name: values(name, shape) for name, shape in shapes.items()}


def pooled(tokens: Tensor, prefix: int) -> Outputs:
    """Return class token, mean of the patches, and both, of tokens [B, N, D]."""
    cls, mean = tokens[:, 0], tokens[:, prefix:].mean(dim=1)
    return {"cls": cls, "mean": mean, "cls-mean": torch.cat([cls, mean], dim=1)}


def as_dinov2(w: State) -> State:
    """Return timm's names and positions of DINOv2 with registers as DINOv2's own."""
    registers, positions = w["reg_token"], w["pos_embed"]
    n = registers.shape[1]
    if positions.shape[1] == 256:  # of the patches alone
        positions = torch.cat([torch.zeros_like(w["cls_token"]), positions], dim=1)
    else:  # registers have positions, too
        registers = registers + positions[:, 1 : 1 + n]
        positions = torch.cat([positions[:, :1], positions[:, 1 + n :]], dim=1)
    own = {
        name.replace("mlp.fc1", "mlp.w12").replace("mlp.fc2", "mlp.w3"): tensor
        for name, tensor in w.items()
    }
    return {**own, "register_tokens": registers, "pos_embed": positions}


def from_transformers(w: State) -> State:
    """Return the transformers library's names of DINOv2 as DINOv2's own."""
    renamed: State = {
        "cls_token": w["embeddings.cls_token"],
        "pos_embed": w["embeddings.position_embeddings"],
        "norm.weight": w["layernorm.weight"],
        "norm.bias": w["layernorm.bias"],
    }
    if "embeddings.register_tokens" in w:
        renamed["register_tokens"] = w["embeddings.register_tokens"]
    for kind in ("weight", "bias"):
        renamed[f"patch_embed.proj.{kind}"] = w[f"embeddings.patch_embeddings.projection.{kind}"]
    names = {
        "attention.output.dense": "attn.proj", "norm1": "norm1", "norm2": "norm2",
        "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2", "mlp.weights_in": "mlp.w12",
        "mlp.weights_out": "mlp.w3",
    }  # fmt: skip
    depth = 1 + max(int(name.split(".")[2]) for name in w if name.startswith("encoder.layer."))
    for n in range(depth):
        old, new = f"encoder.layer.{n}", f"blocks.{n}"
        for i in (1, 2):
            renamed[f"{new}.ls{i}.gamma"] = w[f"{old}.layer_scale{i}.lambda1"]
        for kind in ("weight", "bias"):
            parts = [w[f"{old}.attention.attention.{p}.{kind}"] for p in ("query", "key", "value")]
            renamed[f"{new}.attn.qkv.{kind}"] = torch.cat(parts)
            for part, name in names.items():
                if f"{old}.{part}.{kind}" in w:
                    renamed[f"{new}.{name}.{kind}"] = w[f"{old}.{part}.{kind}"]
    return renamed


def as_dinov3(w: State) -> State:
    """Return timm's names of DINOv3 as DINOv3's own."""
    renamed = dict(w)
    for old, new in (
        ("gamma_1", "ls1.gamma"), ("gamma_2", "ls2.gamma"), ("mlp.fc1_g", "mlp.w1"),
        ("mlp.fc1_x", "mlp.w2"), ("mlp.fc2", "mlp.w3"), ("reg_token", "storage_tokens"),
    ):  # fmt: skip
        renamed = {name.replace(old, new): tensor for name, tensor in renamed.items()}
    renamed["rope_embed.periods"] = 100.0 ** (torch.arange(16) / 16)
    for name in [n for n in renamed if n.endswith("qkv.weight")]:
        zero = torch.zeros(renamed[name].shape[0])
        renamed |= {f"{name[:-6]}bias": zero, f"{name[:-6]}bias_mask": zero}
    return renamed


def without_prefix(w: State, prefix: str) -> State:
    return {n.removeprefix(prefix): t for n, t in w.items() if n.startswith(prefix)}


def dinov2_outputs(heads: int, prefix: int, plain: Callable[[State], State]) -> Any:
    return lambda w, x: pooled(reference.dinov2(plain(w), x, heads), prefix)


def conch_outputs(w: State, x: Tensor) -> Outputs:
    own = without_prefix(w, "visual.")
    tokens = reference.dino(without_prefix(own, "trunk."), x, 12)
    pooling = reference.query_pooling(without_prefix(own, "attn_pool_contrast."), tokens, 8)
    attended = reference.layer_norm(pooling[:, 0], own, "ln_contrast", 1e-5)
    return {"attention": attended, **pooled(tokens, 1)}


def subcell_outputs(w: State, x: Tensor) -> Outputs:
    tokens = reference.transformers_vit(without_prefix(w, "encoder."), x, 12)
    pooling = reference.gated_pooling(without_prefix(w, "pool_model."), tokens)
    return {"attention": pooling, **pooled(tokens, 1)}


def cell_dino_outputs(w: State, x: Tensor) -> Outputs:
    own = without_prefix(w, "teacher.backbone.")
    plain = {re.sub(r"^blocks\.\d+\.", "blocks.", name): t for name, t in own.items()}
    return pooled(reference.dinov2(plain, x, 16), 1)


def dino_outputs(heads: int, prefix: str = "") -> Any:
    return lambda w, x: pooled(reference.dino(without_prefix(w, prefix), x, heads), 1)


def siglip_outputs(w: State, x: Tensor) -> Outputs:
    tokens = reference.without_class_token(w, x, 12)
    return {"attention": reference.latent_pooling(w, tokens, 12), "mean": tokens.mean(dim=1)}


def sam_outputs(prefix: str, heads: int, window: int) -> Any:
    def outputs(w: State, x: Tensor) -> Outputs:
        found = reference.segment_anything(without_prefix(w, prefix), x, heads, window)
        return {"mean": found.mean(dim=(2, 3))}

    return outputs


MASKS: Shapes = {
    "prompt_encoder.no_mask_embed.weight": (1, 256), "mask_decoder.iou_token.weight": (1, 256),
}  # fmt: skip
READOUT: Shapes = {
    "module.out.weight": (192, 256, 1, 1), "module.out.bias": (192,),
    "module.W2": (192, 3, 8, 8), "module.diam_labels": (1,), "module.diam_mean": (1,),
}  # fmt: skip
SAM_GLOBAL = (2, 5, 8, 11)
GIANT, GATED = 1536, ("w12", "w3")


def timm_gated(width: int, hidden: int, registers: int, positions: int) -> Callable[[int], Shapes]:
    return lambda depth: vit(
        width, 14, positions, depth, (hidden, hidden // 2), registers=("reg_token", registers),
        scaled=True,
    )  # fmt: skip


def of_transformers(width: int, patch: int, gated: int, registers: int) -> Callable[[int], Shapes]:
    positions = 1 + (224 // patch) ** 2
    return lambda depth: transformers_vit(width, patch, positions, depth, gated, registers)


def openmidnight(depth: int) -> Shapes:
    own = vit(
        GIANT, 14, 257, depth, (8192, 4096), fed=GATED, registers=("register_tokens", 4),
        scaled=True,
    )  # fmt: skip
    return {**own, "mask_token": (1, GIANT)}


H_OPTIMUS = Published(
    40, 261, GIANT, 5, 1134.8, timm_gated(GIANT, 8192, 4, 256), dinov2_outputs(24, 5, as_dinov2)
)
PUBLISHED: dict[str, Published] = {
    "uni2-h": Published(
        24, 265, GIANT, 9, 681.4, timm_gated(GIANT, 8192, 8, 256), dinov2_outputs(24, 9, as_dinov2)
    ),
    "virchow2": Published(
        32, 261, 1280, 5, 631.2, timm_gated(1280, 6832, 4, 261), dinov2_outputs(16, 5, as_dinov2)
    ),
    "h-optimus-0": H_OPTIMUS,
    "h-optimus-1": H_OPTIMUS,
    "h0-mini": Published(
        12, 261, 768, 5, 85.7, timm_gated(768, 4096, 4, 256), dinov2_outputs(12, 5, as_dinov2)
    ),
    "phikon-v2": Published(
        24, 197, 1024, 1, 303.4, of_transformers(1024, 16, 0, 0),
        dinov2_outputs(16, 1, from_transformers),
    ),
    "midnight": Published(
        40, 257, GIANT, 1, 1134.8, of_transformers(GIANT, 14, 4096, 0),
        dinov2_outputs(24, 1, from_transformers),
    ),
    "hibou-b": Published(
        12, 261, 768, 5, 85.7, of_transformers(768, 14, 2048, 4),
        dinov2_outputs(12, 5, from_transformers),
    ),
    "hibou-l": Published(
        24, 261, 1024, 5, 303.7, of_transformers(1024, 14, 2736, 4),
        dinov2_outputs(16, 5, from_transformers),
    ),
    "openmidnight": Published(
        40, 261, GIANT, 5, 1134.8, openmidnight, dinov2_outputs(24, 5, dict)
    ),
    "conch": Published(12, 785, 768, 1, 87.6, conch, conch_outputs),
    "lunit-dino-vits8": Published(
        12, 785, 384, 1, 21.7, lambda depth: vit(384, 8, 785, depth),
        dino_outputs(6),
    ),
    "morphem-vits16": Published(
        12, 197, 384, 1, 21.5, lambda depth: vit(384, 16, 197, depth, channels=1),
        dino_outputs(6),
    ),
    "cellpose-sam": Published(
        24, 1024, 256, 0, 304.6,
        lambda depth: sam(
            "module.encoder.", 1024, 64, 8, 32,
            [127 if n in (5, 11, 17, 23) else 27 for n in range(depth)], READOUT,
        ),
        sam_outputs("module.encoder.", 16, 0),
    ),
    "sam-vitb16": Published(
        12, 4096, 256, 0, 89.7,
        lambda depth: sam(
            "image_encoder.", 768, 64, 16, 64 if depth == 12 else 16,
            [127 if depth == 12 and n in SAM_GLOBAL else 31 if n == 1 and depth == 2 else 27
             for n in range(depth)], MASKS,
        ),
        sam_outputs("image_encoder.", 12, 14),
        (2, {"depth": 2, "global_attn_indexes": [1]}), {"input_size": 256},
    ),
    "siglip2-vitb16": Published(12, 196, 768, 0, 92.9, siglip, siglip_outputs),
    "dinov3-vits16plus": Published(
        12, 261, 384, 5, 28.7, dinov3_small_plus,
        lambda w, x: pooled(reference.dinov3(as_dinov3(w), x, 6), 5),
    ),
    "dinov3-convnext-tiny": Published(
        [3, 3, 9, 3], 49, 768, 0, 27.8, convnext_tiny,
        lambda w, x: {"pool": reference.convnext(w, x)},
        ([1, 1, 2, 1], {"depths": [1, 1, 2, 1]}),
    ),
    "convnext-tiny": Published(
        [3, 3, 9, 3], 49, 768, 0, 27.8,
        lambda depths: convnext_tiny(depths) | affine("head.fc", 1000, 768),
    ),
    "dinov3-vitb16": Published(12, 201, 768, 5, 85.6, dinov3_base),
    "dino-vits16": Published(12, 197, 384, 1, 21.7, lambda depth: vit(384, 16, 197, depth)),
    "dino-vitb16": Published(12, 197, 768, 1, 85.8, lambda depth: vit(768, 16, 197, depth)),
    "dino-vitb8": Published(12, 785, 768, 1, 85.8, lambda depth: vit(768, 8, 785, depth)),
    "mae-vitb16": Published(12, 197, 768, 1, 85.8, lambda depth: vit(768, 16, 197, depth)),
    "mae-vitl16": Published(24, 197, 1024, 1, 303.3, lambda depth: vit(1024, 16, 197, depth)),
    "dinov2-vits14": Published(
        12, 257, 384, 1, 21.6, lambda depth: vit(384, 14, 1370, depth, scaled=True), size=518
    ),
    "dinov2-vitb14": Published(
        12, 257, 768, 1, 85.7, lambda depth: vit(768, 14, 1370, depth, scaled=True), size=518
    ),
    "dinov2-vitl14": Published(
        24, 257, 1024, 1, 303.2, lambda depth: vit(1024, 14, 1370, depth, scaled=True), size=518
    ),
    "dino4cells-hpa-fov": Published(
        12, 197, 768, 1, 86.0, dino4cells, dino_outputs(12, "teacher.backbone.")
    ),
    "dino4cells-hpa-cell": Published(12, 197, 768, 1, 86.0, dino4cells),
    "scdino-vits16": Published(
        12, 197, 384, 1, 21.9, lambda depth: dino4cells(depth, 384, 5),
        dino_outputs(6, "teacher.backbone."),
    ),
    "cell-dino-hpa-vitl16": Published(24, 197, 1024, 1, 303.6, cell_dino, cell_dino_outputs),
    "subcell-mae-all": Published(12, 785, 768, 1, 87.2, subcell, subcell_outputs),
}  # fmt: skip
# Cards that a page of the documentation gives, for files that a person has to fetch.
IN_A_PAGE = {"scdino-vits16": "docs/backbones.md"}
# Further cards of published weights, and the tests that read their files, or write them.
TESTED_ELSEWHERE = {
    "dino-resnet50": "checkpoints/test_dino.py",
    "efficientnet-lite0": "checkpoints/test_efficientnet_lite.py",
    "efficientnet-lite0-384": "checkpoints/test_efficientnet_lite.py",
    "efficientnet-lite1": "checkpoints/test_efficientnet_lite.py",
    "efficientnet-lite2": "checkpoints/test_efficientnet_lite.py",
    "openphenom": "checkpoints/test_microscopy_layouts.py",
    "resnet50": "backbones/test_networks.py",
}
