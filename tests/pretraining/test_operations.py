"""Operations of trainings by formula, against torch's counter with fused attention off."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from transferscope.backbones.networks import network_without_values
from transferscope.cards import BackboneCard
from transferscope.config.model import validate
from transferscope.pretraining.methods.base import Batch
from transferscope.pretraining.methods.registry import build_method
from transferscope.pretraining.operations import forward_operations, operations_per_image

SLOTS = [{"name": name} for name in ("red", "green", "blue")]
SMALL = {"embed_dim": 96, "depth": 2, "num_heads": 3}
DECODER = {"decoder_width": 64, "decoder_depth": 2, "decoder_heads": 4}
HEAD = {"output_width": 512, "hidden_width": 128, "bottleneck_width": 64}
N_GROUPS, IMAGES = 5, 2


def card(architecture, objective, arguments=None, **changes):
    value = {
        "source": "train",
        "name": "own",
        "architecture": architecture,
        "arguments": arguments or {},
        "slots": SLOTS,
        "input_size": 64,
        "objective": objective,
        "datasets": ["cells"],
        "outputs": [{"pooling": "pool" if "resnet" in architecture else "cls"}],
    }
    return validate({**value, **changes}, BackboneCard, "own.yaml")


def counted(own):
    """Return the operations of a step per image, forward and backward, by torch's counter."""
    method = build_method(own, own.objective, own.augmentation, 0, n_groups=N_GROUPS)
    names = tuple(slot.name for slot in own.slots)
    groups = torch.arange(IMAGES) % N_GROUPS
    batch = Batch(torch.rand(IMAGES, len(names), 64, 64), names, groups)
    generator = torch.Generator().manual_seed(0)
    views = method.views(batch, generator)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        loss, _ = method.loss(views, 0.5, generator)
        loss.backward()
    return counter.get_total_flops() / IMAGES


@pytest.mark.parametrize(
    "own",
    [
        card("vit_tiny_patch16_224", {"method": "weak"}, SMALL),
        card("vit_tiny_patch16_224", {"method": "weak"}, {**SMALL, "patch_size": 8}),
        card("vit_tiny_patch16_224", {"method": "mae", **DECODER}, {**SMALL, "patch_size": 8}),
        card("vit_tiny_patch16_224", {"method": "mae", "mask_ratio": 0.4, **DECODER}, SMALL),
        card("vit_tiny_patch16_224", {"method": "mae", "crop_size": 32, **DECODER}, SMALL),
        card("channel_agnostic_vit", {"method": "ca-mae", **DECODER}, {**SMALL, "patch_size": 8}),
        card("vit_tiny_patch16_224", {"method": "dino", "local_crops": 3, **HEAD}, SMALL),
        card(
            "vit_tiny_patch16_224",
            {"method": "dino", "crop_size": 32, "local_crops": 0, **HEAD},
            {**SMALL, "patch_size": 8},
        ),
        card("resnet18", {"method": "weak"}),
        card("resnet18", {"method": "dino", "local_crops": 2, "local_size": 32, **HEAD}),
        card("resnet18", {"method": "mae-unet"}),
    ],
    ids=lambda own: f"{own.objective.method}-{own.architecture}-{own.arguments.get('patch_size')}",
)
def test_the_formula_is_torchs_count_to_one_per_cent(own):
    assert operations_per_image(own, N_GROUPS) == pytest.approx(counted(own), rel=0.01)


@pytest.mark.parametrize(("patch", "published"), [(16, 9.20e9), (8, 44.7e9)])
def test_a_whole_vit_small_takes_what_its_size_tells(patch, published):
    own = card(f"vit_small_patch{patch}_224", {"method": "weak"}, input_size=224)
    forward, first = forward_operations(network_without_values(own), 224, 3)
    tokens, width = (224 // patch) ** 2 + 1, 384
    assert first == 2 * (tokens - 1) * 3 * patch**2 * width
    assert forward == first + 12 * (24 * tokens * width**2 + 4 * tokens**2 * width)
    assert forward == pytest.approx(published, rel=0.01)
