"""Tiles and masks as OME-Zarr, as plain Zarr and the reader of raw images see them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import transferscope
from command_tree import run
from factories import CLASSES, DATASET_CARD, write_study, write_yaml
from target_stores import write_targets
from tile_stores import CHANNELS, copy_tiles
from transferscope.errors import UserError
from transferscope.raw.image_formats import read_header
from transferscope.stores.parquet import write_parquet
from transferscope.stores.target_store import IGNORE
from transferscope.study.opened import OpenedStudy
from transferscope.upkeep.ome_zarr import write_ome_zarr


def made(
    folder: Path, tiles: np.ndarray, masks: np.ndarray | None = None, **about: Any
) -> OpenedStudy:
    """Write a study whose tiles [N, C, H, W], and masks [N, H, W], are made; open it."""
    more = {} if masks is None else {"segmentation": {}, "backbones": ["cards/backbones/tiny.yaml"]}
    write_study(folder, **more)
    channels = CHANNELS[: tiles.shape[1]]
    card = {
        **DATASET_CARD,
        "sheet": "../../raw/samples.tsv",
        "channels": channels,
        "intensity_range": {name: [10 * i, 100 + i] for i, name in enumerate(channels)},
    }
    kind = about.get("kind", "instances")
    if masks is not None:
        card["masks"] = {"kind": kind}
        if kind == "classes":
            card["masks"]["classes"] = dict(enumerate(about["classes"], 1))
    write_yaml(folder / "cards/datasets/cells.yaml", card)
    place = folder / "results/tiny/tiles"
    place.mkdir(parents=True)
    copy_tiles(tiles, place, pixel_size_um=about.get("pixel_size_um"))
    ids = [f"tile{i}" for i in range(len(tiles))]
    table = pd.DataFrame({"tile_id": ids, "group": ids, "labels": CLASSES[0]})
    write_parquet(table, place / "cells.tiles.parquet", {})
    if masks is not None:
        target = folder / "results/tiny/targets/cells.json"
        target.parent.mkdir(parents=True)
        write_targets(target, masks, kind, about.get("classes", ("object",)), ids=ids)
    return transferscope.open_study("study.yaml", folder)


@settings(max_examples=8, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 3), st.integers(3, 9), st.integers(3, 9)),
    pixel_size_um=st.none() | st.floats(0.01, 10),
    masked=st.booleans(),
)
def test_every_pixel_and_what_the_card_knows_are_there(
    tmp_path_factory: pytest.TempPathFactory,
    shape: tuple[int, ...],
    pixel_size_um: float | None,
    masked: bool,
) -> None:
    folder, rng = tmp_path_factory.mktemp("ome"), np.random.default_rng(0)
    tiles = rng.integers(0, 2**16, shape).astype(np.uint16)
    masks = None
    if masked:
        masks = rng.integers(0, 5, (shape[0], *shape[2:])).astype(np.uint32)
        masks[0] = IGNORE
    dataset = made(folder, tiles, masks, pixel_size_um=pixel_size_um).dataset()
    write_ome_zarr(dataset, folder / "cells.zarr")

    root = zarr.open_group(folder / "cells.zarr", mode="r")
    assert np.array_equal(root["0"][:], tiles)
    assert root["0"].metadata.dimension_names == ("t", "c", "y", "x")
    channels = root.attrs["ome"]["omero"]["channels"]
    found = [(c["label"], c["window"]["start"], c["window"]["end"]) for c in channels]
    assert found == [(n, 10 * i, 100 + i) for i, n in enumerate(CHANNELS[: shape[1]])]
    assert len({c["color"] for c in channels}) == len(channels)
    assert root.attrs["transferscope"]["tile_id"] == dataset.tiles.tile_ids
    assert ("labels" in root) == masked
    images = [root, root["labels/masks"]] if masked else [root]
    for image in images:
        (scales,) = image.attrs["ome"]["multiscales"]
        axes = "".join(axis["name"] for axis in scales["axes"])
        assert tuple(axes) == image["0"].metadata.dimension_names
        units = {axis.get("unit") for axis in scales["axes"][-2:]}
        assert units == {None if pixel_size_um is None else "micrometer"}
        (step,) = scales["datasets"][0]["coordinateTransformations"]
        assert step["scale"] == [1] * (len(axes) - 2) + [pixel_size_um or 1] * 2
    if masks is not None:
        assert root["labels"].attrs["ome"]["labels"] == ["masks"]
        assert np.array_equal(root["labels/masks/0"][:], masks)


def test_the_reader_of_raw_images_knows_channels_and_pixels(tmp_path: Path) -> None:
    tiles = np.arange(2 * 8 * 8, dtype=np.uint16).reshape(1, 2, 8, 8)
    write_ome_zarr(made(tmp_path, tiles, pixel_size_um=0.25).dataset(), tmp_path / "out.zarr")
    header = read_header(tmp_path / "out.zarr")
    assert list(header.metadata.channel_names) == CHANNELS[:2]
    assert header.metadata.pixel_size_um == (0.25, 0.25)
    assert (header.axes, header.shape) == ("TCYX", tiles.shape)


def test_classes_of_masks_have_names(tmp_path: Path) -> None:
    masks = np.zeros((2, 8, 8), np.uint32)
    tiles = np.zeros((2, 1, 8, 8), np.uint16)
    study = made(tmp_path, tiles, masks, kind="classes", classes=("gland", "vessel"))
    write_ome_zarr(study.dataset(), tmp_path / "out.zarr")
    about = zarr.open_group(tmp_path / "out.zarr/labels/masks", mode="r").attrs["ome"]
    named = {one["label-value"]: one["class"] for one in about["image-label"]["properties"]}
    assert named == {1: "gland", 2: "vessel", int(IGNORE): "unknown"}
    coloured = {one["label-value"]: one["rgba"] for one in about["image-label"]["colors"]}
    assert set(coloured) == set(named)
    assert coloured[int(IGNORE)] == [0, 0, 0, 0]
    assert coloured[1] != coloured[2]
    assert about["image-label"]["source"] == {"image": "../../"}


def test_the_command_says_what_it_wrote_and_overwrites_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = made(tmp_path, np.zeros((3, 2, 8, 8), np.uint16))
    monkeypatch.chdir(tmp_path)
    ended = run(["export", "study.yaml", "--ome-zarr", "cells.zarr"])
    assert ended.code == 0, ended.err
    assert "cells.zarr: 3 tiles of cells; nucleus, protein." in ended.out
    ended = run(["export", "study.yaml", "--ome-zarr", "cells.zarr"])
    assert "exists already" in ended.err
    with pytest.raises(UserError, match="is no name of an OME-Zarr"):
        write_ome_zarr(study.dataset(), tmp_path / "cells.tif")
    assert sorted(path.name for path in tmp_path.glob("*cells*")) == ["cells.zarr"]


def test_a_damaged_store_leaves_no_image(tmp_path: Path) -> None:
    study = made(tmp_path, np.ones((3, 2, 8, 8), np.uint16))
    files = (tmp_path / "results/tiny/tiles/cells.zarr/images/c").rglob("*")
    (data,) = (path for path in files if path.is_file())
    content = bytearray(data.read_bytes())
    content[40] ^= 1
    data.write_bytes(content)
    with pytest.raises(UserError, match="checksum"):
        write_ome_zarr(study.dataset(), tmp_path / "out.zarr")
    assert list(tmp_path.glob("*out*")) == []
