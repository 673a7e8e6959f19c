"""Cards of published weights: files in the layout of their repositories, at full size and loaded.

At full size no weight has a value: names, shapes, tokens and features are compared. With values
the networks have a block or two, and what the card's backbone gives out is compared with the
transcriptions in `reference_networks`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import timm
import torch
import yaml

import reference_networks as reference
from checkpoint_files import images, save
from doc_pages import blocks
from published_weights import (
    IN_A_PAGE,
    PUBLISHED,
    TESTED_ELSEWHERE,
    Published,
    from_transformers,
    of_transformers,
    random_state,
    without_prefix,
)
from transferscope.backbones.networks import build_backbone, network_without_values
from transferscope.backbones.readout import Backbone
from transferscope.cards import BackboneCard
from transferscope.checkpoints.conversion import convert
from transferscope.checkpoints.reading import Checkpoint
from transferscope.config.model import read_model, validate
from transferscope.transport.cache import cached_path

COMMIT = "0" * 40


every_card = pytest.mark.parametrize("name", sorted(PUBLISHED))
compared = pytest.mark.parametrize(
    "name", sorted(name for name, one in PUBLISHED.items() if one.outputs)
)


def test_every_card_of_published_weights_is_tested(repository: Path) -> None:
    names = set()
    for path in (repository / "resources/backbones").glob("*.yaml"):
        card = read_model(path, BackboneCard)
        if card.is_network and not card.trained_here and card.needs_weights:
            names.add(path.stem)
    assert names | set(IN_A_PAGE) == set(PUBLISHED) | set(TESTED_ELSEWHERE)
    assert names.isdisjoint(IN_A_PAGE)
    assert all((repository / "tests" / test).is_file() for test in TESTED_ELSEWHERE.values())


def card_of(repository: Path, name: str) -> tuple[Any, Path]:
    if page := IN_A_PAGE.get(name):
        text = (repository / page).read_text()
        cards = [yaml.safe_load(content) for kind, content in blocks(text) if kind == "yaml"]
        given = next(card for card in cards if card["name"] == name)
        return validate(given, BackboneCard, page), repository / f"{name}.yaml"
    path = repository / f"resources/backbones/{name}.yaml"
    return read_model(path, BackboneCard), path


@every_card
def test_the_whole_file_fits_the_network_of_the_card(repository: Path, name: str) -> None:
    published = PUBLISHED[name]
    card, _ = card_of(repository, name)
    if published.size:
        card = card.model_copy(update={"input_size": published.size})
    network = network_without_values(card)
    wanted = {n: tuple(t.shape) for n, t in network.state_dict().items()}
    shapes = published.shapes(published.depth)
    if card.source == "timm":
        assert {n: s for n, s in shapes.items() if not n.startswith("head.fc.")} == wanted
    else:
        tensors = {n: torch.empty(shape, device="meta") for n, shape in shapes.items()}
        file = Checkpoint(Path("w"), "torch", tensors, tuple(tensors))
        found = convert(file, card.layout)
        assert {n: tuple(t.shape) for n, t in found.state.items()} == wanted
        assert found.unknown_leftovers() == []
        assert found.network.image_size == card.input_size
        # What a command would write into a card for the file is the same network.
        drafted = {"architecture": found.network.architecture, "arguments": found.network.arguments}
        again = network_without_values(card.model_copy(update=drafted))
        assert {n: tuple(t.shape) for n, t in again.state_dict().items()} == wanted


@every_card
def test_tokens_and_features_of_the_whole_network(repository: Path, name: str) -> None:
    published = PUBLISHED[name]
    card, _ = card_of(repository, name)
    network: Any = network_without_values(card)
    n_weights = sum(t.numel() for t in network.parameters())
    assert n_weights / 1e6 == pytest.approx(published.millions, abs=0.06)
    blank = torch.empty(2, len(card.slots), card.input_size, card.input_size, device="meta")
    with torch.no_grad():
        last = network.forward_features(blank)
        outputs = Backbone(network, card.outputs).eval()(blank)
    if last.ndim == 4:
        last = last.flatten(2).transpose(1, 2)
    assert last.shape == (2, published.tokens, published.width)
    assert getattr(network, "num_prefix_tokens", 0) == published.prefix
    widths = {
        "cls": published.width, "mean": published.width, "pool": published.width,
        "cls-mean": 2 * published.width,
        "attention": {"conch": 512, "subcell-mae-all": 1536}.get(name, 768),
    }  # fmt: skip
    found = {o.name: t.shape[1] for o, t in zip(card.outputs, outputs, strict=True)}
    assert found == {o.name: widths[o.name] for o in card.outputs}


def nested(state: Any) -> Any:
    """Return the networks of a training as a training keeps them, each in an entry of its own."""
    networks = {n.split(".")[0] for n in state} & {"teacher", "student"}
    return {network: without_prefix(state, f"{network}.") for network in networks} or state


def put_where_the_card_looks(card: Any, state: Any, folder: Path) -> None:
    """Write a file where a run would have put what it fetches."""
    if card.source == "url":
        path = cached_path(card.url, card.sha256)
        path.parent.mkdir(parents=True)
        torch.save(nested(state), path)
        return
    if card.source == "file":
        torch.save(nested(state), card.weights)
        return
    repo, filename = (
        (timm.get_pretrained_cfg(card.architecture).hf_hub_id, "model.safetensors")
        if card.source == "timm"
        else (card.repo, card.filename)
    )
    kept = folder / f"models--{repo.replace('/', '--')}"
    path = kept / "snapshots" / COMMIT / filename
    path.parent.mkdir(parents=True)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text(COMMIT)
    save(state, path)


def reduced(card: Any, published: Published) -> tuple[Any, Any]:
    """Return a card of fewer blocks, and random weights of its published file."""
    depth, arguments = published.reduced
    changes = {"arguments": {**card.arguments, **arguments}, **published.changes}
    return card.model_copy(update=changes), random_state(published.shapes(depth))


@compared
def test_embeddings_are_those_of_an_independent_forward_pass(
    repository: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("TRANSFERSCOPE_CACHE", str(tmp_path / "files"))
    published = PUBLISHED[name]
    whole, path = card_of(repository, name)
    card, state = reduced(whole, published)
    if card.source == "file":
        card = card.model_copy(update={"weights": tmp_path / "w.pth"})
    put_where_the_card_looks(card, state, tmp_path)
    x = images(len(card.slots), card.input_size)
    with torch.inference_mode():
        found = build_backbone(card, path)(x)
        wanted = published.outputs(state, x) if published.outputs else {}
    for output, values in zip(card.outputs, found, strict=True):
        torch.testing.assert_close(values, wanted[output.name], rtol=1e-4, atol=1e-4)
        # Two images of noise are told apart, so that the comparison is not one of constants.
        assert (values[0] - values[1]).abs().max() > 1e-3


# Keyword arguments of timm's models as the authors' pages give them, without `num_classes`.
GATED = {"mlp_layer": timm.layers.SwiGLUPacked, "act_layer": torch.nn.SiLU, "init_values": 1e-5}
RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    "uni2-h": (
        "vit_giant_patch14_224",
        {**GATED, "img_size": 224, "patch_size": 14, "depth": 24, "num_heads": 24,
         "embed_dim": 1536, "mlp_ratio": 2.66667 * 2, "no_embed_class": True, "reg_tokens": 8},
    ),
    "virchow2": (
        "vit_huge_patch14_224", {**GATED, "img_size": 224, "reg_tokens": 4, "mlp_ratio": 5.3375}
    ),
    "h-optimus-0": ("vit_giant_patch14_reg4_dinov2", {"img_size": 224, "init_values": 1e-5}),
    "h0-mini": (
        "vit_base_patch14_reg4_dinov2",
        {**GATED, "img_size": 224, "reg_tokens": 4, "mlp_ratio": 5.33334},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_files_are_what_the_recipes_of_their_authors_load(name: str) -> None:
    architecture, arguments = RECIPES[name]
    with torch.device("meta"):
        model = timm.create_model(architecture, num_classes=0, **arguments)
    published = PUBLISHED[name]
    found = {n: tuple(t.shape) for n, t in model.state_dict().items()}
    assert found == published.shapes(published.depth)


@pytest.mark.parametrize(
    ("gated", "registers"), [(0, 0), (4096 // 16, 0), (4096 // 16, 4)], ids=str
)
def test_the_transformers_library_reads_the_same_file_alike(
    gated: int, registers: int, tmp_path: Path
) -> None:
    library = pytest.importorskip("transformers")
    width = 96
    state = random_state(of_transformers(width, 14, gated, registers)(2))
    family = "Dinov2WithRegisters" if registers else "Dinov2"
    config = getattr(library, f"{family}Config")(
        hidden_size=width, num_hidden_layers=2, num_attention_heads=2, image_size=224,
        patch_size=14, use_swiglu_ffn=bool(gated), mlp_ratio=4, num_register_tokens=registers,
    )  # fmt: skip
    config.save_pretrained(tmp_path)
    save(state, tmp_path / "model.safetensors")
    model, report = getattr(library, f"{family}Model").from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    x = images(3, 224)
    with torch.inference_mode():
        theirs = model.eval()(x).last_hidden_state
    ours = reference.dinov2(from_transformers(state), x, 2)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
