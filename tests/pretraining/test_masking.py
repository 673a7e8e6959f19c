"""Masks and their losses against He et al., CVPR 2022, and Kraus et al., CVPR 2024."""

import cmath

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transferscope.pretraining.methods.masking import (
    fourier_loss,
    masked_losses,
    normalized_patches,
    pixel_loss,
    random_mask,
)

SIDE, CHANNELS = 3, 2
CPU = torch.device("cpu")


def drawn(seed, *shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def example():
    """Return predicted and target patches [2, 4, 18], and a mask."""
    values = SIDE * SIDE * CHANNELS
    hidden = torch.tensor([[True, False, True, True], [False, True, True, True]])
    return drawn(0, 2, 4, values), drawn(1, 2, 4, values), hidden


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 40), st.floats(0.01, 0.99), st.integers(0, 9))
def test_a_mask_hides_the_same_number_of_patches_of_each_image(batch, n_patches, ratio, seed):
    mask = random_mask(batch, n_patches, ratio, torch.Generator().manual_seed(seed), CPU)
    n_kept = max(1, int(n_patches * (1 - ratio)))
    assert mask.kept.shape == (batch, n_kept)
    assert mask.hidden.shape == (batch, n_patches)
    for kept, hidden in zip(mask.kept.tolist(), mask.hidden.tolist(), strict=True):
        assert sorted(kept) == [i for i in range(n_patches) if not hidden[i]]


def test_every_patch_is_hidden_equally_often_and_independently_of_other_images():
    mask = random_mask(4000, 8, 0.75, torch.Generator().manual_seed(0), CPU)
    assert mask.hidden.float().mean(dim=0).numpy() == pytest.approx(np.full(8, 0.75), abs=0.03)
    # Of the 28 pairs of patches that two of eight may be, each comes up.
    assert len({tuple(sorted(kept)) for kept in mask.kept.tolist()}) == 28


def test_the_same_generator_state_gives_the_same_mask():
    first, second, other = (
        random_mask(2, 30, 0.5, torch.Generator().manual_seed(seed), CPU).kept for seed in (0, 0, 1)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_targets_are_normalised_patch_by_patch():
    _, target, _ = example()
    found = normalized_patches(target)
    for image in range(2):
        for patch in range(4):
            values = target[image, patch].double().numpy()
            expected = (values - values.mean()) / np.sqrt(values.var(ddof=1) + 1e-6)
            np.testing.assert_allclose(found[image, patch].numpy(), expected, rtol=1e-4, atol=1e-6)


def published_pixel_loss(predicted, target, hidden):
    """Return the mean over hidden patches of the mean squared error of a patch."""
    errors = [
        np.mean((predicted[image, patch].numpy() - target[image, patch].numpy()) ** 2)
        for image, patch in hidden.nonzero().tolist()
    ]
    return np.mean(errors)


def discrete_fourier_transform(image):
    """Return the two-dimensional transform, term by term."""
    rows, columns = image.shape
    return np.array(
        [
            [
                sum(
                    image[y, x] * cmath.exp(-2j * cmath.pi * (u * y / rows + v * x / columns))
                    for y in range(rows)
                    for x in range(columns)
                )
                for v in range(columns)
            ]
            for u in range(rows)
        ]
    )


def published_fourier_loss(predicted, target, hidden):
    """Return the mean over hidden patches, channels and frequencies of | |F(x)| - |F(y)| |."""
    errors = []
    for image, patch in hidden.nonzero().tolist():
        first, second = (
            values[image, patch].numpy().reshape(SIDE, SIDE, CHANNELS)
            for values in (predicted, target)
        )
        for channel in range(CHANNELS):
            spectra = [abs(discrete_fourier_transform(v[..., channel])) for v in (first, second)]
            errors.append(np.abs(spectra[0] - spectra[1]).mean())
    return np.mean(errors)


def test_the_pixel_loss_counts_hidden_patches_alone():
    predicted, target, hidden = example()
    expected = published_pixel_loss(predicted, target, hidden)
    assert pixel_loss(predicted, target, hidden).item() == pytest.approx(expected, rel=1e-5)
    changed = predicted + 9.0 * (~hidden).unsqueeze(-1)
    assert pixel_loss(changed, target, hidden).item() == pytest.approx(expected, rel=1e-5)


def test_the_fourier_loss_compares_magnitudes_of_hidden_patches():
    predicted, target, hidden = example()
    expected = published_fourier_loss(predicted, target, hidden)
    found = fourier_loss(predicted, target, hidden, SIDE)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_the_fourier_loss_does_not_mind_a_shift():
    target = drawn(3, 1, 1, SIDE, SIDE, 1)
    shifted = target.roll(1, dims=2)
    hidden = torch.ones(1, 1, dtype=torch.bool)
    found = fourier_loss(shifted.flatten(2), target.flatten(2), hidden, SIDE)
    assert found.item() == pytest.approx(0, abs=1e-6)
    assert pixel_loss(shifted.flatten(2), target.flatten(2), hidden) > 0.01


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("weight", [0.0, 0.01])
def test_pixels_and_magnitudes_are_mixed(normalize, weight):
    predicted, target, hidden = example()
    loss, parts = masked_losses(
        predicted, target, hidden, SIDE, normalize_targets=normalize, fourier_weight=weight
    )
    wanted = normalized_patches(target) if normalize else target
    pixels = published_pixel_loss(predicted, wanted, hidden)
    spectra = published_fourier_loss(predicted, wanted, hidden)
    assert loss.item() == pytest.approx((1 - weight) * pixels + weight * spectra, rel=1e-5)
    assert parts["pixels"].item() == pytest.approx(pixels, rel=1e-5)
    assert ("fourier" in parts) == bool(weight)
