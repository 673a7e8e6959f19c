"""A checkpoint loads in full, or not at all."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from checkpoint_files import card_for, prefixed, save, vit_state
from transferscope.backbones.checks import check_backbone
from transferscope.backbones.networks import build_backbone
from transferscope.backbones.weights import weights_sha256
from transferscope.checkpoints.sources import file_sha256
from transferscope.errors import UserError

HERE = Path("x.yaml")


def problem(path: Path, card: Any) -> str:
    """Return what both the check before a run and the loading say."""
    checked = check_backbone(card, HERE)
    with pytest.raises(UserError) as caught:
        build_backbone(card, HERE)
    assert [str(p) for p in checked] == [str(p) for p in caught.value.problems]
    assert str(path) in str(checked[0])
    return str(checked[0])


def test_missing_and_misshapen_weights_are_listed(tmp_path: Path) -> None:
    path = save(vit_state(channels=4), tmp_path / "w.pth")
    card = card_for(path)
    state = vit_state(channels=4)
    del state["blocks.0.attn.qkv.weight"]
    state["blocks.1.attn.qkv.bias"] = state["blocks.1.attn.qkv.bias"][:7]
    card = card.model_copy(update={"layout": "dino4cells"})
    text = problem(save(state, path), card)
    assert "missing: blocks.0.attn.qkv.weight" in text
    assert "blocks.1.attn.qkv.bias (7,) instead of (192,)" in text


def test_weights_of_the_encoder_that_the_network_lacks_are_an_error(tmp_path: Path) -> None:
    """A network that is too shallow would load without a word otherwise."""
    path = save(vit_state(depth=3), tmp_path / "w.pth")
    card = card_for(path)
    shallow = card.model_copy(update={"arguments": {**card.arguments, "depth": 2}})
    text = problem(path, shallow)
    assert "not part of the network: blocks.2.norm1.weight" in text
    assert "'depth': 3" in text


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"slots": [{"name": "a"}]}, "(64, 4, 16, 16) instead of (64, 1, 16, 16)"),
        ({"architecture": "resnet18", "arguments": {}, "outputs": [{"pooling": "pool"}]},
         "missing: conv1.weight"),
    ],
)  # fmt: skip
def test_a_card_that_does_not_fit_the_file_is_told_what_would(
    tmp_path: Path, change: dict[str, Any], expected: str
) -> None:
    path = save({"teacher": vit_state(channels=4)}, tmp_path / "w.pth")
    values = {**card_for(path).model_dump(mode="json"), **change}
    text = problem(path, card_for(path, **values))
    assert expected in text
    assert "and 4 slots" in text
    assert f"transferscope backbone card {path}" in text


def test_leftovers_of_unknown_purpose_are_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = {**vit_state(), "surprise.weight": torch.ones(2)}
    card = card_for(save(state, tmp_path / "w.pth"))
    with caplog.at_level(logging.WARNING):
        build_backbone(card, HERE)
    assert "of unknown purpose: surprise.weight" in caplog.text


def test_a_digest_is_checked(tmp_path: Path) -> None:
    path = save(vit_state(), tmp_path / "w.pth")
    card = card_for(path)
    right = card.model_copy(update={"sha256": file_sha256(path)})
    assert check_backbone(right, HERE) == []
    wrong = card.model_copy(update={"sha256": "0" * 64})
    assert "has sha256" in problem(path, wrong)


def test_the_identity_of_the_weights_sees_one_value(tmp_path: Path) -> None:
    state = vit_state()
    path = save(state, tmp_path / "w.pth")
    before = weights_sha256(build_backbone(card_for(path), HERE))
    assert weights_sha256(build_backbone(card_for(path), HERE)) == before
    state["blocks.1.mlp.fc1.bias"][0] += 1e-6
    save(state, path)
    assert weights_sha256(build_backbone(card_for(path), HERE)) != before


def test_building_leaves_the_random_numbers_as_they_are(tmp_path: Path) -> None:
    card = card_for(save(vit_state(), tmp_path / "w.pth"))
    before = torch.get_rng_state()
    build_backbone(card, HERE)
    assert torch.equal(torch.get_rng_state(), before)


def test_half_precision_files_become_fp32(tmp_path: Path) -> None:
    state = {n: t.half() for n, t in prefixed(vit_state(), "module.").items()}
    backbone = build_backbone(card_for(save(state, tmp_path / "w.pth"), 80), HERE)
    assert {p.dtype for p in backbone.parameters()} == {torch.float32}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_before_any_job(
    tmp_path: Path, value: float
) -> None:
    path = save(vit_state(channels=4), tmp_path / "w.pth")
    card = card_for(path)
    state = vit_state(channels=4)
    state["blocks.1.mlp.fc2.weight"][3, 5] = value
    text = problem(save(state, path), card)
    assert "1 of 30 weights hold NaN or infinity: blocks.1.mlp.fc2.weight" in text


def test_wrapped_weights_load(tmp_path: Path) -> None:
    path = save(prefixed(vit_state(channels=4), "module._orig_mod."), tmp_path / "w.pth")
    plain = save(vit_state(channels=4), tmp_path / "plain.pth")
    networks = [build_backbone(card_for(one), HERE) for one in (path, plain)]
    assert weights_sha256(networks[0]) == weights_sha256(networks[1])
