"""Every format and layout decodes to the very integers that were written; bad files say why."""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numcodecs
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
import zarr
from PIL import Image

import transferscope.stores  # noqa: F401 (sets the fast pipeline, which must survive)
from transferscope.cards import DatasetCard
from transferscope.errors import UserError
from transferscope.raw.images import decode_field, read_field_header
from transferscope.transport.zarr_stores import PORTABLE_PIPELINE

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the shared test data are not here")
Array = npt.NDArray[np.generic]


def card(channels: int = 2, **changes: object) -> DatasetCard:
    names = ["nucleus", "protein", "er", "tubulin", "actin"][:channels]
    values = {"name": "demo", "sheet": "s.tsv", "channels": names, "labels": ["a", "b"]}
    return DatasetCard.model_validate({**values, **changes})


def noise(*shape: int, dtype: str = "uint16") -> Array:
    rng = np.random.default_rng(sum(shape))
    return rng.integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)


def refused(files: list[Path], dataset: DatasetCard, **options: bool) -> str:
    with pytest.raises(UserError) as caught:
        read_field_header(files, dataset, **options)
    message = str(caught.value)
    assert str(files[0].parent) in message
    return message


# TIFF


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "zstd", "packbits"])
def test_tiff_of_channels(tmp_path: Path, dtype: str, compression: str | None) -> None:
    image = noise(2, 40, 50, dtype=dtype)
    tifffile.imwrite(tmp_path / "a.tif", image, compression=compression)
    result = decode_field([tmp_path / "a.tif"], card())
    assert result.dtype == image.dtype
    np.testing.assert_array_equal(result, image)


@pytest.mark.parametrize("n_channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("metadata", [{}, None])
def test_leading_channel_axis_is_never_moved(
    tmp_path: Path, n_channels: int, metadata: dict[str, object] | None
) -> None:
    image = noise(n_channels, 40, 50)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, image, photometric="minisblack", metadata=metadata)
    np.testing.assert_array_equal(decode_field([path], card(n_channels)), image)


@pytest.mark.parametrize("options", [{"byteorder": ">"}, {"tile": (16, 16)}, {"bigtiff": True}])
def test_tiff_byte_orders_and_layouts(tmp_path: Path, options: dict[str, object]) -> None:
    image = noise(2, 40, 50)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="minisblack", **options)
    result = decode_field([tmp_path / "a.tif"], card())
    assert result.dtype.isnative
    np.testing.assert_array_equal(result, image)


@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_tiff_samples_are_channels(tmp_path: Path, channels: int, planar: str) -> None:
    image = noise(channels, 40, 50)
    written = image if planar == "separate" else np.moveaxis(image, 0, -1)
    photometric = "rgb" if channels > 2 else "minisblack"
    tifffile.imwrite(tmp_path / "a.tif", written, photometric=photometric, planarconfig=planar)
    np.testing.assert_array_equal(decode_field([tmp_path / "a.tif"], card(channels)), image)


@pytest.mark.parametrize("order", ["auto", "last"])
def test_channels_last_without_named_axes(tmp_path: Path, order: str) -> None:
    image = noise(2, 40, 50)
    tifffile.imwrite(tmp_path / "a.tif", np.moveaxis(image, 0, -1))
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.series[0].axes == "QYX"
    result = decode_field([tmp_path / "a.tif"], card(channel_order=order))
    np.testing.assert_array_equal(result, image)


STACK = noise(2, 5, 24, 30)


def expected_projection(how: str) -> Array:
    return STACK.max(1) if how == "max" else np.rint(STACK.mean(1)).astype(STACK.dtype)


@pytest.mark.parametrize("how", ["max", "mean"])
@pytest.mark.parametrize(
    ("name", "axes", "order"),
    [
        ("a.ome.tif", "CZYX", "auto"),
        ("a.ome.tif", "ZCYX", "auto"),
        ("a.ome.tif", "ZCYX", "first"),
        ("imagej.tif", "ZCYX", "auto"),
        ("plain.tif", "CZYX", "auto"),
        ("plain.tif", "ZCYX", "auto"),
        ("plain.tif", "ZCYX", "first"),
        ("plain.tif", "ZYXC", "auto"),
        ("plain.tif", "ZYXC", "last"),
    ],
)
def test_z_stacks_are_projected(tmp_path: Path, how: str, name: str, axes: str, order: str) -> None:
    written = STACK.transpose(["CZYX".index(letter) for letter in axes])
    options: dict[str, object] = {"photometric": "minisblack"}
    if name != "plain.tif":
        options |= {"metadata": {"axes": axes}, "imagej": name == "imagej.tif"}
    else:
        options |= {"planarconfig": None}
    if axes.endswith("C"):
        options = {}
    tifffile.imwrite(tmp_path / name, written, **options)
    result = decode_field([tmp_path / name], card(z_projection=how, channel_order=order))
    np.testing.assert_array_equal(result, expected_projection(how))


@pytest.mark.parametrize("metadata", [{"axes": "ZYX"}, {}, None])
def test_one_file_per_channel_with_z(tmp_path: Path, metadata: dict[str, object] | None) -> None:
    paths = [tmp_path / f"{i}.tif" for i in range(2)]
    for path, stack in zip(paths, STACK, strict=True):
        tifffile.imwrite(path, stack, photometric="minisblack", metadata=metadata)
    result = decode_field(paths, card(), one_file_per_channel=True)
    np.testing.assert_array_equal(result, STACK.max(1))


def test_one_file_per_channel_of_a_dataset_with_one_channel(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK[0], photometric="minisblack")
    result = decode_field([tmp_path / "a.tif"], card(1), one_file_per_channel=True)
    np.testing.assert_array_equal(result, STACK[:1].max(1))
    message = refused([tmp_path / "a.tif"], card(1))
    assert "has 5 channels" in message
    assert "a z-stack must name its axes" in message


def test_time_of_length_one_is_dropped_and_longer_refused(tmp_path: Path) -> None:
    image = noise(2, 24, 30)
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, image[None, :, None], metadata={"axes": "TCZYX"})
    np.testing.assert_array_equal(decode_field([path], card()), image)
    tifffile.imwrite(path, np.stack([image] * 3), metadata={"axes": "TCYX"})
    assert "axes TCYX" in refused([path], card())


def test_channels_that_imagej_calls_z(tmp_path: Path) -> None:
    image = noise(2, 24, 30)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, image, imagej=True, metadata={"axes": "ZYX"})
    assert "channel_order" in refused([path], card())
    np.testing.assert_array_equal(decode_field([path], card(channel_order="first")), image)


def test_unnamed_axes_that_fit_twice_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise(2, 2, 24, 30), photometric="minisblack")
    assert "are not named" in refused([tmp_path / "a.tif"], card())
    assert "channels from z" in refused([tmp_path / "a.tif"], card(channel_order="first"))


# PNG and JPEG


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png(tmp_path: Path, dtype: str, channels: int) -> None:
    image = noise(channels, 40, 50, dtype=dtype)
    pixels = image[0] if channels == 1 else np.ascontiguousarray(np.moveaxis(image, 0, -1))
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(pixels))
    result = decode_field([tmp_path / "a.png"], card(channels))
    assert result.dtype == image.dtype
    np.testing.assert_array_equal(result, image)


@pytest.mark.parametrize("colours", [1, 3])
@pytest.mark.parametrize("extension", ["png", "tif"])
def test_opacity_is_dropped_where_the_card_has_no_place_for_it(
    tmp_path: Path, colours: int, extension: str
) -> None:
    image = noise(40, 50, colours + 1, dtype="uint8")
    path = tmp_path / f"a.{extension}"
    if extension == "png":
        path.write_bytes(imagecodecs.png_encode(image))
    else:
        kind = "rgb" if colours == 3 else "minisblack"
        options = {"photometric": kind, "planarconfig": "contig", "extrasamples": ["unassalpha"]}
        tifffile.imwrite(path, image, **options)
    result = decode_field([path], card(colours))
    np.testing.assert_array_equal(result, np.moveaxis(image, -1, 0)[:-1])


def test_one_png_a_channel_in_the_order_given(tmp_path: Path) -> None:
    image = noise(4, 40, 50, dtype="uint8")
    paths = [tmp_path / f"{name}.png" for name in ("d", "c", "b", "a")]
    for path, plane in zip(paths, image, strict=True):
        path.write_bytes(imagecodecs.png_encode(plane))
    np.testing.assert_array_equal(decode_field(paths, card(4), one_file_per_channel=True), image)


def test_ignored_channels(tmp_path: Path) -> None:
    image = noise(40, 50, 3, dtype="uint8")
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(image))
    result = decode_field([tmp_path / "a.png"], card(2, ignore_channels=[1]))
    np.testing.assert_array_equal(result, np.moveaxis(image, -1, 0)[[0, 2]])
    assert "names 1 and ignores 1" in refused([tmp_path / "a.png"], card(1, ignore_channels=[1]))
    for wrong in ([3], [0, 0]):
        with pytest.raises(ValueError, match="ignore_channels"):
            card(2, ignore_channels=wrong)


@pytest.mark.parametrize("shape", [(40, 50), (40, 50, 3)])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg(tmp_path: Path, shape: tuple[int, ...], progressive: bool) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(noise(*shape, dtype="uint8")).save(path, progressive=progressive)
    with Image.open(path) as image:
        reference = np.atleast_3d(np.asarray(image))
    result = decode_field([path], card(reference.shape[2]))
    np.testing.assert_array_equal(result, np.moveaxis(reference, -1, 0))


# OME-Zarr


def write_ome_zarr(
    path: Path, image: Array, axes: str, *, version: int, dtype: str = "", **options: object
) -> None:
    group = zarr.open_group(path, mode="w", zarr_format=version)
    chunks = tuple(min(n, 16) for n in image.shape)
    with zarr.config.set({"codec_pipeline.path": PORTABLE_PIPELINE}):
        array = group.create_array(
            "0", shape=image.shape, dtype=dtype or image.dtype, chunks=chunks, **options
        )
        array[...] = image
    group.create_array("1", shape=tuple(-(-n // 2) for n in image.shape), dtype=image.dtype)
    scales = [{"datasets": [{"path": "0"}, {"path": "1"}], "axes": [{"name": a} for a in axes]}]
    group.attrs.update(
        {"multiscales": scales} if version == 2 else {"ome": {"multiscales": scales}}
    )


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("axes", ["cyx", "czyx", "tczyx", "zcyx"])
@pytest.mark.parametrize("dtype", ["<u2", ">u2", "u1"])
def test_ome_zarr(tmp_path: Path, version: int, axes: str, dtype: str) -> None:
    if version == 3 and dtype.startswith(">"):
        dtype = "<u2"
    stack = STACK.astype(dtype) if "z" in axes else STACK[:, 0].astype(dtype)
    named = "czyx" if "z" in axes else "cyx"
    written = stack.transpose([named.index(a) for a in axes if a != "t"])
    written = written[None] if "t" in axes else written
    path = tmp_path / "a.zarr"
    write_ome_zarr(path, written, axes, version=version, dtype=dtype)
    result = decode_field([path], card())
    assert result.dtype.isnative
    np.testing.assert_array_equal(result, stack.max(1) if "z" in axes else stack)
    assert zarr.config.get("codec_pipeline.path").startswith("zarrs.")


@pytest.mark.parametrize("codec", [numcodecs.Blosc(), numcodecs.Zlib(), numcodecs.LZ4(), None])
def test_ome_zarr_codecs(tmp_path: Path, codec: object) -> None:
    image = noise(2, 40, 50)
    write_ome_zarr(tmp_path / "a.zarr", image, "cyx", version=2, compressors=codec)
    np.testing.assert_array_equal(decode_field([tmp_path / "a.zarr"], card()), image)


def test_pickle_in_a_zarr_is_refused_and_not_executed(tmp_path: Path) -> None:
    path, witness = tmp_path / "a.zarr", tmp_path / "executed"
    write_ome_zarr(path, noise(2, 8, 8), "cyx", version=2, compressors=None)
    described = json.loads((path / "0" / ".zarray").read_text())
    described["filters"] = [{"id": "pickle", "protocol": 5}]
    (path / "0" / ".zarray").write_text(json.dumps(described))
    bomb = f"cposix\nsystem\n(S'touch {witness}'\ntR.".encode()
    for chunk in (path / "0").glob("[0-9]*"):
        chunk.write_bytes(bomb)
    refused([path], card())
    assert not witness.exists()


@pytest.mark.parametrize("part", ["0/zarr.json", "0/c/0/0/0"])
def test_a_zarr_with_a_link_out_of_it_is_refused(tmp_path: Path, part: str) -> None:
    path, elsewhere = tmp_path / "a.zarr", tmp_path / "elsewhere"
    write_ome_zarr(path, noise(2, 8, 8), "cyx", version=3, compressors=None)
    (path / part).rename(elsewhere)
    (path / part).symlink_to(elsewhere)
    assert f"symbolic link, {part}" in refused([path], card())


def test_a_tiff_that_claims_a_hundred_gigabytes_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise(64, 64), compression="zlib")
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as file:
        tags = file.pages[0].tags
        for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            tags[name].overwrite(223_607, dtype="I")
    message = refused([tmp_path / "a.tif"], card(1))
    assert "93.1 GiB" in message


def test_zarr_that_is_no_image(tmp_path: Path) -> None:
    zarr.open_group(tmp_path / "a.zarr", mode="w")
    assert "no OME multiscale image" in refused([tmp_path / "a.zarr"], card())
    (tmp_path / "folder").mkdir()
    assert "a folder that holds no OME-Zarr" in refused([tmp_path / "folder"], card())
    write_ome_zarr(tmp_path / "b.zarr", noise(2, 8, 8), "cyx", version=3)
    shutil.move(tmp_path / "b.zarr" / "0", tmp_path / "outside")
    text = (tmp_path / "b.zarr" / "zarr.json").read_text()
    (tmp_path / "b.zarr" / "zarr.json").write_text(text.replace('"0"', '"../outside"'))
    assert "outside the image" in refused([tmp_path / "b.zarr"], card())


# Bad files


def test_wrong_channel_count_names_both_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(3, 24, 30), photometric="minisblack")
    assert "has 3 channels" in refused([path], card(2))
    assert "the card names 2: nucleus, protein" in refused([path], card(2))
    assert "has 3 channels" in refused([path], card(4))
    assert "one channel is expected in each file" not in refused([path], card(1))
    rgb = tmp_path / "rgb.png"
    rgb.write_bytes(imagecodecs.png_encode(noise(24, 30, 3, dtype="uint8")))
    message = refused([rgb, rgb], card(2), one_file_per_channel=True)
    assert "one channel is expected in each file" in message
    assert "2 problems" in message


@pytest.mark.parametrize("dtype", ["int16", "uint32", "bool", "complex64"])
def test_other_types_are_refused(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((2, 24, 30), dtype), photometric="minisblack")
    assert f"holds {dtype} values" in refused([path], card())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_floats_must_be_numbers(tmp_path: Path, value: float) -> None:
    pixels = np.ones((2, 24, 30), np.float32)
    pixels[1, 3, 4] = value
    tifffile.imwrite(path := tmp_path / "a.tif", pixels, photometric="minisblack")
    with pytest.raises(UserError, match="holds values that are not a number or infinite"):
        decode_field([path], card())


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
def test_truncated_tiff(tmp_path: Path, compression: str | None, kept: float) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(2, 64, 64), compression=compression)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    refused([path], card())


@pytest.mark.parametrize("kept", [20, 40, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["png", "jpeg8"])
def test_truncated_png_and_jpeg(tmp_path: Path, kept: float, kind: str) -> None:
    content = getattr(imagecodecs, f"{kind}_encode")(noise(64, 64, dtype="uint8"))
    path = tmp_path / "a"
    path.write_bytes(content[: kept if kept > 1 else int(len(content) * kept)])
    refused([path], card(1))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "the file is empty"),
        (b"hello, this is text", "not an image of a known format"),
        (b"II*\x00", "TIFF"),
        (b"II*\x00\xff\xff\xff\xff", "TIFF"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "PNG"),
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"\xff\xd8\xff\xc0\x00\x11\x08", "JPEG"),
    ],
)
def test_files_that_are_no_images(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    assert what in refused([path], card())


def test_missing_file(tmp_path: Path) -> None:
    assert "cannot be read" in refused([tmp_path / "no.tif"], card())


def corrupt_tail(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(200) + content[middle + 200 :]


@pytest.mark.parametrize("extension", ["tif", "png"])
def test_corrupt_pixels_are_a_named_error(tmp_path: Path, extension: str) -> None:
    path, image = tmp_path / f"a.{extension}", noise(128, 128)
    if extension == "tif":
        tifffile.imwrite(path, image, compression="zlib")
    else:
        path.write_bytes(imagecodecs.png_encode(image))
    path.write_bytes(corrupt_tail(path.read_bytes()))
    read_field_header([path], card(1))
    with pytest.raises(UserError, match="pixels cannot be decoded"):
        decode_field([path], card(1))


def png_that_claims(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", len(header))
        + chunk
        + struct.pack(">I", 0)
        + struct.pack(">I4sI", 0, b"IEND", 0)
    )


def test_bombs_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png_that_claims(100_000, 100_000))
    assert "would decode to 18.6 GiB" in refused([path], card(1))
    group = zarr.open_group(tmp_path / "b.zarr", mode="w")
    group.create_array("0", shape=(1, 10**6, 10**6), dtype="u2", chunks=(1, 1000, 1000))
    scales = [{"datasets": [{"path": "0"}], "axes": ["c", "y", "x"]}]
    group.attrs["ome"] = {"multiscales": scales}
    assert "is the limit" in refused([tmp_path / "b.zarr"], card(1))


def test_palette_and_one_bit_png_are_refused(tmp_path: Path) -> None:
    image = Image.fromarray(noise(24, 30, dtype="uint8"))
    image.convert("P").save(tmp_path / "p.png")
    assert "palette" in refused([tmp_path / "p.png"], card(1))
    image.convert("1").save(tmp_path / "b.png")
    assert "1 bits" in refused([tmp_path / "b.png"], card(1))


def test_several_images_in_one_tiff_are_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as writer:
        for _ in range(2):
            writer.write(noise(2, 24, 30), metadata={"axes": "CYX"}, photometric="minisblack")
    assert "holds 2 images" in refused([tmp_path / "a.ome.tif"], card())


def test_parts_of_an_ome_tiff_in_other_files_are_not_followed(tmp_path: Path) -> None:
    path, other = tmp_path / "inner" / "a.ome.tif", tmp_path / "b.ome.tif"
    path.parent.mkdir()
    image = noise(2, 24, 30)
    tifffile.imwrite(other, image[1], photometric="minisblack")
    tifffile.imwrite(path, image[0], metadata={"axes": "YX"}, photometric="minisblack")
    xml = tifffile.tiffcomment(path).replace('SizeC="1"', 'SizeC="2"')
    own = xml[xml.index("urn:uuid") :].split('"')[0]
    parts = "".join(
        f'<TiffData IFD="0" FirstC="{i}" PlaneCount="1"><UUID FileName="{name}">{uuid}</UUID>'
        "</TiffData>"
        for i, name, uuid in ((0, path.name, own), (1, "../b.ome.tif", own[:-1] + "0"))
    )
    xml = xml[: xml.index("<TiffData")] + parts + xml[xml.index("</Pixels>") :]
    tifffile.tiffcomment(path, xml.encode())
    assert "has 1 channel (" in refused([path], card())


def test_channels_of_different_size_or_type(tmp_path: Path) -> None:
    paths = [tmp_path / "a.tif", tmp_path / "b.tif"]
    tifffile.imwrite(paths[0], noise(24, 30))
    tifffile.imwrite(paths[1], noise(24, 31, dtype="uint8"))
    message = refused(paths, card(), one_file_per_channel=True)
    assert "channel protein has size (height, width) (24, 31)" in message
    assert "channel protein has type uint8" in message


# Real files


@needs_data
@pytest.mark.parametrize(
    ("files", "channels", "shape"),
    [
        (["fields/jump/r01c01f01p01-ch5sk1fk1fl1.tiff"], 1, (1080, 1080)),
        (["fields/bbbc014/Channel 1-01-A-01-00.tif"], 1, (1024, 1360)),
        (["fields/human/AS_09125_050116030001_D03f00d0.tif"], 1, (512, 512)),
        (["fields/nf1/images/D6_01_1_2_DAPI_001.tif"], 1, (904, 1224)),
        (["bbbc013/crops/A12_Cell126.png"], 3, (43, 32)),
    ],
)
def test_real_files(files: list[str], channels: int, shape: tuple[int, int]) -> None:
    reader: Callable[[Path], Array] = (
        tifffile.imread if files[0].lower().endswith(("tif", "tiff")) else imagecodecs.imread
    )
    reference = np.atleast_3d(reader(DATA / files[0]))
    result = decode_field([DATA / files[0]], card(channels))
    assert result.shape == (channels, *shape)
    np.testing.assert_array_equal(np.moveaxis(result, 0, -1), reference)
