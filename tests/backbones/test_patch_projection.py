from __future__ import annotations

import pytest
import torch
from torch import nn

from transferscope.backbones.patch_projection import (
    PatchProjection,
    replace_patch_convolutions,
)


@pytest.mark.parametrize("patch", [2, 8, 14, 16, 32])
@pytest.mark.parametrize("channels", [1, 3, 4, 8])
def test_equals_the_convolution_in_fp32(patch: int, channels: int) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(channels, 24, patch, patch)
    images = torch.randn(2, channels, 3 * patch, 2 * patch + 1)
    found = PatchProjection(convolution)(images)
    torch.testing.assert_close(found, convolution(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("patch", [8, 14, 16, 32])
@pytest.mark.parametrize("channels", range(1, 9))
def test_is_right_in_bf16_for_every_shape(patch: int, channels: int) -> None:
    """Some of these shapes come out wrong from the convolution on some processors."""
    torch.manual_seed(0)
    convolution = nn.Conv2d(channels, 96, patch, patch).requires_grad_(False)
    images = torch.randn(4, channels, 4 * patch, 4 * patch)
    expected = convolution(images).flatten()
    found = PatchProjection(convolution).bfloat16()(images).float().flatten()
    assert float(torch.cosine_similarity(found, expected, dim=0)) > 0.9999


def test_replaces_what_cuts_into_patches_and_leaves_the_rest() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 4, 4), nn.Sequential(nn.Conv2d(8, 8, 2, 2), nn.Conv2d(8, 8, 3, 1)),
        nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 2, 2, groups=2), nn.Conv2d(8, 8, 2, 2, padding=1),
    )  # fmt: skip
    names = list(model.state_dict())
    assert replace_patch_convolutions(model) == 2
    assert replace_patch_convolutions(model) == 0
    assert list(model.state_dict()) == names
    assert sum(isinstance(m, nn.Conv2d) for m in model.modules()) == 4
