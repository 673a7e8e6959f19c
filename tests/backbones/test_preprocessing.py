from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from transferscope.backbones.preprocessing import Preprocessor, normalization_for, percentiles
from transferscope.cards import Normalization, Slot
from transferscope.channels.assignment import Pass, assign

RANGE = np.array([[100, 3100], [0, 65535]], dtype=np.float32)
CHANNELS = ["nucleus", "protein"]


def raw_tiles(dtype: type = np.uint16, size: int = 40) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, np.iinfo(dtype).max, (3, 2, size, size), endpoint=True).astype(dtype)


def preprocessor(size: int = 16, **normalization: object) -> Preprocessor:
    return Preprocessor(CHANNELS, RANGE, size, Normalization(**normalization), 3)


def scaled(raw: np.ndarray) -> np.ndarray:
    low, high = RANGE[None, :, 0, None, None], RANGE[None, :, 1, None, None]
    return np.clip((raw.astype(np.float64) - low) / (high - low), 0, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_resize_equals_torch_s_on_scaled_and_clipped_pixels(dtype: type) -> None:
    raw = raw_tiles(dtype)
    expected = functional.interpolate(
        torch.from_numpy(scaled(raw)), (16, 16), mode="bicubic", antialias=True
    )
    found = preprocessor().resize(torch.from_numpy(raw))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)


def test_tiles_of_the_right_size_are_only_scaled() -> None:
    raw = raw_tiles(size=16)
    found = preprocessor().resize(torch.from_numpy(raw)).numpy()
    np.testing.assert_allclose(found, scaled(raw), atol=1e-6)


def test_resize_does_not_alias() -> None:
    """A pattern finer than the new pixels averages out, in place of making a moire."""
    stripes = np.zeros((1, 2, 64, 64), dtype=np.uint16)
    stripes[..., ::2] = 3100
    found = preprocessor(size=16).resize(torch.from_numpy(stripes))[0, 0, 4:-4, 4:-4]
    assert float(found.std()) < 0.02


def test_percentiles_equal_numpy_s() -> None:
    pixels = raw_tiles().astype(np.float32)
    percents = (0.1, 37.3, 100)
    found = percentiles(torch.from_numpy(pixels), percents)
    for percent, values in zip(percents, found, strict=True):
        expected = np.percentile(pixels, percent, axis=(2, 3), keepdims=True)
        np.testing.assert_allclose(values.numpy(), expected, rtol=1e-6)


def test_tile_intensity_stretches_each_channel_between_its_percentiles() -> None:
    raw = raw_tiles(size=16)
    found = preprocessor(intensity="tile", percentiles=(1, 99)).resize(torch.from_numpy(raw))
    low, high = np.percentile(raw, (1, 99), axis=(2, 3), keepdims=True)
    np.testing.assert_allclose(found.numpy(), np.clip((raw - low) / (high - low), 0, 1), atol=1e-5)


def test_a_flat_tile_has_no_contrast_to_stretch() -> None:
    flat = torch.full((1, 2, 16, 16), 7, dtype=torch.uint16)
    assert torch.equal(preprocessor(intensity="tile").resize(flat), torch.zeros(1, 2, 16, 16))


def test_slots_are_normalised_each_by_its_own_values_and_empty_ones_are_exactly_zero() -> None:
    pre = preprocessor(mean=[0.1, 0.2, 0.3], std=[1.0, 2.0, 4.0])
    resized = pre.resize(torch.from_numpy(raw_tiles()))
    filled = pre.fill(resized, Pass({"red": "protein", "green": None, "blue": "nucleus"}))
    torch.testing.assert_close(filled[:, 0], (resized[:, 1] - 0.1) / 1.0)
    torch.testing.assert_close(filled[:, 2], (resized[:, 0] - 0.3) / 4.0)
    assert torch.equal(filled[:, 1], torch.zeros_like(filled[:, 1]))


def test_self_normalisation_gives_each_channel_mean_0_and_deviation_1() -> None:
    pre = preprocessor(kind="self")
    resized = pre.resize(torch.from_numpy(raw_tiles()))
    filled = pre.fill(resized, Pass({"a": "nucleus", "b": None, "c": "nucleus"}))
    np.testing.assert_allclose(filled[:, 0].mean(dim=(1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(filled[:, 0].std(dim=(1, 2)), 1, atol=1e-4)
    assert torch.equal(filled[:, 0], filled[:, 2])
    assert not filled[:, 1].any()


def test_self_normalisation_of_a_constant_channel_is_zero_and_not_amplified_rounding() -> None:
    flat = torch.full((1, 2, 40, 40), 1234, dtype=torch.uint16)
    assert not preprocessor(kind="self").resize(flat).any()


def test_no_normalisation_hands_intensities_on() -> None:
    pre = preprocessor(kind="none")
    resized = pre.resize(torch.from_numpy(raw_tiles()))
    assert torch.equal(pre.fill(resized, Pass({"a": "nucleus"}))[:, 0], resized[:, 0])


def test_fixed_numbers_equal_a_plain_transcription() -> None:
    raw = raw_tiles(size=16)
    pre = preprocessor(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
    one = Pass({"red": "nucleus", "green": "nucleus", "blue": "protein"})
    filled = pre.fill(pre.resize(torch.from_numpy(raw)), one).numpy()
    x = scaled(raw)[:, [0, 0, 1]]
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = (x - mean[:, None, None]) / std[:, None, None]
    np.testing.assert_allclose(filled, expected, atol=1e-5)


def test_joint_min_max_equals_a_plain_transcription_over_the_channels_fed() -> None:
    raw = raw_tiles(size=16)
    raw[:, 1] //= 7
    pre = preprocessor(intensity="joint", kind="none")
    resized = pre.resize(torch.from_numpy(raw))
    both = pre.fill(resized, Pass({"a": "nucleus", "b": None, "c": "protein"})).numpy()
    x = raw.astype(np.float64)
    low, high = x.min(axis=(1, 2, 3), keepdims=True), x.max(axis=(1, 2, 3), keepdims=True)
    np.testing.assert_allclose(both[:, [0, 2]], (x - low) / (high - low), atol=1e-6)
    assert not both[:, 1].any()
    alone = pre.fill(resized, Pass({"a": "protein", "b": "protein", "c": None})).numpy()
    x = x[:, 1]
    low, high = x.min(axis=(1, 2), keepdims=True), x.max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(alone[:, 1], (x - low) / (high - low), atol=1e-6)


def test_a_flat_tile_has_no_joint_range() -> None:
    pre = preprocessor(intensity="joint", kind="none")
    flat = pre.resize(torch.full((1, 2, 16, 16), 7, dtype=torch.uint16))
    assert not pre.fill(flat, Pass({"a": "nucleus", "b": "protein", "c": None})).any()


@pytest.mark.parametrize("size", [16, 40])
def test_self_normalised_8_bit_input_equals_that_of_the_human_protein_atlas_models(
    size: int,
) -> None:
    """An 8-bit image, resized as one, over 255; an image and channel: (x - mean) / (std + 1e-7)."""
    raw = raw_tiles()
    raw[0, 1] = 0
    found = preprocessor(size, kind="self", bits=8).resize(torch.from_numpy(raw)).numpy()
    image = np.round(255 * scaled(raw)).astype(np.uint8)
    if size != image.shape[-1]:
        levels = functional.interpolate(
            torch.from_numpy(image).float(), (size, size), mode="bicubic", antialias=True
        )
        image = levels.round().clamp(0, 255).numpy().astype(np.uint8)
    x = image.astype(np.float64) / 255
    mean, std = x.mean(axis=(2, 3), keepdims=True), x.std(axis=(2, 3), keepdims=True, ddof=1)
    np.testing.assert_allclose(found, (x - mean) / (std + 1e-7), atol=2e-3 if size == 16 else 1e-4)
    assert not found[0, 1].any()


def test_8_bit_input_has_256_levels() -> None:
    found = preprocessor(size=40, bits=8, kind="none").resize(torch.from_numpy(raw_tiles()))
    levels = found.double() * 255
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-4)
    assert len(levels.round().unique()) > 200


@pytest.mark.parametrize("changes", [{"kind": "self"}, {"bits": 8}])
def test_joint_goes_with_nothing_that_undoes_it(changes: dict) -> None:
    with pytest.raises(ValueError, match="joint cannot be combined with kind self or bits"):
        Normalization(intensity="joint", **changes)


def test_fixed_numbers_follow_the_weights_to_adapted_inputs() -> None:
    slots = [Slot(name=name) for name in ("red", "green")]
    fixed = Normalization(mean=[0.1, 0.3], std=[1.0, 3.0])
    three = normalization_for(assign("adapt", ["a", "b", "c"], slots), fixed)
    assert (three.mean, three.std) == ([0.1, 0.3, 0.1], [1.0, 3.0, 1.0])
    one = normalization_for(assign("adapt", ["a"], slots), fixed)
    assert (one.mean, one.std) == ([0.2], [2.0])
    anything = normalization_for(assign("agnostic", ["a", "b", "c"], []), fixed)
    assert (anything.mean, anything.std) == ([0.2], [2.0])
    assert normalization_for(assign("replicate", ["a"], slots), fixed) == fixed
