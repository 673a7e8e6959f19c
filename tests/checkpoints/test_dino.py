"""DINO and DINO4Cells: files as they are published, against the published equations."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

from checkpoint_files import (
    State,
    Values,
    assert_tokens,
    card_for,
    embeddings,
    images,
    prefixed,
    save,
    vit_state,
)
from reference_networks import dino
from transferscope.checkpoints.conversion import convert
from transferscope.checkpoints.reading import read_checkpoint


def training_file(state: State, student: State) -> dict[str, Any]:
    """Return what DINO's main_dino.py saves, with a head and the state of the training."""
    v = Values(3)
    head = {
        **v.linear("head.mlp.0", 8, 64), **v.linear("head.mlp.2", 8, 8),
        "head.last_layer.weight_g": v(16, 1), "head.last_layer.weight_v": v(16, 8),
    }  # fmt: skip
    moments = {i: {"step": 5, "exp_avg": v(4), "exp_avg_sq": v(4)} for i in range(3)}
    return {
        "student": prefixed({**prefixed(student, "backbone."), **head}, "module."),
        "teacher": prefixed({**prefixed(state, "backbone."), **head}, "module."),
        "optimizer": {"state": moments, "param_groups": [{"lr": 0.1, "params": [0, 1, 2]}]},
        "epoch": 100,
        "args": argparse.Namespace(arch="vit_base", lr=5e-4, data_path="/data"),
        "dino_loss": {"center": v(1, 16)},
        "fp16_scaler": {"scale": 65536.0},
        "best": np.float64(0.82),
    }


@pytest.mark.parametrize(
    ("channels", "layout"), [(3, "dino"), (4, "dino4cells"), (5, "dino4cells")]
)
@pytest.mark.parametrize(("patch", "size"), [(16, 48), (16, 80), (16, 32), (8, 24), (8, 64)])
def test_a_training_checkpoint_embeds_as_published(
    tmp_path: Path, channels: int, layout: str, patch: int, size: int
) -> None:
    state = vit_state(channels=channels, patch=patch)
    student = vit_state(channels=channels, patch=patch, seed=1)
    path = save(training_file(state, student), tmp_path / "checkpoint.pth")
    card = card_for(path, size)
    assert card.layout == layout
    assert len(card.slots) == channels
    x = images(channels, size)
    tokens = dino(state, x, heads=1)
    shallow = {n: t for n, t in state.items() if not n.startswith("blocks.1.")}
    assert_tokens(embeddings(card, x), tokens, first=dino(shallow, x, heads=1)[:, 0])


@pytest.mark.parametrize("wrapper", ["", "0.", "module.", "backbone.", "module.backbone."])
@pytest.mark.parametrize("key", [None, "teacher", "student"])
def test_any_wrapping_of_the_backbone_alone_loads(
    tmp_path: Path, wrapper: str, key: str | None
) -> None:
    state = vit_state(channels=4)
    content = prefixed(state, wrapper)
    path = save({key: content} if key else content, tmp_path / "w.pth")
    assert_tokens(embeddings(card_for(path), images(4, 48)), dino(state, images(4, 48), 1))


@pytest.mark.parametrize("key", [None, "teacher"])
def test_blocks_whose_names_hold_the_prefix_keep_their_weights(
    tmp_path: Path, key: str | None
) -> None:
    """Stripping `0.` wherever it stands would lose blocks 0 and 10, and leave them at random."""
    state = vit_state(width=32, depth=11, patch=8, side=2, channels=4)
    content = prefixed(state, "0.")
    path = save({key: content} if key else content, tmp_path / "w.pth")
    card = card_for(path)
    assert card.arguments["depth"] == 11
    x = images(4, 16)
    assert_tokens(embeddings(card, x), dino(state, x, heads=1))


def test_the_student_is_used_where_the_card_says_so(tmp_path: Path) -> None:
    teacher, student = vit_state(channels=4), vit_state(channels=4, seed=1)
    path = save(training_file(teacher, student), tmp_path / "w.pth")
    x = images(4, 48)
    card = card_for(path, state_key="student")
    assert_tokens(embeddings(card, x), dino(student, x, heads=1))


def test_more_heads_than_the_usual_are_given_by_the_card(tmp_path: Path) -> None:
    state = vit_state(channels=4)
    card = card_for(save(state, tmp_path / "w.pth"))
    changed = card.model_copy(update={"arguments": {**card.arguments, "num_heads": 4}})
    x = images(4, 48)
    assert_tokens(embeddings(changed, x), dino(state, x, heads=4))


@pytest.mark.parametrize(
    ("width", "patch", "side", "channels", "architecture"),
    [
        (384, 16, 14, 3, "vit_small_patch16_224"),
        (384, 8, 28, 3, "vit_small_patch8_224"),
        (768, 16, 14, 4, "vit_base_patch16_224"),
        (768, 8, 28, 4, "vit_base_patch8_224"),
    ],
)
def test_the_published_sizes_are_read_off_the_weights(
    tmp_path: Path, width: int, patch: int, side: int, channels: int, architecture: str
) -> None:
    """Patch 8 or 16 is written nowhere but in the shapes of the weights."""
    with torch.device("meta"):
        network = timm.create_model(architecture, num_classes=0, in_chans=channels)
    shapes = {n: torch.empty(1).expand(t.shape) for n, t in network.state_dict().items()}
    path = save(prefixed(shapes, "module.backbone."), tmp_path / "w.pth")
    found = convert(read_checkpoint(path)).network
    assert (found.architecture, found.arguments) == (architecture, {})
    assert (found.patch_size, found.image_size) == (patch, 224)
    assert (found.channels, found.embed_dim, found.depth) == (channels, width, 12)


def test_what_is_left_over_is_named(tmp_path: Path) -> None:
    state = vit_state(channels=4)
    path = save(training_file(state, state), tmp_path / "w.pth")
    found = convert(read_checkpoint(path))
    left = found.known_leftovers()
    assert left["teacher.module.head.last_layer.weight_v"] == "projection head"
    assert left["student.module.backbone.cls_token"] == "the student network"
    assert left["optimizer.state.0.exp_avg"] == "state of the optimiser"
    assert left["dino_loss.center"] == "state of the loss"
    assert found.unknown_leftovers() == []
    assert len(found.consumed) + len(left) == len(read_checkpoint(path).tensors)


@pytest.mark.parametrize("key", [None, "teacher"])
def test_a_residual_network_embeds_as_timm_s(tmp_path: Path, key: str | None) -> None:
    torch.manual_seed(0)
    network = timm.create_model("resnet50", num_classes=0, layers=[1, 2, 1, 1]).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
    state = {n: t for n, t in network.state_dict().items() if "num_batches" not in n}
    content = {key: prefixed(state, "module.backbone.")} if key else state
    path = save(content, tmp_path / "dino_resnet50_pretrain.pth")
    outputs = [{"name": "pool", "pooling": "pool"}]
    card = card_for(path, 64, outputs=outputs)
    assert (card.layout, card.architecture) == ("dino", "resnet50")
    x = images(3, 64)
    with torch.inference_mode():
        expected = network(x)
    torch.testing.assert_close(embeddings(card, x)["pool"], expected, rtol=1e-5, atol=1e-5)


def test_the_published_residual_network_is_known_by_its_name(tmp_path: Path) -> None:
    with torch.device("meta"):
        network = timm.create_model("resnet50", num_classes=0)
    weights = {n: t for n, t in network.state_dict().items() if t.ndim}
    shapes = {n: torch.empty(1).expand(t.shape) for n, t in weights.items()}
    found = convert(read_checkpoint(save(shapes, tmp_path / "w.pth"))).network
    assert (found.architecture, found.arguments, found.embed_dim) == ("resnet50", {}, 2048)
