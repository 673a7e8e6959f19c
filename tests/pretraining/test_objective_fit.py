"""A method that cannot train a network is found before anything runs."""

from pathlib import Path

import pytest

from transferscope.backbones.networks import network_without_values
from transferscope.cards import TrainCard
from transferscope.config.model import validate
from transferscope.errors import UserError
from transferscope.pretraining.methods.fit import check_objective, check_trained

CARD = Path("card.yaml")
VIT = {"architecture": "vit_tiny_patch16_224"}
ANY_CHANNELS = {"architecture": "channel_agnostic_vit"}
RESNET = {"architecture": "resnet18"}
SWIN = {"architecture": "swin_tiny_patch4_window7_224"}


def keys(method, network, **more):
    objective = {"method": method, **more.pop("objective", {})}
    pooling = "mean" if "vit" in network["architecture"] else "pool"
    return {
        "source": "train",
        "name": "own",
        "slots": [{"name": "protein"}],
        "datasets": ["cells"],
        "objective": objective,
        "outputs": [{"name": "default", "pooling": pooling}],
        **network,
        **more,
    }


def card(method, network, **more):
    return TrainCard.model_validate(keys(method, network, **more))


def problems(method, network, **more):
    own = card(method, network, **more)
    return check_objective(own, CARD, network_without_values(own))


@pytest.mark.parametrize(
    ("method", "network"),
    [
        ("dino", VIT),
        ("dino", RESNET),
        ("mae", VIT),
        ("ca-mae", ANY_CHANNELS),
        ("mae-unet", RESNET),
        ("weak", VIT),
        ("weak", SWIN),
    ],
)
def test_a_method_goes_with_the_networks_that_it_is_for(method, network):
    assert problems(method, network) == []


@pytest.mark.parametrize(
    ("method", "network", "needed"),
    [
        ("dino", ANY_CHANNELS, "of any size"),
        ("dino", SWIN, "of any size"),
        ("mae", RESNET, "plain vision transformer"),
        ("mae", ANY_CHANNELS, "plain vision transformer"),
        ("ca-mae", VIT, "channel_agnostic_vit"),
        ("mae-unet", VIT, "convolutional"),
    ],
)
def test_a_network_of_another_kind_is_refused(method, network, needed):
    [problem] = problems(method, network)
    assert problem.where == "card.yaml, key objective.method"
    assert f"{method} does not go with {network['architecture']}" in problem.what
    assert needed in problem.what


@pytest.mark.parametrize(
    ("method", "network", "more", "key", "fix"),
    [
        ("dino", VIT, {"objective": {"local_size": 90}}, "objective.local_size", "96"),
        ("mae", VIT, {"objective": {"crop_size": 100}}, "objective.crop_size", "96"),
        ("mae-unet", RESNET, {"input_size": 100}, "input_size", "96"),
        ("weak", SWIN, {"objective": {"crop_size": 112}}, "objective.crop_size", "Leave it out"),
    ],
)
def test_sizes_are_whole_numbers_of_patches(method, network, more, key, fix):
    [problem] = problems(method, network, **more)
    assert problem.where == f"card.yaml, key {key}"
    assert fix in problem.fix


def test_it_is_part_of_what_is_checked_before_a_run():
    [problem] = check_trained(card("mae", RESNET), CARD)
    assert "mae does not go with resnet18" in problem.what


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        ({"method": "mae", "crop_scale": [0.5, 0.2]}, "increasing"),
        ({"method": "dino", "local_scale": [0, 0.2]}, "increasing"),
        ({"method": "mae", "decoder_width": 100}, "multiple of decoder_heads"),
        ({"method": "mae", "mask_ratio": 1.0}, "less than 1"),
        ({"method": "moco"}, "moco"),
    ],
)
def test_impossible_settings_are_refused(objective, expected):
    given = {**keys("mae", VIT), "objective": objective}
    with pytest.raises(UserError) as raised:
        validate(given, TrainCard, "card.yaml")
    assert expected in str(raised.value)
