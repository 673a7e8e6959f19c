"""Files cut or torn anywhere: the right pixels or a refusal, never others; sound ones are read."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from transferscope.cards import DatasetCard
from transferscope.errors import UnreachableError, UserError
from transferscope.raw.images import decode_field
from transferscope.transport.files import RemoteFile, in_memory

if TYPE_CHECKING:
    from object_store import ObjectStore

Array = npt.NDArray[np.generic]
quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
ONE = DatasetCard.model_validate(
    {"name": "odd", "sheet": "s.tsv", "channels": ["protein"], "labels": ["a", "b"]}
)
PLACES = st.floats(0, 1, exclude_max=True)
SHAPES = st.tuples(st.integers(1, 70), st.integers(1, 70))
JPEGS = st.fixed_dictionaries(
    {
        "quality": st.sampled_from([5, 50, 90, 100]),
        "progressive": st.booleans(),
        "optimize": st.booleans(),
        "restart_marker_rows": st.sampled_from([0, 1, 2]),
    }
)


def noise(shape: tuple[int, ...], seed: int = 0, dtype: str = "uint8") -> Array:
    values = np.random.default_rng(seed).integers(1, np.iinfo(dtype).max, shape, endpoint=True)
    return values.astype(dtype)


def picture(shape: tuple[int, int], kind: str) -> Array:
    """Return values that are flat, noisy, or mostly black."""
    if kind == "flat":
        return np.full(shape, 77, np.uint8)
    return noise(shape) if kind == "noise" else (noise(shape) > 250).astype(np.uint8) * 90


def jpeg(image: Array, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "jpeg", **options)
    return buffer.getvalue()


def assert_refused_or_equal(path: Path, expected: Array) -> None:
    try:
        found = decode_field([path], ONE, one_file_per_channel=True)
    except UserError as error:
        message = str(error)
    else:
        np.testing.assert_array_equal(found, expected)
        return
    assert str(path) in message


def tiff(path: Path, kind: str) -> Array:
    """Write a TIFF of three planes (or one), as a user of each kind would; return its maximum."""
    stack = noise((3, 40, 50), dtype="uint16")
    if kind in ("plain", "tiled"):
        tile = (16, 16) if kind == "tiled" else None
        tifffile.imwrite(path, stack[0], metadata=None, tile=tile, compression="zlib")
        return stack[:1]
    metadata = {"axes": "ZYX"}
    if kind == "ome":
        tifffile.imwrite(path, stack, ome=True, metadata=metadata)
    elif kind == "imagej":
        tifffile.imwrite(path, stack, imagej=True, metadata=metadata)
    else:
        with tifffile.TiffWriter(path, bigtiff=kind == "big") as writer:
            for plane in stack:
                writer.write(plane, contiguous=False, metadata=None)
    return stack.max(0, keepdims=True)


@pytest.mark.parametrize("kind", ["plain", "tiled", "ome", "imagej", "pages", "big"])
@quick
@given(place=PLACES)
def test_a_tiff_cut_anywhere(tmp_path: Path, kind: str, place: float) -> None:
    path = tmp_path / "a.tif"
    expected = tiff(path, kind)
    content = path.read_bytes()
    np.testing.assert_array_equal(decode_field([path], ONE, one_file_per_channel=True), expected)
    path.write_bytes(content[: int(len(content) * place)])
    assert_refused_or_equal(path, expected)


@quick
@given(place=PLACES, length=st.integers(1, 200), joined=st.booleans())
def test_a_png_cut_or_torn(tmp_path: Path, place: float, length: int, joined: bool) -> None:
    image = noise((40, 50), dtype="uint16")
    path, content = tmp_path / "a.png", imagecodecs.png_encode(image)
    at = int(len(content) * place)
    path.write_bytes(content[:at] + (content[at + length :] if joined else b""))
    assert_refused_or_equal(path, image[None])


@quick
@given(shape=SHAPES, kind=st.sampled_from(["flat", "noise", "sparse"]), options=JPEGS)
def test_a_sound_jpeg_is_read(
    tmp_path: Path, shape: tuple[int, int], kind: str, options: dict[str, object]
) -> None:
    content = jpeg(picture(shape, kind), **options)
    (tmp_path / "a.jpg").write_bytes(content)
    found = decode_field([tmp_path / "a.jpg"], ONE)
    np.testing.assert_array_equal(found[0], np.asarray(Image.open(io.BytesIO(content))))


@quick
@given(place=PLACES, ended=st.booleans(), thumbnail=st.booleans())
def test_a_jpeg_cut_anywhere(tmp_path: Path, place: float, ended: bool, thumbnail: bool) -> None:
    image = noise((64, 80))
    content = jpeg(image)
    expected = np.asarray(Image.open(io.BytesIO(content)))[None]
    if thumbnail:
        small = b"Exif\x00\x00" + jpeg(image[:16, :16])
        segment = b"\xff\xe1" + (len(small) + 2).to_bytes(2, "big") + small
        content = content[:2] + segment + content[2:]
    cut = content[: int(len(content) * place)] + (b"\xff\xd9" if ended else b"")
    (tmp_path / "a.jpg").write_bytes(cut)
    assert_refused_or_equal(tmp_path / "a.jpg", expected)


def write_zarr(path: Path, levels: list[Array]) -> None:
    group = zarr.open_group(path, mode="w")
    for name, level in enumerate(levels):
        array = group.create_array(
            str(name), shape=level.shape, dtype=level.dtype, chunks=(1, 16, 16)
        )
        array[...] = level
    datasets = [{"path": str(name)} for name in range(len(levels))]
    scales = [{"datasets": datasets, "axes": [{"name": name} for name in "cyx"]}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": scales}


@settings(quick, max_examples=25)
@given(lost=st.sets(st.integers(0, 8), min_size=1), levels=st.integers(1, 2), seed=st.integers(0))
def test_a_zarr_without_some_chunks(
    tmp_path_factory: pytest.TempPathFactory, lost: set[int], levels: int, seed: int
) -> None:
    path = tmp_path_factory.mktemp("lost") / "a.zarr"
    image = noise((1, 48, 48), seed % 2**32)
    write_zarr(path, [image, image[:, ::2, ::2]][:levels])
    for number in lost:
        (path / f"0/c/0/{number // 3}/{number % 3}").unlink()
    with pytest.raises(UserError, match=rf"{len(lost)} of 9 chunks"):
        decode_field([path], ONE)


@settings(quick, max_examples=25)
@given(corner=st.tuples(st.integers(0, 47), st.integers(0, 47)), levels=st.integers(1, 2))
def test_a_zarr_whose_black_chunks_are_left_out(
    tmp_path_factory: pytest.TempPathFactory, corner: tuple[int, int], levels: int
) -> None:
    """Objects in the dark, as masks and images without background are."""
    path = tmp_path_factory.mktemp("black") / "a.zarr"
    image = np.zeros((1, 48, 48), np.uint8)
    y, x = corner
    image[0, y : y + 9, x : x + 9] = 200
    write_zarr(path, [image, image[:, ::2, ::2]][:levels])
    np.testing.assert_array_equal(decode_field([path], ONE), image)


def test_a_transfer_that_is_cut_short(tmp_path: Path, store: ObjectStore) -> None:
    (tmp_path / "a.tif").write_bytes(bytes(100))
    url = f"{store.put(tmp_path, 'short')}/a.tif"
    assert in_memory(RemoteFile(url, 100)) == RemoteFile(url, 100, content=bytes(100))
    with pytest.raises(UnreachableError, match="100 bytes arrived of a file of 120"):
        in_memory(RemoteFile(url, 120))
