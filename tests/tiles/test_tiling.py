"""Tiles cover what they should, lie where they say, and keep the field's values and type."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from transferscope.cards import DatasetCard
from transferscope.tiles.tiling import padded, plan_tiles, resample, resampled_shape, visible_part


def card(raw_pixel_size_um: float | None = None, **tiles: object) -> DatasetCard:
    return DatasetCard.model_validate(
        {
            "name": "demo",
            "sheet": "s.tsv",
            "channels": ["nucleus"],
            "labels": ["a", "b"],
            "pixel_size_um": raw_pixel_size_um,
            "tiles": tiles,
        }
    )


sides = st.integers(1, 70)
sizes = st.integers(8, 40)


@given(sides, sides, sizes)
def test_cut_tiles_are_whole_disjoint_and_as_many_as_fit(
    height: int, width: int, size: int
) -> None:
    field = np.arange(1, height * width + 1, dtype=np.uint16).reshape(1, height, width)
    places = plan_tiles((height, width), card(size=size))
    assert len(places) == max(1, height // size) * max(1, width // size)
    tiles = [padded(visible_part(field, place), place) for place in places]
    assert all(tile.shape == (1, size, size) and tile.dtype == field.dtype for tile in tiles)
    shown = np.concatenate([tile.ravel() for tile in tiles])
    shown = shown[shown > 0]
    assert len(shown) == len(np.unique(shown))
    rows = height if height < size else height // size * size
    columns = width if width < size else width // size * size
    assert len(shown) == rows * columns


@given(sides, sides, sizes, st.sampled_from(["cut", "pad"]))
def test_a_tile_shows_the_field_at_its_offset(h: int, w: int, size: int, mode: str) -> None:
    field = np.arange(1, h * w + 1, dtype=np.uint16).reshape(1, h, w)
    for place in plan_tiles((h, w), card(size=size, mode=mode)):
        tile = padded(visible_part(field, place), place)
        for y in range(size):
            for x in range(size):
                inside = 0 <= place.y + y < h and 0 <= place.x + x < w
                assert tile[0, y, x] == (field[0, place.y + y, place.x + x] if inside else 0)


@given(sides, sides, sizes)
def test_pad_gives_one_centred_tile(height: int, width: int, size: int) -> None:
    (place,) = plan_tiles((height, width), card(size=size, mode="pad"))
    assert (place.height, place.width) == (size, size)
    for offset, length in ((place.y, height), (place.x, width)):
        before, after = offset, length - size - offset
        assert after - before in (0, 1)


def test_without_a_size_the_field_is_the_tile() -> None:
    (place,) = plan_tiles((30, 40), card())
    assert (place.y, place.x, place.height, place.width) == (0, 0, 30, 40)


def test_resize_and_pixel_size_set_the_shape() -> None:
    assert resampled_shape((600, 600), card(size=224, mode="resize")) == (224, 224)
    assert resampled_shape((600, 300), card(0.2, pixel_size_um=0.4)) == (300, 150)
    assert resampled_shape((600, 300), card(0.2)) == (600, 300)
    assert resampled_shape((1, 1), card(0.2, pixel_size_um=9.0)) == (1, 1)
    assert len(plan_tiles((600, 600), card(0.2, pixel_size_um=0.3125, size=96))) == 16


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_resample_keeps_type_constants_and_extremes(dtype: type) -> None:
    top = np.iinfo(dtype).max
    field = np.full((2, 50, 41), top, dtype)
    assert (resample(field, (17, 90)) == top).all()
    assert resample(field, (17, 90)).dtype == dtype
    assert resample(field, (50, 41)) is field


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_resample_stays_within_the_values(h: int, w: int, to_h: int, to_w: int) -> None:
    field = np.random.default_rng(h * 41 + w).integers(100, 60000, (2, h, w)).astype(np.uint16)
    result = resample(field, (to_h, to_w))
    assert result.shape == (2, to_h, to_w)
    assert result.min() >= field.min()
    assert result.max() <= field.max()


def test_resample_is_antialiased() -> None:
    """A pattern finer than the new pixels becomes its mean, up to the rim."""
    stripes = np.zeros((1, 128, 128), np.uint8)
    stripes[:, :, ::2] = 200
    shrunk = resample(stripes, (32, 32)).astype(float)
    assert np.abs(shrunk[0, :, 1:-1] - 100).max() <= 1


def test_resample_is_close_to_the_area_average_of_a_smooth_field() -> None:
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.normal(size=(256, 256)), 6)
    field = np.interp(smooth, (smooth.min(), smooth.max()), (1000, 60000)).astype(np.uint16)[None]
    area = field[0].reshape(64, 4, 64, 4).mean(axis=(1, 3))
    error = resample(field, (64, 64))[0] - area
    assert np.sqrt((error[2:-2, 2:-2] ** 2).mean()) < 0.01 * area.std() * 4
    assert abs(error.mean()) < 1e-3 * area.mean()


def test_centre_of_mass_does_not_shift() -> None:
    field = np.zeros((1, 90, 90), np.uint16)
    field[0, 30:36, 60:66] = 60000
    shrunk = resample(field, (30, 30))[0]
    y, x = ndimage.center_of_mass(shrunk)
    assert (y + 0.5) * 3 == pytest.approx(33, abs=0.01)
    assert (x + 0.5) * 3 == pytest.approx(63, abs=0.01)
