from __future__ import annotations

import argparse
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from torch import nn

from transferscope.backbones.weights import file_sha256, load_file_weights, weights_sha256
from transferscope.cards import FileCard
from transferscope.errors import UserError

ARGUMENTS = {"depth": 2, "embed_dim": 32, "num_heads": 2}


def vit(size: int = 32, num_classes: int = 0) -> nn.Module:
    return timm.create_model(
        "vit_tiny_patch16_224", img_size=size, num_classes=num_classes, **ARGUMENTS
    )


def card(weights: str, **changes: object) -> FileCard:
    return FileCard(
        source="file", name="x", architecture="vit_tiny_patch16_224", arguments=ARGUMENTS,
        slots=[{"name": n} for n in ("red", "green", "blue")], input_size=32,
        weights=Path(weights), **changes,
    )  # fmt: skip


def same(a: nn.Module, b: nn.Module) -> bool:
    theirs = b.state_dict()
    return all(torch.equal(t, theirs[n]) for n, t in a.state_dict().items())


def test_safetensors_weights_replace_all_others(tmp_path: Path) -> None:
    source, target = vit(), vit()
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    assert not same(source, target)
    assert load_file_weights(target, card("w.safetensors"), tmp_path / "x.yaml") == []
    assert same(source, target)


def test_a_training_checkpoint_is_unwrapped_and_its_head_left_over(tmp_path: Path) -> None:
    """The layout of the DINO4Cells files, with the leftovers of argparse and NumPy in them."""
    source, target = vit(), vit()
    teacher = {f"module.backbone.{n}": t for n, t in source.state_dict().items()}
    teacher["module.head.mlp.0.weight"] = torch.zeros(3, 3)
    content = {"teacher": teacher, "epoch": 3, "args": argparse.Namespace(lr=0.1),
               "loss": np.float64(0.5)}  # fmt: skip
    torch.save(content, tmp_path / "w.pth")
    wanted = card("w.pth", state_key="teacher", prefix="module.backbone.")
    leftover = load_file_weights(target, wanted, tmp_path / "x.yaml")
    assert leftover == ["module.head.mlp.0.weight"]
    assert same(source, target)


def test_positions_of_another_size_are_resampled(tmp_path: Path) -> None:
    source, target = vit(64), vit(32)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    load_file_weights(target, card("w.safetensors"), tmp_path / "x.yaml")
    expected = resample_abs_pos_embed(source.pos_embed.detach(), [2, 2], num_prefix_tokens=1)
    torch.testing.assert_close(target.pos_embed.detach(), expected)


def test_missing_and_misshapen_weights_are_listed(tmp_path: Path) -> None:
    """A loader that goes on regardless leaves parts of a network at random."""
    state = vit().state_dict()
    del state["blocks.0.attn.qkv.weight"]
    state["norm.weight"] = torch.zeros(7)
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(UserError) as caught:
        load_file_weights(vit(), card("w.safetensors"), tmp_path / "x.yaml")
    assert "missing: blocks.0.attn.qkv.weight" in str(caught.value)
    assert "norm.weight (7,) instead of (32,)" in str(caught.value)


def test_a_wrong_prefix_or_key_is_explained(tmp_path: Path) -> None:
    torch.save({"teacher": vit().state_dict()}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="Set state_key in the card to one of: teacher"):
        load_file_weights(vit(), card("w.pth"), tmp_path / "x.yaml")
    with pytest.raises(UserError, match='Did you mean "teacher"'):
        load_file_weights(vit(), card("w.pth", state_key="teachr"), tmp_path / "x.yaml")


class Hostile:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.trace}",)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_hostile_pickle_is_refused_and_never_run(tmp_path: Path, legacy: bool) -> None:
    trace = tmp_path / "was_run"
    content = {"weights": vit().state_dict(), "extra": Hostile(trace)}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(UserError, match=r"could run code.*system"):
        load_file_weights(vit(), card("w.pth"), tmp_path / "x.yaml")
    assert not trace.exists()


def test_a_plain_pickle_is_refused_and_never_run(tmp_path: Path) -> None:
    trace = tmp_path / "was_run"
    (tmp_path / "w.pth").write_bytes(pickle.dumps(Hostile(trace)))
    with pytest.raises(UserError):
        load_file_weights(vit(), card("w.pth"), tmp_path / "x.yaml")
    assert not trace.exists()


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_absent_and_damaged_files_are_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load_file_weights(vit(), card(name), tmp_path / "x.yaml")
    (tmp_path / name).write_bytes(b"<html>not found</html>")
    with pytest.raises(UserError, match=name):
        load_file_weights(vit(), card(name), tmp_path / "x.yaml")


def test_a_digest_is_checked(tmp_path: Path) -> None:
    save_file(vit().state_dict(), tmp_path / "w.safetensors")
    right = file_sha256(tmp_path / "w.safetensors")
    load_file_weights(vit(), card("w.safetensors", sha256=right), tmp_path / "x.yaml")
    with pytest.raises(UserError, match="has sha256"):
        load_file_weights(vit(), card("w.safetensors", sha256="0" * 64), tmp_path / "x.yaml")


def test_the_digest_of_weights_sees_values_and_names() -> None:
    torch.manual_seed(0)
    a = nn.Linear(3, 3)
    before = weights_sha256(a)
    assert before == weights_sha256(a)
    assert weights_sha256(nn.Sequential(a)) != before
    a.weight.data[0, 0] += 1e-6
    assert weights_sha256(a) != before
