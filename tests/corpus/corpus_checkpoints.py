"""Checkpoint files: wrapped names, positions and heads that weights do not tell, broken numbers."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from corpus_cases import Weights, case

from checkpoint_files import State, prefixed, save, vit_state

MATCHED = "every weight of the encoder is matched"


def wrapped(state: State, **parts: str) -> State:
    """Put the parts of wrappers in front of those of names."""
    found = {}
    for name, tensor in state.items():
        pieces = name.split(".")
        new = [f"{parts[piece]}.{piece}" if piece in parts else piece for piece in pieces]
        found[".".join(new)] = tensor
    return found


@case
def weights_of_ddp(folder: Path) -> Weights:
    return Weights(save(prefixed(vit_state(), "module."), folder / "w.pth"), MATCHED)


@case
def weights_of_compile(folder: Path) -> Weights:
    return Weights(save(prefixed(vit_state(), "_orig_mod."), folder / "w.pth"), MATCHED)


@case
def weights_of_compile_in_ddp(folder: Path) -> Weights:
    state = {"model": prefixed(vit_state(), "module._orig_mod.")}
    return Weights(save(state, folder / "w.pth"), MATCHED)


@case
def weights_of_compiled_blocks(folder: Path) -> Weights:
    state = wrapped(vit_state(), attn="_orig_mod", mlp="_orig_mod")
    return Weights(save(state, folder / "w.safetensors"), MATCHED)


@case
def weights_of_fsdp(folder: Path) -> Weights:
    state = wrapped(vit_state(), attn="_fsdp_wrapped_module", norm1="_checkpoint_wrapped_module")
    state = {"teacher": prefixed(state, "_fsdp_wrapped_module.backbone._fsdp_wrapped_module.")}
    return Weights(save(state, folder / "w.pth"), MATCHED)


@case
def weights_of_fsdp_flattened(folder: Path) -> Weights:
    state = {"patch_embed.proj.weight": torch.ones(4), "blocks.0._flat_param": torch.ones(9)}
    return Weights(save(state, folder / "w.pth"), message="FULL_STATE_DICT")


@case
def weights_with_and_without_a_wrapper(folder: Path) -> Weights:
    state = vit_state()
    state = {**state, **prefixed(state, "_orig_mod.")}
    return Weights(save(state, folder / "w.pth"), message="twice")


def on_grid(rows: int, columns: int, **options: Any) -> State:
    state = vit_state(**options)
    width = state["pos_embed"].shape[-1]
    return {**state, "pos_embed": torch.randn(1, 1 + rows * columns, width)}


@case
def positions_of_two_by_three(folder: Path) -> Weights:
    return Weights(save(on_grid(2, 3), folder / "w.pth"), message="no square grid")


@case
def positions_of_three_by_five_and_a_token(folder: Path) -> Weights:
    """With its class token, the number of positions is a square."""
    return Weights(save(on_grid(3, 5), folder / "w.pth"), message="pos_embed|no square grid")


@case
def positions_of_two_by_eight_that_look_like_four_by_four(folder: Path) -> Weights:
    content = {"model": on_grid(2, 8), "args": Namespace(img_size=[32, 128])}
    return Weights(save(content, folder / "w.pth"), message="2 x 8 patches")


@case
def positions_of_four_by_four(folder: Path) -> Weights:
    content = {"model": on_grid(4, 4), "args": Namespace(img_size=[64, 64])}
    return Weights(save(content, folder / "w.pth"), MATCHED)


@case
def heads_that_are_a_guess(folder: Path) -> Weights:
    path = save(vit_state(width=128), folder / "w.safetensors")
    return Weights(path, "to check.*number of attention heads is a guess")


@case
def heads_that_cannot_be_read_off(folder: Path) -> Weights:
    path = save(vit_state(width=72), folder / "w.safetensors")
    return Weights(path, message="--heads")


@case
def heads_that_are_given(folder: Path) -> Weights:
    path = save(vit_state(width=72), folder / "w.safetensors")
    return Weights(path, rf"num_heads: 3(.|\n)*{MATCHED}", arguments=("--heads", "3"))


@case
def heads_that_do_not_divide(folder: Path) -> Weights:
    path = save(vit_state(width=72), folder / "w.safetensors")
    return Weights(path, message="5 attention heads", arguments=("--heads", "5"))


@case
def heads_that_the_file_names(folder: Path) -> Weights:
    content = {"model": vit_state(width=72), "hyper_parameters": {"net": {"num_heads": 6}}}
    return Weights(save(content, folder / "w.ckpt"), rf"num_heads: 6(.|\n)*{MATCHED}")


def spoiled(name: str, value: float) -> State:
    state = vit_state()
    state[name].view(-1)[1] = value
    return state


@case
def weights_not_a_number(folder: Path) -> Weights:
    path = save(spoiled("blocks.0.mlp.fc1.weight", float("nan")), folder / "w.safetensors")
    return Weights(path, message="1 of .* weights hold NaN")


@case
def weights_infinite(folder: Path) -> Weights:
    path = save(spoiled("norm.bias", float("-inf")), folder / "w.pth")
    return Weights(path, message=r"NaN or infinity: norm.bias")


@case
def weights_too_large_for_32_bits(folder: Path) -> Weights:
    state = {name: tensor.double() for name, tensor in vit_state().items()}
    state["norm.bias"][0] = 1e300
    return Weights(save(state, folder / "w.pth"), message="NaN or infinity")


@case
def weights_not_a_number_outside_the_encoder(folder: Path) -> Weights:
    state = {**vit_state(), "head.mlp.0.weight": torch.full((3, 3), float("nan"))}
    return Weights(save(state, folder / "w.pth"), MATCHED)


@case
def weights_in_16_bits(folder: Path) -> Weights:
    state = {name: tensor.bfloat16() for name, tensor in vit_state().items()}
    return Weights(save(state, folder / "w.safetensors"), MATCHED)
