"""Every registered method: fresh weights, one step, and a product that any card path loads."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from transferscope.backbones.networks import build_backbone, network_without_values
from transferscope.cards import FileCard, TimmCard, TrainCard
from transferscope.cards.methods import METHODS
from transferscope.config.training import AugmentationSettings, OptimiserSettings
from transferscope.costs.network_costs import NetworkCost, training_operations
from transferscope.pretraining.methods.base import Batch
from transferscope.pretraining.methods.fit import check_objective
from transferscope.pretraining.methods.registry import build_method, implementation

SIZE = 32
SMALL = {"patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
# Small values for whatever setting of a method has such a name.
LIGHT = {
    "decoder_width": 16,
    "decoder_depth": 1,
    "decoder_heads": 2,
    "fourier_weight": 0.01,
    "patch_size": 8,
    "output_width": 8,
    "hidden_width": 16,
    "bottleneck_width": 4,
    "local_crops": 1,
}
CHANNELS = ("nucleus", "protein")
# Case -> method and architecture.
CASES = {
    **{name: (name, method.typical_network) for name, method in METHODS.items()},
    "dino of a convolutional network": ("dino", "resnet18"),
}
# Methods whose network takes smaller images than it is made for.
CROPPED = {name for name, method in METHODS.items() if "crop_size" in method.model_fields}


def settings_of(name, **changes):
    method = METHODS[CASES[name][0]]
    light = {key: value for key, value in LIGHT.items() if key in method.model_fields}
    return method.model_validate({"method": method.name(), **light, **changes})


def shared_keys(name):
    architecture = CASES[name][1]
    return {
        "name": "small",
        "architecture": architecture,
        "arguments": SMALL if "vit" in architecture else {},
        "slots": [{"name": "er"}, {"name": "protein"}, {"name": "nucleus"}],
        "input_size": SIZE,
        "outputs": [
            {"name": "default", "pooling": "pool" if architecture == "resnet18" else "mean"}
        ],
    }


def random_card(name):
    return TimmCard(source="timm", pretrained=False, seed=3, **shared_keys(name))


@pytest.fixture(params=CASES)
def name(request):
    return request.param


@pytest.fixture
def method(name):
    return build_method(random_card(name), settings_of(name), AugmentationSettings(), 3, n_groups=4)


def one_step(method):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(4, 2, 48, 48, generator=generator)
    views = method.views(Batch(images, CHANNELS, torch.arange(4)), generator)
    groups = method.parameter_groups()
    optimiser = torch.optim.AdamW([{"params": group["params"]} for group in groups], lr=1e-3)
    loss, parts = method.loss(views, 0.5, generator)
    loss.backward()
    optimiser.step()
    method.after_step(0.5)
    return loss.detach(), parts


def test_training_starts_from_the_weights_of_the_random_control(name, method, tmp_path):
    control = build_backbone(random_card(name), tmp_path / "card.yaml").network
    started = method.encoder.state_dict()
    assert set(started) == set(control.state_dict())
    for key, value in control.state_dict().items():
        torch.testing.assert_close(started[key], value, rtol=0, atol=0)


def test_a_step_changes_every_network_that_is_trained(method):
    before = {key: value.clone() for key, value in method.encoder.state_dict().items()}
    loss, parts = one_step(method)
    assert loss.isfinite()
    assert all(value.ndim == 0 and not value.requires_grad for value in parts.values())
    after = method.encoder.state_dict()
    weights = [key for key, value in before.items() if key.endswith("weight") and value.ndim > 1]
    assert weights
    assert all(not torch.equal(before[key], after[key]) for key in weights)


def test_the_product_loads_as_any_file_of_weights(name, method, tmp_path):
    one_step(method)
    state = {key: value.contiguous() for key, value in method.encoder.state_dict().items()}
    save_file(state, tmp_path / "small.safetensors")
    card = FileCard(source="file", weights="small.safetensors", **shared_keys(name))
    backbone = build_backbone(card, tmp_path / "card.yaml")
    for key, value in backbone.network.state_dict().items():
        torch.testing.assert_close(value, state[key], rtol=0, atol=0)
    # The encoder of the training is the network that embeds.
    images = torch.rand(2, 3, SIZE, SIZE)
    with torch.no_grad():
        expected = method.encoder.eval().forward_features(images)
        found = backbone.network.forward_features(images)
    torch.testing.assert_close(found, expected)


def test_biases_and_norms_have_no_weight_decay(method):
    decayed, plain = method.parameter_groups()
    assert (decayed["wd_scale"], plain["wd_scale"]) == (1.0, 0.0)
    names = {id(p): n for n, p in method.named_parameters()}
    assert all(p.ndim > 1 for p in decayed["params"])
    assert plain["params"]
    assert all(p.ndim <= 1 for p in plain["params"])
    chosen = [id(p) for group in (decayed, plain) for p in group["params"]]
    assert len(chosen) == len(set(chosen))
    trained = {i for i, n in names.items() if not n.startswith("teacher.")}
    frozen = {id(p) for p in method.parameters() if not p.requires_grad}
    assert set(chosen) == trained - frozen


@pytest.mark.parametrize(
    "name",
    [name for name, (method, _) in CASES.items() if "crop_size" in METHODS[method].model_fields],
)
def test_crops_may_be_smaller_than_what_is_embedded_later(name, tmp_path):
    settings = settings_of(name, crop_size=SIZE // 2)
    smaller = build_method(random_card(name), settings, AugmentationSettings(), 3, n_groups=4)
    generator = torch.Generator().manual_seed(0)
    batch = Batch(torch.rand(4, 2, 48, 48), CHANNELS, torch.arange(4))
    views = smaller.views(batch, generator)
    assert smaller.input_size == SIZE // 2
    assert smaller.loss(views, 0.5, generator)[0].isfinite()
    # During training, too, it embeds whole tiles.
    assert smaller.encoder.eval()(torch.rand(1, 3, SIZE, SIZE)).isfinite().all()
    state = {key: value.contiguous() for key, value in smaller.encoder.state_dict().items()}
    save_file(state, tmp_path / "small.safetensors")
    card = FileCard(source="file", weights="small.safetensors", **shared_keys(name))
    backbone = build_backbone(card, tmp_path / "card.yaml")
    assert backbone(torch.rand(1, 3, SIZE, SIZE))[0].isfinite().all()


def test_only_weak_supervision_reads_groups(name, method):
    batch = Batch(torch.rand(4, 2, 48, 48), CHANNELS)
    assert method.settings.reads_groups is (name == "weak")
    if method.settings.reads_groups:
        with pytest.raises(ValueError, match="groups"):
            method.views(batch, torch.Generator())
    else:
        method.views(batch, torch.Generator())


def test_only_one_method_cannot_be_trained_on_smaller_crops():
    assert set(METHODS) - CROPPED == {"ca-mae"}


@pytest.mark.parametrize("name", METHODS)
def test_a_card_is_trained_as_its_method_declares(name):
    method = METHODS[name]
    keys = {
        "source": "train",
        "objective": {"method": name},
        "datasets": ["cells"],
        **shared_keys(name),
    }
    card = TrainCard.model_validate(keys)
    assert type(card.objective) is method
    assert card.optimiser == OptimiserSettings(**method.published_optimiser)
    own = TrainCard.model_validate({**keys, "optimiser": {"learning_rate": 0.1}})
    assert own.optimiser == card.optimiser.model_copy(update={"learning_rate": 0.1})
    cost = NetworkCost(operations=10, parameters=1, width=1)
    assert training_operations(card, cost, 3) == method.passes * 10 * card.epochs * 3 > 0
    # The network by which benchmarks and tests know the method is one that it can train.
    network = network_without_values(card)
    assert implementation(card.objective).fits(card, network)
    assert check_objective(card, Path("card.yaml"), network) == []


def test_methods_are_declared_without_torch():
    code = "import sys, transferscope.cards.methods; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
