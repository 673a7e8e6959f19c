from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transferscope.backbones.scale import SLACK_PX, card_for_tiles, physical_size
from transferscope.cards import TimmCard
from transferscope.errors import UserError

HERE = Path("cards/x.yaml")


def card(**changes: Any) -> TimmCard:
    values: dict[str, Any] = {
        "source": "timm", "name": "x", "architecture": "vit_tiny_patch16_224",
        "pretrained": False, "slots": [{"name": "a"}], "pixel_size_um": 0.32,
        "scale": "physical",
    }  # fmt: skip
    return TimmCard(**{**values, **changes})


@pytest.mark.parametrize(
    ("side", "um", "wanted", "multiple", "expected"),
    [
        (600, 0.2, 0.32, 16, 384),  # OpenCell at the scale of the Human Protein Atlas
        (2048, 0.08, 0.32, 16, 512),
        (512, 0.32, 0.32, 14, 518),
        (100, 0.5, 0.5, 1, 100),
        (3, 0.1, 1.0, 8, 8),
    ],
)
def test_the_input_size_follows_from_the_tile(
    side: int, um: float, wanted: float, multiple: int, expected: int
) -> None:
    assert physical_size(side, um, wanted, multiple) == expected


@given(
    st.integers(8, 4096), st.floats(0.02, 5), st.floats(0.02, 5), st.sampled_from([1, 8, 14, 16])
)
def test_tiles_are_never_shown_coarser_nor_a_patch_finer(side, um, wanted, multiple):
    size = physical_size(side, um, wanted, multiple)
    exact = side * um / wanted
    assert size % multiple == 0
    assert size >= min(exact - SLACK_PX, exact)
    assert size == multiple or size - multiple < exact


def test_fit_keeps_the_card() -> None:
    fit = card(scale="fit")
    assert card_for_tiles(fit, HERE, (600, 400), None) == fit


def test_physical_reads_the_patch_off_the_network() -> None:
    assert card_for_tiles(card(), HERE, (600, 600), 0.2).input_size == 384
    convolutional = card(architecture="resnet18", outputs=[{"name": "p", "pooling": "pool"}])
    assert card_for_tiles(convolutional, HERE, (600, 600), 0.2).input_size == 375


@pytest.mark.parametrize(
    ("size", "um", "what"), [((64, 64), None, "not known"), ((64, 32), 0.2, "square")]
)
def test_tiles_without_one_scale_are_refused(size: tuple, um: float | None, what: str) -> None:
    with pytest.raises(UserError, match=what):
        card_for_tiles(card(), HERE, size, um)


def test_physical_needs_the_pixel_size_of_the_weights() -> None:
    with pytest.raises(ValueError, match="scale physical needs pixel_size_um"):
        card(pixel_size_um=None)
