"""Fields with exchanged channels are found where the channels look different, and only there."""

import logging

import numpy as np
import pandas as pd
import pytest
import tifffile
from scipy import ndimage

from transferscope.cards import DatasetCard
from transferscope.errors import UserError
from transferscope.tiles.build import make_tiles
from transferscope.tiles.finishing import doubts_of_store
from transferscope.tiles.swaps import FEWEST_GROUPS, describe_planes, swapped_fields

GROUPS, FIELDS, SIZE = 30, 2, 48
CHANNELS = ["blobs", "dots", "haze"]


def field(rng, alike=False):
    """Return large blobs, many dots, and haze between them [3, 48, 48]; alike: the blobs thrice."""
    gain = rng.lognormal(0, 0.3)
    widths, counts, lights = (4, 1, 9), (8, 60, 5), (900, 500, 400)
    planes = []
    for width, count, light in zip(widths, counts, lights, strict=True):
        if alike:
            width, count, light = 4, 8, 900
        seeds = np.zeros((SIZE, SIZE))
        seeds[tuple(rng.integers(0, SIZE, (2, count)))] = rng.lognormal(0, 0.4, count)
        blurred = ndimage.gaussian_filter(seeds, width, mode="wrap")
        planes.append(rng.poisson(gain * (100 + light * blurred / blurred.max())))
    return np.array(planes).astype(np.uint16)


def fields(seed=0, n_groups=GROUPS, **look):
    rng = np.random.default_rng(seed)
    images = [field(rng, **look) for _ in range(n_groups * FIELDS)]
    groups = np.repeat([f"g{n:02}" for n in range(n_groups)], FIELDS).astype(object)
    return images, groups


def found(images, groups):
    return swapped_fields(np.stack([describe_planes([image]) for image in images]), groups)


@pytest.mark.parametrize("order", [(1, 0, 2), (0, 2, 1), (2, 1, 0), (1, 2, 0)])
def test_a_description_follows_the_plane_and_not_its_place(order):
    image = field(np.random.default_rng(3))
    whole = describe_planes([image])
    np.testing.assert_allclose(describe_planes([image[list(order)]]), whole[list(order)])


@pytest.mark.parametrize("seed", range(3))
def test_exchanged_channels_are_found_and_no_other_field(seed):
    images, groups = fields(seed)
    assert not found(images, groups)
    planted = {5: (1, 0, 2), 40: (0, 2, 1), 41: (1, 2, 0)}
    for row, order in planted.items():
        images[row] = images[row][list(order)]
    assert {one.field: one.order for one in found(images, groups)} == planted


@pytest.mark.parametrize("seed", range(3))
def test_channels_that_look_alike_raise_no_alarm(seed):
    images, groups = fields(seed, alike=True)
    images[4] = images[4][[1, 0, 2]]
    assert not found(images, groups)


def test_what_is_exchanged_everywhere_is_not_seen():
    images, groups = fields()
    assert not found([image[[1, 0, 2]] for image in images], groups)


def test_many_fields_in_another_order_are_no_single_fields():
    images, groups = fields()
    for row in range(0, len(images), 3):
        images[row] = images[row][[1, 0, 2]]
    assert not found(images, groups)


def test_few_groups_are_not_judged():
    images, groups = fields(n_groups=FEWEST_GROUPS - 1)
    images[4] = images[4][[1, 0, 2]]
    assert not found(images, groups)


def test_dark_and_constant_planes_are_described():
    image = field(np.random.default_rng(0))
    image[1] = 0
    image[2] = 7
    assert np.isfinite(describe_planes([image])).all()
    assert np.isfinite(describe_planes([image[:, :3, :2]])).all()


def test_tiles_say_which_fields_are_exchanged(tmp_path, caplog):
    images, groups = fields()
    images[7] = images[7][[0, 2, 1]]
    rows = []
    for number, (image, group) in enumerate(zip(images, groups, strict=True)):
        tifffile.imwrite(tmp_path / f"{number}.tif", image, photometric="minisblack")
        rows.append({"tile_id": f"t{number}", "path": f"{number}.tif", "group": group})
    sheet = tmp_path / "samples.csv"
    pd.DataFrame(rows).assign(labels="a", fov=[r["tile_id"] for r in rows]).to_csv(
        sheet, index=False
    )
    card = DatasetCard(
        name="cells",
        sheet="samples.csv",
        channels=CHANNELS,
        labels=["a"],
        intensity_range={name: [0, 4000] for name in CHANNELS},
    )
    names = ("cells.json", "cells.parquet", "quality.csv", "skipped.tsv")
    manifest, table, quality, skipped = (tmp_path / name for name in names)
    made = {"manifest": manifest, "tile_table": table, "quality": quality, "skipped": skipped}
    text = "1 of 60 fields looks like the others with channels in another order: "
    text += "t7 (dots is like haze, haze is like dots)"
    with caplog.at_level(logging.WARNING):
        make_tiles(sheet, card, **made)
    assert text in caplog.text
    assert any(text in doubt for doubt in doubts_of_store(manifest))
    with pytest.raises(UserError, match="channels in another order"):
        make_tiles(sheet, card, **made, look="stop")
