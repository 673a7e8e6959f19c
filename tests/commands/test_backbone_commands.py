from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from typer.testing import CliRunner

from checkpoint_files import Values, card_for, embeddings, images, prefixed, save, vit_state
from transferscope.backbones.card_text import card_name
from transferscope.backbones.checks import check_backbone
from transferscope.backbones.networks import build_backbone
from transferscope.backbones.weights import weights_sha256
from transferscope.cards import BackboneCard
from transferscope.checkpoints.sources import file_sha256
from transferscope.commands.app import app, main
from transferscope.config.model import read_model
from transferscope.errors import UserError


def run(*arguments: object) -> str:
    """Return what a command prints; an error is raised as the command raises it."""
    done = CliRunner().invoke(app, ["backbone", *map(str, arguments)])
    if done.exception is not None:
        raise done.exception
    return done.stdout


def dino4cells(folder: Path, patch: int = 8) -> Path:
    state = {**vit_state(channels=4, patch=patch), "surprise": torch.ones(2)}
    head = Values(1).linear("head.mlp.0", 8, 64)
    teacher = {**prefixed(state, "module.backbone."), **prefixed(head, "module.")}
    moments = {"state": {0: {"exp_avg": torch.ones(3)}, 1: {"exp_avg": torch.ones(3)}}}
    content = {"teacher": teacher, "optimizer": moments, "epoch": 1}
    return save(content, folder / "DINO_FOV_checkpoint.pth")


def dinov2(folder: Path) -> Path:
    state = {**vit_state(patch=14, scales=True), "mask_token": torch.zeros(1, 64)}
    state["register_tokens"] = Values(3)(1, 4, 64)
    return save(state, folder / "dinov2 vits14 (reg4).pth")


def channelvit(folder: Path) -> Path:
    state = vit_state(patch_dimensions=3)
    state["patch_embed.channel_embed.weight"] = Values(2)(8, 64)
    return save(state, folder / "cpjump_channelvit.pth")


def resnet(folder: Path) -> Path:
    torch.manual_seed(0)
    network = timm.create_model("resnet50", num_classes=0, layers=[1, 1, 1, 1])
    return save({"teacher": network.state_dict()}, folder / "2024.pth")


def plain(folder: Path) -> Path:
    return save(vit_state(), folder / "my-vit.safetensors")


FILES: list[Callable[[Path], Path]] = [dino4cells, dinov2, channelvit, resnet, plain]


def test_inspect_prints_what_a_file_holds(tmp_path: Path) -> None:
    path = dino4cells(tmp_path)
    lines = run("inspect", path).splitlines()
    for line in (
        "layout: dino4cells, weights under teacher.module.backbone.",
        "architecture: vit_small_patch16_224 "
        "(embed_dim: 64, depth: 2, num_heads: 1, patch_size: 8)",
        "patch size: 8 px",
        "image size: 24 px",
        "input channels: 4",
        "suggested slots: microtubules, protein, nucleus, er",
        "embedding: 64 features, 2 blocks",
        "matched weights: 30",
        "left over: projection head: 2: teacher.module.head.mlp.0.weight, "
        "teacher.module.head.mlp.0.bias",
        "left over: state of the optimiser: 2: optimizer.state.0.exp_avg, "
        "optimizer.state.1.exp_avg",
        "warning: of unknown purpose: surprise",
        f"sha256: {file_sha256(path)}",
        "verdict: every weight of the encoder is matched",
    ):
        assert line in lines


def test_inspect_gives_the_same_as_json(tmp_path: Path) -> None:
    path = dino4cells(tmp_path, patch=16)
    found = json.loads(run("inspect", path, "--json"))
    backbone = build_backbone(card_for(path), Path("x.yaml"))
    n_parameters = sum(p.numel() for p in backbone.parameters())
    assert found["parameters"] == n_parameters
    assert (found["layout"], found["patch_size"], found["image_size"]) == ("dino4cells", 16, 48)
    assert (found["channels"], found["embedding_dimension"], found["depth"]) == (4, 64, 2)
    assert found["left_over"]["projection head"]["count"] == 2
    assert found["unknown"] == ["surprise"]
    assert found["problem"] is None
    assert (found["prefix"], found["format"]) == ("teacher.module.backbone.", "torch")


def test_inspect_reports_a_file_that_no_network_takes(tmp_path: Path) -> None:
    state = vit_state(depth=3)
    del state["blocks.1.mlp.fc2.weight"]
    path = save(state, tmp_path / "w.pth")
    for shown in ([], ["--json"]):
        done = CliRunner().invoke(app, ["backbone", "inspect", str(path), *shown])
        assert "missing: blocks.1.mlp.fc2.weight" in done.stdout
        assert done.exit_code == 1
    with pytest.raises(UserError, match=r"missing: blocks\.1\.mlp\.fc2\.weight"):
        run("card", path, "--output", tmp_path / "card.yaml")
    assert not (tmp_path / "card.yaml").exists()


def test_inspect_names_the_student_where_it_is_asked_for(tmp_path: Path) -> None:
    content = {"teacher": vit_state(), "student": prefixed(vit_state(depth=3), "module.")}
    path = save(content, tmp_path / "w.pth")
    assert json.loads(run("inspect", path, "--json"))["depth"] == 2
    found = json.loads(run("inspect", path, "--json", "--state-key", "student"))
    assert (found["depth"], found["prefix"]) == (3, "student.module.")


@pytest.mark.parametrize("make", FILES)
def test_a_written_card_is_ready_to_use(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    """The card lies in another folder than the file, and its weights are those of the file."""
    (tmp_path / "downloads").mkdir()
    path = make(tmp_path / "downloads")
    output = tmp_path / "cards" / "my-backbone.yaml"
    assert f"wrote {output}" in run("card", path, "--output", output)
    found = read_model(output, BackboneCard)
    assert found.name == "my-backbone"
    assert found.sha256 == file_sha256(path)
    assert not found.weights.is_absolute()
    assert check_backbone(found, output) == []
    built = build_backbone(found, output)
    outputs = [{"name": o.name, "pooling": o.pooling} for o in found.outputs]
    direct = card_for(path, found.input_size, outputs=outputs)
    assert weights_sha256(built.network) == weights_sha256(
        build_backbone(direct, Path("x.yaml")).network
    )
    x = images(len(found.slots), found.input_size, n=1)
    expected = embeddings(direct, x)
    with torch.inference_mode():
        values = built(x)
    for output_of_card, value in zip(found.outputs, values, strict=True):
        torch.testing.assert_close(value, expected[output_of_card.name])


@pytest.mark.parametrize("make", FILES)
def test_every_key_of_a_written_card_is_commented(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    run("card", make(tmp_path), "--output", tmp_path / "x.yaml", "--name", "named")
    lines = (tmp_path / "x.yaml").read_text().splitlines()
    assert lines[0].startswith("# named: ")
    top = [line for line in lines if line and line[0] not in " #"]
    for line in top:
        if not line.startswith(("name:", "description:")):
            assert "# " in line, line


def test_a_card_s_name_is_the_file_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run("card", dinov2(tmp_path))
    assert read_model(Path("dinov2-vits14-reg4.yaml"), BackboneCard).input_size == 42
    with pytest.raises(UserError, match="exists already"):
        run("card", tmp_path / "dinov2 vits14 (reg4).pth")
    run("card", resnet(tmp_path))
    found = read_model(Path("2024.yaml"), BackboneCard)
    assert (found.name, found.weights) == ("2024", Path("2024.pth"))


@pytest.mark.parametrize(
    ("stem", "name"),
    [("a b", "a-b"), ("DINO_FOV", "dino_fov"), ("_x.v2", "x.v2"), ("--", "backbone")],
)
def test_names_hold_what_a_card_allows(stem: str, name: str) -> None:
    assert card_name(Path(f"folder/{stem}.pth")) == name


def test_the_architecture_is_given_where_no_layout_tells_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = timm.create_model("convnext_atto", in_chans=4)
    path = save(network.state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="no weights of a known layout"):
        run("inspect", path)
    found = json.loads(run("inspect", path, "--json", "--architecture", "convnext_atto"))
    assert (found["channels"], found["problem"]) == (4, None)
    assert found["left_over"] == {
        "classification head": {"count": 2, "examples": ["head.fc.bias", "head.fc.weight"]}
    }
    with pytest.raises(UserError, match='Did you mean "convnext_atto"'):
        run("inspect", path, "--architecture", "convnext_ato")
    # As on the hub: config.json names the architecture.
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "convnext_atto"}))
    run("card", path, "--output", tmp_path / "atto.yaml")
    card: Any = read_model(tmp_path / "atto.yaml", BackboneCard)
    assert (card.architecture, len(card.slots)) == ("convnext_atto", 4)
    assert check_backbone(card, tmp_path / "atto.yaml") == []


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="source: transformers"):
        run("inspect", tmp_path)


def test_an_unknown_layout_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='Did you mean "dinov2"'):
        run("inspect", plain(tmp_path), "--layout", "dinov22")


class Bomb:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.trace}",)


def test_a_hostile_file_is_refused_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through the command itself: nothing runs, and the message names what was asked for."""
    path = save({"teacher": {}, "optimizer": Bomb(tmp_path / "trace")}, tmp_path / "w.pth")
    monkeypatch.setattr(sys, "argv", ["transferscope", "backbone", "inspect", str(path)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    shown = capsys.readouterr().err
    assert "could run code: it asks for `posix.system`" in shown
    assert "Traceback" not in shown
    assert not (tmp_path / "trace").exists()
