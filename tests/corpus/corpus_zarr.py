"""OME-Zarr folders: named axes, levels, chunks that are not there, sizes and channel names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from corpus_cases import Array, Fields, case, channels, noise, read, refused

from transferscope.transport.zarr_stores import PORTABLE_PIPELINE

SPACE, CHANNEL, TIME = {"type": "space"}, {"type": "channel"}, {"type": "time"}
CYX = [{"name": "c", **CHANNEL}, {"name": "y", **SPACE}, {"name": "x", **SPACE}]


def write(
    path: Path,
    levels: list[Array],
    axes: list[Any] | None,
    *,
    version: int = 3,
    chunk: int = 16,
    attributes: dict[str, Any] | None = None,
    datasets: list[dict[str, Any]] | None = None,
    **options: Any,
) -> Path:
    """Write an OME-Zarr of version 0.4 (Zarr 2) or 0.5 (Zarr 3)."""
    group = zarr.open_group(path, mode="w", zarr_format=version)
    with zarr.config.set({"codec_pipeline.path": PORTABLE_PIPELINE}):
        for name, level in enumerate(levels):
            shape = (*(1,) * (level.ndim - 2), chunk, chunk)
            array = group.create_array(
                str(name), shape=level.shape, dtype=level.dtype, chunks=shape, **options
            )
            array[...] = level
    named = datasets or [{"path": str(name)} for name in range(len(levels))]
    scales: dict[str, Any] = {"datasets": named, **({"axes": axes} if axes else {})}
    found = {"multiscales": [scales], **(attributes or {})}
    group.attrs.update(found if version == 2 else {"ome": {"version": "0.5", **found}})
    return path


def scaled(*size: float) -> dict[str, Any]:
    return {"type": "scale", "scale": list(size)}


def without_chunks(path: Path, *names: str) -> Path:
    for name in names:
        (path / name).unlink()
    return path


@case
def zarr_axis_called_channel(folder: Path) -> Fields:
    image = noise(2, 32, 32)
    axes = [{"name": "channel", **CHANNEL}, *CYX[1:]]
    return read(write(folder / "a.zarr", [image], axes), image)


@case
def zarr_axes_called_in_capitals(folder: Path) -> Fields:
    image = noise(2, 32, 32)
    return read(write(folder / "a.zarr", [image], ["C", "Y", "X"], version=2), image)


@case
def zarr_time_named_as_space(folder: Path) -> Fields:
    axes = [{"name": "c", **CHANNEL}, {"name": "t", **SPACE}, *CYX[1:]]
    return refused(write(folder / "a.zarr", [noise(2, 3, 32, 32)], axes), "axis")


@case
def zarr_time_called_z(folder: Path) -> Fields:
    axes = [{"name": "c", **CHANNEL}, {"name": "z", **TIME}, *CYX[1:]]
    return refused(write(folder / "a.zarr", [noise(2, 3, 32, 32)], axes), "axis")


@case
def zarr_axis_of_another_kind(folder: Path) -> Fields:
    axes = [{"name": "angle"}, *CYX[1:]]
    return refused(write(folder / "a.zarr", [noise(2, 32, 32)], axes), "angle")


@case
def zarr_channels_last(folder: Path) -> Fields:
    image = noise(32, 32, 2)
    path = folder / "a.zarr"
    group = zarr.open_group(path, mode="w")
    group.create_array("0", shape=image.shape, dtype=image.dtype, chunks=(16, 16, 2))[...] = image
    scales = [{"datasets": [{"path": "0"}], "axes": [*CYX[1:], CYX[0]]}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": scales}
    return read(path, np.moveaxis(image, -1, 0))


@case
def zarr_axes_against_the_cards_order(folder: Path) -> Fields:
    path = write(folder / "a.zarr", [noise(2, 32, 32)], CYX)
    return refused(path, "names its axes", channel_order="last")


@case
def zarr_largest_level_last(folder: Path) -> Fields:
    image = noise(2, 32, 32)
    path = write(folder / "a.zarr", [image[:, ::2, ::2], image], CYX)
    return refused(path, "order")


@case
def zarr_levels_named_in_words(folder: Path) -> Fields:
    image = noise(2, 32, 32)
    path = write(folder / "a.zarr", [image[:, ::2, ::2], image], CYX)
    text = (path / "zarr.json").read_text()
    attributes = json.loads(text)
    datasets = attributes["attributes"]["ome"]["multiscales"][0]["datasets"]
    datasets[:] = [{"path": "1"}, {"path": "0"}]
    (path / "zarr.json").write_text(json.dumps(attributes))
    return read(path, image)


@case
def zarr_second_image(folder: Path) -> Fields:
    image = noise(2, 32, 32)
    path = write(folder / "a.zarr", [image], CYX)
    attributes = json.loads((path / "zarr.json").read_text())
    scales = attributes["attributes"]["ome"]["multiscales"]
    scales.append({**scales[0], "name": "second"})
    (path / "zarr.json").write_text(json.dumps(attributes))
    return read(path, image, message="left out")


@case
def zarr_chunk_missing(folder: Path) -> Fields:
    path = write(folder / "a.zarr", [noise(2, 64, 64)], CYX)
    return refused(without_chunks(path, "0/c/1/2/1"), "1 of 32 chunks")


@case
def zarr_chunk_missing_in_8_bits(folder: Path) -> Fields:
    path = write(folder / "a.zarr", [noise(2, 64, 64, dtype="uint8", low=0)], CYX, version=2)
    return refused(without_chunks(path, "0/0.2.1"), "1 of 32 chunks")


@case
def zarr_without_chunks(folder: Path) -> Fields:
    path = write(folder / "a.zarr", [noise(2, 32, 32)], CYX)
    shutil.rmtree(path / "0" / "c")
    return refused(path, "8 of 8 chunks")


@case
def zarr_with_another_separator(folder: Path) -> Fields:
    path = write(folder / "a.zarr", [noise(2, 32, 32)], CYX, version=2)
    described = json.loads((path / "0/.zarray").read_text())
    (path / "0/.zarray").write_text(json.dumps({**described, "dimension_separator": "/"}))
    return refused(path, "8 of 8 chunks")


@case
def zarr_with_nested_chunks(folder: Path) -> Fields:
    image = noise(2, 32, 32)
    encoding = {"name": "v2", "separator": "/"}
    path = write(folder / "a.zarr", [image], CYX, version=2, chunk_key_encoding=encoding)
    assert (path / "0/1/1/1").is_file()
    return read(path, image)


@case
def zarr_with_black_chunks_left_out(folder: Path) -> Fields:
    image = noise(2, 64, 64)
    image[:, :40, :40] = 0
    path = write(folder / "a.zarr", [image], CYX)
    assert not (path / "0/c/1/0/0").exists()
    return read(path, image, message="8 of 32 chunks")


@case
def zarr_with_black_chunks_and_levels(folder: Path) -> Fields:
    image = noise(2, 64, 64)
    image[:, :40, :40] = 0
    path = write(folder / "a.zarr", [image, image[:, ::2, ::2]], CYX)
    return read(path, image, message="8 of 32 chunks")


@case
def zarr_chunk_missing_that_a_level_shows(folder: Path) -> Fields:
    """All around is black, but the smaller level shows what was there."""
    image = np.zeros((2, 64, 64), np.uint16)
    image[:, 20:28, 20:28] = 900
    image[:, 50:60, 50:60] = 700
    path = write(folder / "a.zarr", [image, image[:, ::2, ::2]], CYX)
    return refused(without_chunks(path, "0/c/1/1/1"), "chunks")


@case
def zarr_plane_missing(folder: Path) -> Fields:
    axes = [CYX[0], {"name": "z", **SPACE}, *CYX[1:]]
    path = write(folder / "a.zarr", [noise(2, 5, 16, 16)], axes)
    return refused(without_chunks(path, "0/c/1/2/0/0"), "1 of 10 chunks")


@case
def zarr_chunk_missing_of_no_known_value(folder: Path) -> Fields:
    image = noise(2, 32, 32)
    image[0, :16] = 0
    path = write(folder / "a.zarr", [image], CYX, version=2)
    described = json.loads((path / "0/.zarray").read_text())
    (path / "0/.zarray").write_text(json.dumps({**described, "fill_value": None}))
    return refused(path, "chunks")


@case
def zarr_chunk_cut_short(folder: Path) -> Fields:
    path = write(folder / "a.zarr", [noise(2, 32, 32)], CYX, compressors=None)
    part = path / "0/c/1/1/1"
    part.write_bytes(part.read_bytes()[:100])
    return refused(path, "cannot be decoded")


@case
def zarr_compressed_chunk_cut_short(folder: Path) -> Fields:
    path = write(folder / "a.zarr", [noise(2, 32, 32)], CYX)
    part = path / "0/c/1/1/1"
    part.write_bytes(part.read_bytes()[:100])
    return refused(path, "cannot be decoded")


@case
def zarr_chunk_empty(folder: Path) -> Fields:
    path = write(folder / "a.zarr", [noise(2, 32, 32)], CYX, version=2)
    (path / "0/1.1.1").write_bytes(b"")
    return refused(path, "cannot be decoded|empty")


@case
def zarr_shards(folder: Path) -> Fields:
    image = noise(2, 64, 64)
    image[1, :40, :40] = 0
    path = folder / "a.zarr"
    group = zarr.open_group(path, mode="w")
    with zarr.config.set({"codec_pipeline.path": PORTABLE_PIPELINE}):
        array = group.create_array(
            "0", shape=image.shape, dtype=image.dtype, chunks=(1, 16, 16), shards=(1, 64, 64)
        )
        array[...] = image
    scales = [{"datasets": [{"path": "0"}], "axes": CYX}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": scales}
    return read(path, image)


@case
def zarr_shard_missing(folder: Path) -> Fields:
    path = zarr_shards(folder).files[0][0]
    return refused(without_chunks(path, "0/c/0/0/0"), "nothing of the channel")


@case
def zarr_black_channel_that_is_ignored(folder: Path) -> Fields:
    image = noise(2, 32, 32)
    image[1] = 0
    path = write(folder / "a.zarr", [image], CYX)
    assert not (path / "0/c/1").exists()
    card = {"channels": channels(1), "ignore_channels": [1]}
    return read(path, image[:1], message="4 of 8 chunks", **card)


@case
def zarr_channels_named_in_another_order(folder: Path) -> Fields:
    paths = []
    for name, labels in (("a", ["DAPI", "GFP"]), ("b", ["GFP", "DAPI"])):
        omero = {"omero": {"channels": [{"label": label} for label in labels]}}
        paths.append(write(folder / f"{name}.zarr", [noise(2, 32, 32)], CYX, attributes=omero))
    return Fields([[path] for path in paths], None, "channels")


@case
def zarr_pixel_sizes_that_differ(folder: Path) -> Fields:
    micro = [CYX[0], *({**axis, "unit": "micrometer"} for axis in CYX[1:])]
    nano = [CYX[0], *({**axis, "unit": "nanometer"} for axis in CYX[1:])]
    image, paths = noise(2, 32, 32), []
    for name, axes, size in (("a", micro, 0.1), ("b", nano, 100), ("c", micro, 0.2)):
        level = [{"path": "0", "coordinateTransformations": [scaled(1, size, size)]}]
        paths.append(write(folder / f"{name}.zarr", [image], axes, datasets=level))
    return Fields([[path] for path in paths], None, r"c.zarr.*pixel size")


@case
def zarr_pixel_size_in_two_steps(folder: Path) -> Fields:
    """A scale of the level, and another of the whole image."""
    image = noise(2, 32, 32)
    axes = [CYX[0], *({**axis, "unit": "micrometer"} for axis in CYX[1:])]
    level = [{"path": "0", "coordinateTransformations": [scaled(1, 0.5, 0.5)]}]
    path = write(folder / "a.zarr", [image], axes, version=2, datasets=level)
    attributes = json.loads((path / ".zattrs").read_text())
    attributes["multiscales"][0]["coordinateTransformations"] = [scaled(1, 0.2, 0.2)]
    (path / ".zattrs").write_text(json.dumps(attributes))
    return read(path, image, pixel_size_um=0.1)


@case
def zarr_of_version_02_without_axes(folder: Path) -> Fields:
    image = noise(1, 2, 1, 32, 32)
    return read(write(folder / "a.zarr", [image], None, version=2), image[0, :, 0])


@case
def zarr_of_three_dimensions_without_axes(folder: Path) -> Fields:
    return refused(write(folder / "a.zarr", [noise(2, 32, 32)], None, version=2), "ax[ei]s")


@case
def zarr_plate_of_images(folder: Path) -> Fields:
    path = folder / "a.zarr"
    zarr.open_group(path, mode="w").attrs["ome"] = {"version": "0.5", "bioformats2raw.layout": 3}
    write(path / "0", [noise(2, 32, 32)], CYX)
    return refused(path, "a.zarr/0|name.zarr/0")


@case
def zarr_black_quarter_that_a_level_confirms(folder: Path) -> Fields:
    """Bright pixels stand next to what is black, and the chunks of it are left out."""
    image = noise(2, 64, 64)
    image[:, :32, :32] = 0
    path = write(folder / "a.zarr", [image, image[:, ::2, ::2]], CYX)
    return read(path, image, message="8 of 32 chunks")


@case
def zarr_other_axis_of_length_one(folder: Path) -> Fields:
    image = noise(1, 2, 32, 32)
    axes = [{"name": "angle", "type": "angle"}, *CYX]
    return read(write(folder / "a.zarr", [image], axes), image[0])


@case
def zarr_axes_called_height_and_width(folder: Path) -> Fields:
    image = noise(2, 32, 32)
    axes = [CYX[0], {"name": "height", **SPACE}, {"name": "width", **SPACE}]
    return read(write(folder / "a.zarr", [image], axes), image)


@case
def zarr_with_older_consolidated_metadata(folder: Path) -> Fields:
    image = noise(2, 32, 32)
    path = write(folder / "a.zarr", [image], CYX, version=2)
    zarr.consolidate_metadata(path, zarr_format=2)
    whole = path / ".zmetadata"
    said = json.loads(whole.read_text())
    said["metadata"]["0/.zarray"]["shape"] = [2, 16, 32]
    whole.write_text(json.dumps(said))
    return read(path, image)


@case
def zarr_levels_whose_scales_are_in_the_wrong_order(folder: Path) -> Fields:
    image = noise(2, 32, 32)
    levels = [
        {"path": "0", "coordinateTransformations": [scaled(1, 2, 2)]},
        {"path": "1", "coordinateTransformations": [scaled(1, 1, 1)]},
    ]
    path = write(folder / "a.zarr", [image, image], CYX, datasets=levels)
    return refused(path, "levels are in the wrong order")


@case
def zarr_of_labels(folder: Path) -> Fields:
    path = write(folder / "a.zarr", [noise(2, 32, 32)], CYX, attributes={"image-label": {}})
    return refused(path, "holds labels, not an image")


@case
def folder_of_tiffs_for_an_image(folder: Path) -> Fields:
    path = folder / "a"
    path.mkdir()
    (path / "x.tif").write_bytes(b"II*\0")
    return refused(path, "a folder that holds no OME-Zarr")


@case
def zarr_array_alone(folder: Path) -> Fields:
    path = folder / "a.zarr"
    zarr.create_array(path, data=noise(2, 32, 32))
    return refused(path, "says nothing of its axes")
