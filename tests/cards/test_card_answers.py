"""What cards tell of themselves, so that no other code asks for their class."""

import re

import pytest

from transferscope.cards import BackboneCard, DatasetCard
from transferscope.config.model import read_model, validate

NETWORK = {"name": "b", "slots": [{"name": "er"}, {"name": "nucleus"}]}
BUILT = {**NETWORK, "architecture": "resnet18"}
CARDS = {
    "timm": {**BUILT, "source": "timm"},
    "random": {**BUILT, "source": "timm", "pretrained": False},
    "any channels": {**NETWORK, "source": "timm", "architecture": "channel_agnostic_vit"},
    "file": {**BUILT, "source": "file", "weights": "w.pth"},
    "url": {**BUILT, "source": "url", "url": "https://localhost/w.pth"},
    "hub": {**BUILT, "source": "hub", "repo": "a/b"},
    "transformers": {**NETWORK, "source": "transformers", "model": "a/b"},
    "train": {**BUILT, "source": "train", "objective": {"method": "dino"}, "datasets": ["d"]},
    "handcrafted": {"name": "b", "source": "handcrafted"},
}
DATASET = {"name": "d", "sheet": "s.tsv", "channels": ["nucleus", "er"], "labels": ["a", "b"]}


def card(name, **changes):
    return validate({**CARDS[name], **changes}, BackboneCard, "b.yaml")


def those(answer):
    return {name for name in CARDS if getattr(card(name), answer)}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("is_network", set(CARDS) - {"handcrafted"}),
        ("trained_here", {"train"}),
        ("needs_weights", set(CARDS) - {"handcrafted", "random"}),
        ("takes_any_channels", {"any channels", "handcrafted"}),
        ("named_slots", set(CARDS) - {"any channels", "handcrafted"}),
    ],
)
def test_every_backbone_card_answers(answer, expected):
    assert those(answer) == expected


def test_a_network_tells_what_it_is_built_of():
    networks = {name for name in CARDS if card(name).is_network}
    assert {n for n in networks if not card(n).has_architecture} == {"transformers"}
    assert {n for n in networks if card(n).has_checkpoint} == {"file", "url", "hub"}


def test_outputs_and_slots_are_given_by_name_and_in_order():
    two = card("timm", outputs=[{"name": "mean", "pooling": "mean"}, {"name": "cls"}])
    assert two.output_names == ["mean", "cls"]
    assert [slot.name for slot in two.named_slots] == ["er", "nucleus"]
    assert card("handcrafted").output_names == ["features"]


def test_only_a_physical_scale_needs_the_pixel_size_of_the_tiles():
    assert not those("needs_pixel_size")
    assert card("timm", scale="physical", pixel_size_um=0.2).needs_pixel_size


@pytest.mark.parametrize(
    ("segmentation", "expected"),
    [
        ({"method": "provided"}, (True, False, False, False)),
        ({"method": "whole"}, (False, False, True, False)),
        ({"method": "watershed"}, (False, False, False, False)),
        ({"method": "watershed", "cytoplasm": ["er"]}, (False, False, False, True)),
        ({"method": "cellpose", "channels": ["er"]}, (False, True, False, False)),
    ],
)
def test_a_segmentation_tells_what_it_takes_and_finds(segmentation, expected):
    cells = {"segmentation": segmentation, "crop": {"size": 64}}
    dataset = validate({**DATASET, "cells": cells}, DatasetCard, "d.yaml")
    method = dataset.cells.segmentation
    found = (method.reads_masks, method.runs_network, method.one_per_field, method.finds_nuclei)
    assert found == expected
    assert dataset.reads_masks is method.reads_masks


def test_ready_cards_say_where_their_weights_are_from(repository):
    for path in (repository / "resources/backbones").glob("*.yaml"):
        found = read_model(path, BackboneCard)
        assert found.needs_weights is not ("random" in found.name or not found.is_network)


def test_no_code_outside_the_cards_asks_for_the_class_of_one(repository):
    package = repository / "workflow" / "transferscope"
    asked = re.compile(r"isinstance\([^\n]*(Card|Fetch|Segmentation|ProvidedMasks|WholeFields)\b")
    paths = [p for p in package.rglob("*.py") if p.parent != package / "cards"]
    found = [str(path) for path in paths if asked.search(path.read_text())]
    assert len(paths) > 200
    assert found == []
