"""Sweeps: one card that stands for a network at several scales."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from transferscope.cards import HandcraftedCard
from transferscope.cards.backbone import TimmCard
from transferscope.cards.lookup import Located, cell_of
from transferscope.errors import UserError

CARD = {"name": "net", "source": "timm", "architecture": "resnet18", "pretrained": False}
CARD |= {"slots": [{"name": "protein"}]}


def card(**keys):
    return TimmCard.model_validate({**CARD, **keys})


@given(st.lists(st.integers(16, 16_384), min_size=1, max_size=5, unique=True))
def test_each_size_is_a_backbone_that_a_card_of_its_own_would_be(sizes):
    swept = card(sweep={"input_size": sizes}).swept()
    assert list(swept) == [f"net_size{size}" for size in sizes]
    for (one, found), size in zip(swept.values(), sizes, strict=True):
        assert (one.card, one.axis, one.value) == ("net", "input_size", size)
        alone = card(name=one.name, input_size=size)
        assert found == alone
        assert found.fingerprint() == alone.fingerprint()


def test_pixel_sizes_are_swept_on_a_physical_scale():
    swept = card(scale="physical", pixel_size_um=0.5, sweep={"pixel_size_um": [0.5, 1.3]}).swept()
    assert {name: found.pixel_size_um for name, (_, found) in swept.items()} == {
        "net_um0.5": 0.5,
        "net_um1.3": 1.3,
    }


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"sweep": {}}, "values of either"),
        ({"sweep": {"input_size": [32], "pixel_size_um": [1.0]}}, "values of either"),
        ({"sweep": {"pixel_size_um": [1.0]}}, "needs scale: physical"),
        (
            {"sweep": {"input_size": [32]}, "scale": "physical", "pixel_size_um": 1.0},
            "needs scale: fit",
        ),
        ({"sweep": {"input_size": [32, 32]}}, "32"),
        ({"sweep": {"input_size": [8]}}, "16"),
        ({"sweep": {"pixel_size_um": [0]}, "scale": "physical", "pixel_size_um": 1.0}, "0"),
    ],
)
def test_what_cannot_be_swept_is_refused(keys, said):
    with pytest.raises(ValidationError, match=said):
        card(**keys)


def test_a_job_finds_its_backbone_by_name_or_says_which_there_are():
    located = Located(card(sweep={"input_size": [32, 64]}), Path("net.yaml"))
    assert cell_of(located, "net_size64").card.input_size == 64
    for name, said in ((None, "is a sweep of 2 backbones"), ("net_size65", "net_size64")):
        with pytest.raises(UserError, match=said):
            cell_of(located, name)
    single = Located(card(), Path("net.yaml"))
    assert cell_of(single, None) is single
    other = Located(HandcraftedCard(name="features", source="handcrafted"), Path("features.yaml"))
    for one in (single, other):
        with pytest.raises(UserError, match="no `grid`, no `sweep`"):
            cell_of(one, "net_size64")
