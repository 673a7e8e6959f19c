"""Every method: fresh weights, one step, and a product that the ordinary card path loads."""

import pytest
import torch
from pydantic import TypeAdapter
from safetensors.torch import save_file

from transferscope.backbones.networks import build_backbone
from transferscope.cards import FileCard, TimmCard
from transferscope.config.training import AugmentationSettings
from transferscope.pretraining.methods.base import Batch
from transferscope.pretraining.methods.registry import build_method
from transferscope.pretraining.methods.settings import MethodSettings

SIZE = 32
SMALL = {"patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
LIGHT = {"decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2}
HEAD = {"output_width": 8, "hidden_width": 16, "bottleneck_width": 4, "local_crops": 1}
VIT, CONVOLUTIONAL = ("vit_tiny_patch16_224", SMALL), ("resnet18", {})
CHANNELS = ("nucleus", "protein")
# Method, its settings, its network.
METHODS = {
    "dino": ("dino", HEAD, VIT),
    "dino of a convolutional network": ("dino", HEAD, CONVOLUTIONAL),
    "mae": ("mae", {**LIGHT, "fourier_weight": 0.01}, VIT),
    "ca-mae": ("ca-mae", LIGHT, ("channel_agnostic_vit", SMALL)),
    "mae-unet": ("mae-unet", {"patch_size": 8, "decoder_width": 4}, CONVOLUTIONAL),
    "weak": ("weak", {}, VIT),
}


def shared_keys(name):
    architecture, arguments = METHODS[name][2]
    return {
        "name": "small",
        "architecture": architecture,
        "arguments": arguments,
        "slots": [{"name": "er"}, {"name": "protein"}, {"name": "nucleus"}],
        "input_size": SIZE,
        "outputs": [
            {"name": "default", "pooling": "pool" if architecture == "resnet18" else "mean"}
        ],
    }


def random_card(name):
    return TimmCard(source="timm", pretrained=False, seed=3, **shared_keys(name))


@pytest.fixture(params=METHODS)
def name(request):
    return request.param


@pytest.fixture
def method(name):
    keys = METHODS[name]
    settings = TypeAdapter(MethodSettings).validate_python({"method": keys[0], **keys[1]})
    return build_method(random_card(name), settings, AugmentationSettings(), 3, n_groups=4)


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


@pytest.mark.parametrize("name", [name for name in METHODS if name != "ca-mae"])
def test_crops_may_be_smaller_than_what_is_embedded_later(name, tmp_path):
    keys = METHODS[name]
    settings = TypeAdapter(MethodSettings).validate_python(
        {"method": keys[0], **keys[1], "crop_size": SIZE // 2}
    )
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
    assert method.reads_groups is (name == "weak")
    if method.reads_groups:
        with pytest.raises(ValueError, match="groups"):
            method.views(batch, torch.Generator())
    else:
        method.views(batch, torch.Generator())
