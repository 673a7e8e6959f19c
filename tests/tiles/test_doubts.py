"""Pixels that cannot show what they should are doubted, and others are not."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from transferscope.cards import DatasetCard
from transferscope.errors import UserError
from transferscope.raw.sheets import read_sheet
from transferscope.stores.tile_store import TileStore
from transferscope.tiles.build import make_tiles
from transferscope.tiles.doubts import Looked, doubts_about, some_pixels
from transferscope.tiles.finishing import doubts_of_store
from transferscope.tiles.looking import look_at_fields
from transferscope.tiles.quality import measure

seeds = st.integers(0, 10**6)
few = settings(max_examples=25, deadline=None)


def stains(seed: int, count: int = 3, white: float = 4000, images: int = 4) -> list[np.ndarray]:
    """Return images [C, 48, 48] of separate structures on a background, with shot noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:48, :48]
    found = []
    for _ in range(images):
        planes = []
        for _ in range(count):
            at, radius = rng.uniform(8, 40, (6, 2)), rng.uniform(2, 7)
            blobs = sum(np.exp(-((y - a) ** 2 + (x - b) ** 2) / 2 / radius**2) for a, b in at)
            planes.append(rng.poisson(white / 20 + blobs * rng.uniform(0.15, 0.3) * white))
        found.append(np.array(planes).clip(0, white - 1).astype(np.uint16))
    return found


def found(images: list[np.ndarray], ranges: list[list[float]], names: str = "abcd") -> list[str]:
    quality = [
        [measure(plane, white).values() for plane, (_, white) in zip(image, ranges, strict=True)]
        for image in images
    ]
    looked = Looked(np.array(quality), some_pixels(images), "tiles")
    doubts = doubts_about(looked, names[: len(ranges)], ranges, 65535.0)
    return [doubt.what for doubt in doubts]


@few
@given(seeds, st.integers(1, 4), st.sampled_from([255.0, 4000.0, 60000.0]))
def test_stains_in_their_range_are_not_doubted(seed: int, count: int, white: float) -> None:
    assert found(stains(seed, count, white), [[0.0, white]] * count) == []


@few
@given(seeds, st.floats(0.01, 0.05))
def test_range_that_ends_too_low_is_doubted(seed: int, share: float) -> None:
    texts = found(stains(seed), [[0.0, 4000.0], [0.0, 4000.0 * share], [0.0, 4000.0]])
    assert len(texts) == 1
    assert "range of b" in texts[0]
    assert "does not fit the images" in texts[0]


@few
@given(seeds, st.floats(25, 200), st.booleans())
def test_range_that_ends_too_high_is_doubted(seed: int, times: float, offset: bool) -> None:
    far = [4000.0, 4000.0 * times] if offset else [0.0, 4000.0 * times]
    texts = found(stains(seed), [far, [0.0, 4000.0], [0.0, 4000.0]])
    assert len(texts) == 1
    assert "channel a is nearly black" in texts[0]


@few
@given(seeds, st.integers(0, 65535))
def test_constant_channel_is_doubted(seed: int, value: int) -> None:
    images = stains(seed)
    for image in images:
        image[2] = value
    (text,) = found(images, [[0.0, 4000.0]] * 3)
    assert text == "channel c is constant in 4 of 4 tiles"


@few
@given(seeds)
def test_overexposed_images_are_doubted(seed: int) -> None:
    images = [
        np.minimum(image.astype(float) * 200, 65535).astype(np.uint16) for image in stains(seed)
    ]
    texts = found(images, [[0.0, 65535.0]] * 3)
    assert len([text for text in texts if "overexposed" in text]) == 3


@few
@given(seeds, st.sampled_from(["grey", "gamma", "merged"]))
def test_pictures_are_doubted(seed: int, kind: str) -> None:
    images = stains(seed, 2)
    rgb = []
    for one, other in images:
        share = one / 4000
        if kind == "grey":
            rgb.append(np.stack([one, one, one]))
        elif kind == "gamma":
            rgb.append(np.stack([one, share**0.5 * 4000, share**2 * 4000]).astype(np.uint16))
        else:  # magenta and green, and white where both are
            rgb.append(np.stack([one, other, 0.6 * one + 0.4 * other]).astype(np.uint16))
    (text,) = found(rgb, [[0.0, 4000.0]] * 3)
    assert "picture" in text


def test_natural_colours_are_not_doubted_if_they_are_called_so() -> None:
    one, other = stains(3, 2, images=1)[0].astype(float)
    noise = np.random.default_rng(0).normal(0, 20, (3, 48, 48))
    tissue = 4000 - np.stack([0.3 * one, 0.8 * one + 0.3 * other, 0.4 * one + 0.2 * other]) + noise
    images = [tissue.clip(0, 3999).astype(np.uint16)]
    quality = np.array([[measure(plane, 4000).values() for plane in image] for image in images])
    looked = Looked(quality, some_pixels(images), "tiles")
    assert doubts_about(looked, ["red", "green", "blue"], [[0, 4000]] * 3, 65535) == []


def dataset(folder: Path, intensity: object) -> tuple[Path, DatasetCard]:
    rows = ["tile_id\tpath\tgroup\tlabels"]
    for number, image in enumerate(stains(1, 2, images=6)):
        tifffile.imwrite(folder / f"{number}.tif", image, metadata={"axes": "CYX"})
        rows.append(f"t{number}\t{number}.tif\tg{number // 2}\ta")
    sheet = folder / "samples.tsv"
    sheet.write_text("\n".join(rows) + "\n")
    card = {
        "name": "demo",
        "sheet": sheet,
        "channels": ["nucleus", "protein"],
        "labels": ["a", "b"],
    }
    return sheet, DatasetCard(**card, intensity_range=intensity)  # type: ignore[arg-type]


def make(folder: Path, sheet: Path, card: DatasetCard, look: str = "warn") -> Path:
    out = folder / "out"
    names = {"tile_table": "t.parquet", "quality": "q.csv", "skipped": "s.tsv"}
    paths = {key: out / name for key, name in names.items()}
    make_tiles(sheet, card, manifest=out / "demo.json", look=look, workers=1, **paths)
    return out / "demo.json"


def test_doubts_are_in_the_store_and_stop_the_step(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sheet, card = dataset(tmp_path, {"protein": [0, 50], "nucleus": [0, 4000]})
    with pytest.raises(UserError, match="does not fit the images"):
        make(tmp_path, sheet, card, look="stop")
    assert not (tmp_path / "out" / "demo.json").exists()
    manifest = make(tmp_path, sheet, card)
    assert "range of protein, [0, 50], does not fit" in caplog.text
    (doubt,) = doubts_of_store(manifest)
    assert doubt.startswith("The intensity range of protein")
    assert len(TileStore(manifest).read(0, 6)) == 6
    assert [problem.what for problem in look_at_fields(read_sheet(sheet, card), card)] != []


def test_sound_tiles_say_nothing(tmp_path: Path) -> None:
    sheet, card = dataset(tmp_path, {"protein": [0, 4000], "nucleus": [0, 4000]})
    manifest = make(tmp_path, sheet, card, look="stop")
    assert doubts_of_store(manifest) == []
    attributes = json.loads((manifest.with_suffix(".zarr") / "zarr.json").read_text())["attributes"]
    assert "doubts" not in attributes
    assert look_at_fields(read_sheet(sheet, card), card) == []


def test_range_of_all_tiles_is_recorded_and_said(tmp_path: Path) -> None:
    sheet, card = dataset(tmp_path, "auto")
    manifest = make(tmp_path, sheet, card)
    pixels = np.stack(stains(1, 2, images=6)).swapaxes(0, 1).reshape(2, -1)
    expected = np.percentile(pixels, [0.1, 99.9], axis=1, method="inverted_cdf").T
    np.testing.assert_array_equal(TileStore(manifest).intensity_range, expected)
    (sentence,) = doubts_of_store(manifest)
    assert "pixels of test tiles were seen, but no label" in sentence
