"""What a network costs, against published figures."""

from pathlib import Path

import pytest

from transferscope.cards import TimmCard
from transferscope.costs.networks import network_cost

CARD = Path("card.yaml")


def card(**changes):
    base = {"source": "timm", "name": "n", "architecture": "vit_small_patch16_224"}
    slots = [{"name": name} for name in ("red", "green", "blue")]
    return TimmCard.model_validate({**base, "pretrained": False, "slots": slots, **changes})


def test_a_vit_costs_what_was_published():
    # Touvron et al., Training data-efficient image transformers: 22 M weights, 4.6 G multiply-adds.
    cost = network_cost(card(), CARD)
    assert cost.parameters == pytest.approx(22e6, rel=0.03)
    assert cost.operations == pytest.approx(2 * 4.6e9, rel=0.03)
    assert cost.width == 384


@pytest.mark.parametrize(
    ("architecture", "width", "blocks", "patch"),
    [("vit_small_patch16_224", 384, 12, 16), ("vit_base_patch16_224", 768, 12, 16),
     ("vit_small_patch8_224", 384, 12, 8)],
)  # fmt: skip
def test_a_vit_costs_what_follows_from_its_size(architecture, width, blocks, patch):
    """Projection of the patches, four products of weights per block, and attention."""
    patches = (224 // patch) ** 2
    tokens = patches + 1
    project = 2 * patches * 3 * patch**2 * width
    expected = project + blocks * (24 * tokens * width**2 + 4 * tokens**2 * width)
    found = network_cost(card(architecture=architecture), CARD).operations
    assert found == pytest.approx(expected, rel=0.001)


def test_several_outputs_share_one_pass_and_add_their_widths():
    both = card(outputs=[{"name": "cls"}, {"name": "all", "pooling": "cls+mean"}])
    assert network_cost(both, CARD).width == 3 * 384
    assert network_cost(both, CARD).operations == network_cost(card(), CARD).operations


def test_a_convolutional_network_at_twice_the_size_costs_four_times_as_much():
    arguments = {"architecture": "resnet18", "outputs": [{"name": "pool", "pooling": "pool"}]}
    small = network_cost(card(**arguments, input_size=224), CARD)
    large = network_cost(card(**arguments, input_size=448), CARD)
    assert large.operations == pytest.approx(4 * small.operations, rel=0.02)
    assert large.parameters == small.parameters
