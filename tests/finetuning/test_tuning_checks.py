"""What a backbone cannot serve is said before a run, with the reason."""

from pathlib import Path

import pytest
from pydantic import TypeAdapter

from factories import TINY_NETWORK
from transferscope.cards import BackboneCard
from transferscope.finetuning.checks import check_tuning

SLOTS = TINY_NETWORK["slots"]
OUTPUTS = [{"name": "pool", "pooling": "pool"}]
RESNET = {
    "source": "timm",
    "name": "cnn",
    "architecture": "resnet18",
    "pretrained": False,
    "slots": SLOTS,
    "outputs": OUTPUTS,
}
VIT = {"name": "tiny", **TINY_NETWORK}
LAYERED = {**VIT, "outputs": [{"name": "early", "pooling": "mean", "layer": 0}]}
TRANSFORMERS = {
    "source": "transformers",
    "name": "hub",
    "model": "owner/name",
    "slots": SLOTS,
}


def reasons(card, *modes):
    checked = TypeAdapter(BackboneCard).validate_python(card)
    return [p.what for p in check_tuning(checked, Path("card.yaml"), None, list(modes))]


@pytest.mark.parametrize("card", [RESNET, VIT])
def test_what_can_be_served_passes(card):
    assert reasons(card, "full", "head", "last-2") == []


def test_a_vision_transformer_takes_low_rank_updates_and_others_do_not():
    assert reasons(VIT, "lora") == []
    (reason,) = reasons(RESNET, "full", "lora")
    assert "lora cannot be served by cnn: low-rank updates are for vision transformers" in reason


def test_more_layers_than_there_are_are_refused():
    (reason,) = reasons(VIT, "last-2", "last-3")
    assert "it has 2 layers besides its input" in reason


def test_layers_after_the_one_that_is_read_are_refused():
    (reason,) = reasons(LAYERED, "full", "last-1")
    assert "early is read before the last layers" in reason


def test_a_model_of_another_library_serves_its_head_alone():
    (reason,) = reasons(TRANSFORMERS, "head", "full")
    assert "transformers library" in reason
