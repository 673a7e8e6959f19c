"""What is suggested for a file of timm's names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch

from transferscope.backbones.card_text import card_text
from transferscope.backbones.inspection import inspect_checkpoint

NAME = "vit_tiny_patch16_224"
OTHERS = {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28]}
IMAGENET_MEAN = [0.485, 0.456, 0.406]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("file") / "w.pth"
    torch.save(timm.create_model(NAME, num_classes=0).state_dict(), path)
    return path


@pytest.fixture
def file(weights: Path, tmp_path: Path) -> Path:
    path = tmp_path / "w.pth"
    path.hardlink_to(weights)
    return path


def suggested(file: Path, **options: str) -> tuple[list[float], list[float], str]:
    found = inspect_checkpoint(file, **options)
    assert found.problem is None
    (remark,) = found.converted.remarks
    assert f"mean: {json.dumps(found.converted.normalization['mean'])}" in card_text(
        found, "mine", file.parent
    )
    return found.converted.normalization["mean"], found.converted.normalization["std"], remark


def test_a_named_set_of_weights_brings_its_normalisation(file: Path) -> None:
    mean, std, remark = suggested(file, architecture=f"{NAME}.augreg_in21k")
    assert (mean, std) == ([0.5] * 3, [0.5] * 3)
    assert f"timm's own weights of {NAME}" in remark


def test_a_file_in_dino_s_names_keeps_dino_s(file: Path) -> None:
    for options in ({}, {"architecture": NAME}):
        converted = inspect_checkpoint(file, **options).converted
        assert (converted.layout, converted.normalization["mean"]) == ("dino", IMAGENET_MEAN)


def test_that_of_a_config_next_to_the_file_comes_first(file: Path) -> None:
    config = {"architecture": NAME, "pretrained_cfg": OTHERS}
    file.with_name("config.json").write_text(json.dumps(config))
    mean, std, remark = suggested(file)
    assert (mean, std) == (OTHERS["mean"], OTHERS["std"])
    assert "config.json" in remark


@pytest.mark.parametrize(
    "own", [None, {"mean": "x", "std": [1]}, {"mean": [0.5], "std": [0.5]}, {"mean": [None] * 3}]
)
def test_a_config_that_names_an_architecture_alone_brings_that_of_timm_or_none(
    file: Path, own: object
) -> None:
    config = {"architecture": NAME, "pretrained_cfg": own}
    file.with_name("config.json").write_text(json.dumps(config))
    mean = inspect_checkpoint(file).converted.normalization["mean"]
    assert mean == ([0.5] * 3 if own is None else IMAGENET_MEAN)


def test_a_network_of_other_channels_has_no_published_normalisation(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(timm.create_model(NAME, num_classes=0, in_chans=5).state_dict(), path)
    found = inspect_checkpoint(path)
    assert found.converted.normalization["kind"] == "self"
