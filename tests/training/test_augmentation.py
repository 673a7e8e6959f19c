"""Augmentation changes what it says, and the generator's state determines how."""

import pytest
import torch

from transferscope.config.training import AugmentationSettings
from transferscope.training.augmentation import Augmentation

OFF = {
    "crop_scale": (1.0, 1.0),
    "flips": False,
    "rotations": False,
    "brightness": 0.0,
    "contrast": 0.0,
    "channel_dropout": 0.0,
    "protein_rescale": 0.0,
    "warp": 0.0,
}
CHANNELS = ["nucleus", "protein", "er"]


def augmented(images, size=32, seed=0, channels=CHANNELS, **changes):
    settings = AugmentationSettings(**{**OFF, **changes})
    generator = torch.Generator().manual_seed(seed)
    return Augmentation(settings, size, channels)(images, generator)


@pytest.fixture
def images():
    return torch.rand(64, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 0.4 + 0.2


def test_with_everything_off_images_are_as_they_were(images):
    torch.testing.assert_close(augmented(images), images)


def test_the_same_state_gives_the_same_images(images):
    everything = AugmentationSettings().model_dump()
    one, same, other = (augmented(images, 24, seed, **everything) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.shape == (64, 3, 24, 24)
    assert one.min() >= 0
    assert one.max() <= 1


def test_flips_and_turns_are_the_eight_symmetries_of_the_square(images):
    found = augmented(images, flips=True, rotations=True)
    seen = set()
    for before, after in zip(images, found, strict=True):
        symmetries = [
            torch.rot90(mirrored, k, (1, 2))
            for mirrored in (before, before.flip(2))
            for k in range(4)
        ]
        fits = [i for i, s in enumerate(symmetries) if torch.allclose(s, after, atol=1e-4)]
        assert len(fits) == 1
        seen.update(fits)
    assert seen == set(range(8))


def test_crops_show_the_share_that_is_asked_for():
    ramp = torch.linspace(0, 1, 64).expand(200, 1, 64, 64)
    found = augmented(ramp, 16, channels=["protein"], crop_scale=(0.25, 0.49))
    # A crop shows s of the side, its first and last pixel centre 15/16 of that apart.
    side = (found[:, 0, 0, -1] - found[:, 0, 0, 0]) * 16 / 15 * 63 / 64
    assert side.min() == pytest.approx(0.5, abs=0.03)
    assert side.max() == pytest.approx(0.7, abs=0.03)
    assert found.min() < 0.05
    assert found.max() > 0.95


def test_the_protein_is_never_dropped_and_one_other_channel_is_at_most(images):
    blank = augmented(images, channel_dropout=0.5).amax(dim=(2, 3)) == 0
    assert not blank[:, 1].any()
    assert blank.sum(dim=1).max() == 1
    assert 0.3 < blank.any(dim=1).float().mean() < 0.7
    assert blank[:, 0].any()
    assert blank[:, 2].any()


def test_several_channels_are_dropped_where_that_is_asked_for(images):
    four = torch.cat([images, images[:, :1]], dim=1)
    changes = {"channels": [*CHANNELS, "microtubules"], "channel_dropout": 0.8}
    blank = augmented(four, dropped_channels=3, **changes).amax(dim=(2, 3)) == 0
    assert not blank[:, 1].any()
    assert set(blank.sum(dim=1).tolist()) == {0, 1, 2, 3}
    # A channel stays where none of three draws, each of one of three channels, is it.
    expected = (1 - 0.8 / 3) ** 3
    assert (~blank[:, [0, 2, 3]]).float().mean().item() == pytest.approx(expected, abs=0.08)


def test_a_single_channel_is_never_dropped(images):
    found = augmented(images[:, :1], channels=["nucleus"], channel_dropout=1.0)
    torch.testing.assert_close(found, images[:, :1])


def test_only_the_protein_is_rescaled(images):
    found = augmented(images * 0.5, protein_rescale=0.5)
    factors = (found / (images * 0.5)).amax(dim=(2, 3))
    torch.testing.assert_close(factors[:, [0, 2]], torch.ones(64, 2))
    changed = (factors[:, 1] - 1).abs() > 1e-3
    assert 0.3 < changed.float().mean() < 0.7
    assert factors.min() > 0.49
    assert factors.max() < 2.01


def test_brightness_and_contrast_are_a_channels_own(images):
    bright = augmented(images, brightness=0.3) / images
    assert bright.std(dim=(2, 3)).max() < 1e-3
    assert bright.mean(dim=(2, 3)).std(dim=1).min() > 0
    assert 0.69 < bright.min() < 0.75
    mean = images.mean(dim=(2, 3), keepdim=True)
    contrast = (augmented(images, contrast=0.3) - mean) / (images - mean)
    assert contrast.flatten(2).quantile(0.1, dim=2).min() > 0.69
    torch.testing.assert_close(
        augmented(images, contrast=0.3).mean(dim=(2, 3))[..., None, None], mean
    )


def test_a_warp_moves_pixels_by_no_more_than_it_says():
    ramp = torch.linspace(0, 1, 64).expand(50, 1, 64, 64)
    moved = augmented(ramp, 64, channels=["protein"], warp=0.05) - ramp
    inner = moved[..., 8:-8].abs()
    # The ramp rises by one over 63 of the 64 px.
    assert 0.02 < inner.max() <= 0.05 * 64 / 63 + 1e-6


def test_large_tiles_are_averaged_before_they_are_sampled():
    checks = (torch.arange(64)[:, None] + torch.arange(64)) % 2.0
    found = augmented(checks.expand(2, 1, 64, 64), 16, channels=["protein"])
    # Single pixels would be black or white.
    torch.testing.assert_close(found, torch.full_like(found, 0.5))
