"""Networks of microscopy that timm lacks: OpenPhenom, ChannelViT, SubCell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import reference_networks as reference
from checkpoint_files import (
    assert_tokens,
    card_for,
    channelvit_file,
    embeddings,
    images,
    phenom_file,
    phenom_positions,
    phenom_state,
    prefixed,
    save,
    subcell_file,
    vit_state,
)
from transferscope.backbones.checks import check_backbone
from transferscope.backbones.networks import build_backbone
from transferscope.backbones.patch_projection import replace_patch_convolutions
from transferscope.backbones.precision import LEAST_AGREEMENT, centred_cosine
from transferscope.backbones.readout import in_precision
from transferscope.cards import FileCard
from transferscope.checkpoints.conversion import convert
from transferscope.checkpoints.reading import read_checkpoint

HERE = Path("x.yaml")


def mean_of(found: dict[str, Tensor], tokens: Tensor) -> None:
    torch.testing.assert_close(found["mean"], tokens[:, 1:].mean(dim=1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 2, 6, 11, 12])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_openphenom_takes_any_channels(tmp_path: Path, channels: int, suffix: str) -> None:
    state = phenom_state()
    content: Any = phenom_file(state)
    content = content if suffix == ".safetensors" else {"state_dict": content}
    card = card_for(save(content, tmp_path / f"model{suffix}"))
    assert (card.layout, card.architecture) == ("openphenom", "channel_agnostic_vit")
    assert card.takes_any_channels
    x = images(channels, 48)
    # Twelve channels are more than the file has positions for: they repeat, channel by channel.
    repeated = {**state, "pos_embed": phenom_positions(3, 64, channels)}
    tokens = reference.channel_agnostic_mae(repeated, x, heads=2)
    found = embeddings(card, x)
    mean_of(found, tokens)
    torch.testing.assert_close(found["cls"], tokens[:, 0], rtol=1e-5, atol=1e-5)


def test_openphenom_at_another_size_has_the_fixed_codes_of_that_size(tmp_path: Path) -> None:
    state = phenom_state()
    card = card_for(save(phenom_file(state), tmp_path / "model.safetensors"), 80)
    x = images(2, 80)
    larger = {**state, "pos_embed": phenom_positions(5, 64, 2)}
    mean_of(embeddings(card, x), reference.channel_agnostic_mae(larger, x, heads=2))


def test_openphenom_pools_by_the_norm_after_the_mean(tmp_path: Path) -> None:
    state = phenom_state()
    path = save(phenom_file(state), tmp_path / "model.safetensors")
    outputs = [
        {"name": "pool", "pooling": "pool"},
        {"name": "first", "pooling": "mean", "layer": 0},
    ]
    x = images(3, 48)
    found = embeddings(card_for(path, outputs=outputs), x)
    tokens = reference.channel_agnostic_mae(state, x, heads=2)
    expected = reference.layer_norm(tokens[:, 1:].mean(dim=1), state, "fc_norm", 1e-6)
    torch.testing.assert_close(found["pool"], expected, rtol=1e-5, atol=1e-5)
    shallow = {n: t for n, t in state.items() if not n.startswith("blocks.1.")}
    first = reference.channel_agnostic_mae(shallow, x, heads=2)[:, 1:].mean(dim=1)
    torch.testing.assert_close(found["first"], first, rtol=1e-5, atol=1e-5)


def test_openphenom_s_published_size_is_known(tmp_path: Path) -> None:
    state = phenom_state(width=384, heads=6, side=16)
    path = save(phenom_file(state), tmp_path / "model.safetensors")
    found = convert(read_checkpoint(path))
    assert (found.network.image_size, found.network.arguments["num_heads"]) == (256, 6)
    assert found.state["pos_embed"].shape == (1, 257, 384)
    assert set(found.known_leftovers().values()) == {"decoder"}
    assert found.unknown_leftovers() == []


@pytest.mark.parametrize("table", [False, True])
@pytest.mark.parametrize("filled", [None, [0, 3], [2], [4, 1]])
@pytest.mark.parametrize("size", [48, 80])
def test_channelvit_leaves_empty_slots_out(
    tmp_path: Path, table: bool, filled: list[int] | None, size: int
) -> None:
    state = channelvit_file(vit_state(patch_dimensions=3, channels=5), 5, table)
    card = card_for(save(state, tmp_path / "w.pth"), size)
    assert (card.layout, card.architecture) == ("channelvit", "channelvit")
    assert len(card.slots) == 5
    assert not card.takes_any_channels
    x = images(5, size)
    chosen = filled or list(range(5))
    found = embeddings(card, x, filled)
    expected = reference.channel_vit(state, x[:, chosen], chosen, heads=1)
    shallow = {n: t for n, t in state.items() if not n.startswith("blocks.1.")}
    first = reference.channel_vit(shallow, x[:, chosen], chosen, heads=1)[:, 0]
    assert_tokens(found, expected, first=first)


def test_a_channelvit_of_a_training_run_is_its_teacher(tmp_path: Path) -> None:
    teacher = channelvit_file(vit_state(patch_dimensions=3, channels=5), 5, table=False)
    student = channelvit_file(vit_state(patch_dimensions=3, channels=5, seed=1), 5, table=False)
    content = {**prefixed(student, "student.backbone."), **prefixed(teacher, "teacher.backbone.")}
    card = card_for(save({"state_dict": content, "epoch": 1}, tmp_path / "w.ckpt"))
    x = images(5, 48)
    expected = reference.channel_vit(teacher, x, list(range(5)), heads=1)
    assert_tokens(embeddings(card, x), expected)


@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("size", [48, 80])
def test_subcell_with_its_pooling(tmp_path: Path, channels: int, index: int, size: int) -> None:
    state, pooling = subcell_file(channels)
    named = {n.replace(".1.", f".{index}."): t for n, t in pooling.items()}
    content = {**prefixed(state, "encoder."), **prefixed(named, "pool_model.")}
    content["encoder.embeddings.mask_token"] = torch.zeros(1, 1, 64)
    path = save(content, tmp_path / "encoder.pth")
    outputs = [
        {"name": "pool", "pooling": "pool"},
        {"name": "cls", "pooling": "cls"},
        {"name": "mean", "pooling": "mean"},
    ]
    card = card_for(path, size, outputs=outputs)
    assert (card.layout, card.architecture) == ("subcell", "subcell_vit")
    assert card.slots[-1].name == "protein"
    x = images(channels, size)
    tokens = reference.transformers_vit(state, x, heads=1)
    found = embeddings(card, x)
    assert_tokens(found, tokens)
    expected = reference.gated_pooling(pooling, tokens)
    assert expected.shape == (2, 128)
    torch.testing.assert_close(found["pool"], expected, rtol=1e-5, atol=1e-5)
    assert convert(read_checkpoint(path)).known_leftovers() == {
        "encoder.embeddings.mask_token": "mask token"
    }


def test_subcell_without_a_pooling_is_the_plain_encoder(tmp_path: Path) -> None:
    state, _ = subcell_file()
    card = card_for(save(prefixed(state, "encoder."), tmp_path / "encoder.pth"))
    x = images(4, 48)
    assert_tokens(embeddings(card, x), reference.transformers_vit(state, x, heads=1))


def cards(folder: Path) -> list[tuple[FileCard, int]]:
    state, pooling = subcell_file()
    subcell = {**prefixed(state, "encoder."), **prefixed(pooling, "pool_model.")}
    channelvit = channelvit_file(vit_state(patch_dimensions=3, channels=5), 5, table=True)
    pool = {"outputs": [{"name": "pool", "pooling": "pool"}]}
    return [
        (card_for(save(phenom_file(phenom_state()), folder / "phenom.safetensors")), 3),
        (card_for(save(channelvit, folder / "channelvit.pth")), 5),
        (card_for(save(subcell, folder / "subcell.pth"), **pool), 4),
    ]


def test_the_cards_of_these_networks_are_in_order(tmp_path: Path) -> None:
    for card, _ in cards(tmp_path):
        assert check_backbone(card, HERE) == []


def test_these_networks_run_in_reduced_precision_without_patch_convolutions(tmp_path: Path) -> None:
    for card, channels in cards(tmp_path):
        backbone = build_backbone(card, HERE)
        assert replace_patch_convolutions(backbone) == 0
        x = images(channels, 48, n=8) * torch.linspace(0.2, 2, 8)[:, None, None, None]
        with torch.inference_mode():
            pairs = zip(backbone(x), in_precision(backbone, torch.bfloat16)(x), strict=True)
            assert all(centred_cosine(a, b) > LEAST_AGREEMENT for a, b in pairs)
