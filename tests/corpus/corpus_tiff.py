"""TIFF files: what they say of colours, axes, order and size, and parts that are not there."""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from corpus_cases import Array, Fields, case, channels, noise, read, refused


def tiff(path: Path, image: Array, **options: Any) -> Path:
    tifffile.imwrite(path, image, **{"photometric": "minisblack", "metadata": None, **options})
    return path


def overwrite(path: Path, tag: str | int, value: Any, page: int = 0, dtype: Any = None) -> None:
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[page].tags[tag].overwrite(value, dtype=dtype)


@case
def tiff_min_is_white(folder: Path) -> Fields:
    return refused(tiff(folder / "a.tif", noise(24, 30), photometric="miniswhite"), "0 is white")


@case
def tiff_palette(folder: Path) -> Fields:
    path = folder / "a.tif"
    colours = noise(3, 256)
    tifffile.imwrite(path, noise(24, 30, dtype="uint8"), photometric="palette", colormap=colours)
    return refused(path, "colour palette")


def ramp(*tops: int) -> Array:
    """Return a palette from black to one colour."""
    return np.array(tops)[:, None].astype(np.uint16) * np.arange(256, dtype=np.uint16)


@case
def tiff_palette_of_greys(folder: Path) -> Fields:
    path, image = folder / "a.tif", noise(24, 30, dtype="uint8")
    tifffile.imwrite(path, image, photometric="palette", colormap=ramp(257, 257, 257))
    return read(path, image[None], channels=channels(1))


@case
def tiff_palette_of_one_colour(folder: Path) -> Fields:
    path, image = folder / "a.tif", noise(24, 30, dtype="uint8")
    tifffile.imwrite(path, image, photometric="palette", colormap=ramp(0, 256, 128))
    return read(path, image[None], channels=channels(1))


@case
def tiff_palette_of_greys_from_white(folder: Path) -> Fields:
    path, image = folder / "a.tif", noise(24, 30, dtype="uint8")
    tifffile.imwrite(path, image, photometric="palette", colormap=ramp(257, 257, 257)[:, ::-1])
    return refused(path, "colour palette", channels=channels(1))


@case
def tiff_cmyk(folder: Path) -> Fields:
    path = tiff(folder / "a.tif", noise(24, 30, 4, dtype="uint8"), photometric="separated")
    return refused(path, "CMYK", channels=channels(4))


@case
def tiff_cielab(folder: Path) -> Fields:
    path = tiff(folder / "a.tif", noise(24, 30, 3, dtype="uint8"), photometric="cielab")
    return refused(path, "CIELAB", channels=channels(3))


@case
def tiff_ycbcr_without_jpeg(folder: Path) -> Fields:
    path = tiff(folder / "a.tif", noise(24, 30, 3, dtype="uint8"), photometric="rgb")
    overwrite(path, "PhotometricInterpretation", 6)
    return refused(path, "YCbCr", channels=channels(3))


@case
def tiff_jpeg_in_rgb(folder: Path) -> Fields:
    image = np.repeat(np.repeat(noise(3, 4, 3, dtype="uint8"), 8, 0), 8, 1)
    path = tiff(folder / "a.tif", image, photometric="rgb", compression="jpeg")
    pixels = np.moveaxis(tifffile.imread(path), -1, 0)
    return read(path, pixels, channels=channels(3))


@case
def tiff_jpeg_strip_cut(folder: Path) -> Fields:
    path = tiff(folder / "a.tif", noise(64, 64, dtype="uint8"), compression="jpeg", rowsperstrip=64)
    with tifffile.TiffFile(path) as file:
        count = file.pages[0].databytecounts[0]
        start = file.pages[0].dataoffsets[0]
    content = bytearray(path.read_bytes())
    content[start + count // 2 : start + count] = bytes(count - count // 2)
    path.write_bytes(content)
    overwrite(path, "StripByteCounts", count // 2)
    return refused(path, "parts of the JPEG", channels=channels(1))


@case
def tiff_planar_rgb_with_alpha(folder: Path) -> Fields:
    image = noise(4, 24, 30, dtype="uint8")
    options = {"photometric": "rgb", "planarconfig": "separate", "extrasamples": ["unassalpha"]}
    return read(tiff(folder / "a.tif", image, **options), image[:3], channels=channels(3))


@case
def tiff_big(folder: Path) -> Fields:
    image = noise(2, 24, 30)
    return read(tiff(folder / "a.tif", image, bigtiff=True), image)


@case
def tiff_tile_missing(folder: Path) -> Fields:
    path = tiff(folder / "a.tif", noise(64, 64), tile=(32, 32), compression="zlib")
    with tifffile.TiffFile(path) as file:
        counts = file.pages[0].databytecounts
    overwrite(path, "TileByteCounts", (0, *counts[1:]))
    return refused(path, "1 of 4 tiles", channels=channels(1))


@case
def tiff_tile_without_place(folder: Path) -> Fields:
    path = tiff(folder / "a.tif", noise(64, 64), tile=(32, 32), compression="zlib")
    with tifffile.TiffFile(path) as file:
        offsets = file.pages[0].dataoffsets
    overwrite(path, "TileOffsets", (*offsets[:3], 0))
    return refused(path, "1 of 4 tiles", channels=channels(1))


@case
def tiff_strip_counts_of_zero(folder: Path) -> Fields:
    path = tiff(folder / "a.tif", noise(64, 64), rowsperstrip=16)
    with tifffile.TiffFile(path) as file:
        count = len(file.pages[0].databytecounts)
    overwrite(path, "StripByteCounts", (0,) * count)
    return refused(path, "4 of 4 strips", channels=channels(1))


@case
def tiff_strips_too_few(folder: Path) -> Fields:
    path = tiff(folder / "a.tif", noise(64, 64), rowsperstrip=16, compression="zlib")
    overwrite(path, "RowsPerStrip", 8)
    return refused(path, "strips", channels=channels(1))


@case
def tiff_strip_short_uncompressed(folder: Path) -> Fields:
    path = tiff(folder / "a.tif", noise(64, 64), rowsperstrip=16)
    with tifffile.TiffFile(path) as file:
        counts = list(file.pages[0].databytecounts)
    counts[1] //= 2
    overwrite(path, "StripByteCounts", tuple(counts))
    return refused(path, "too few bytes|cannot be decoded", channels=channels(1))


@case
def tiff_strip_short_compressed(folder: Path) -> Fields:
    path = folder / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(
            iter([zlib.compress(bytes(64 * 20 * 2))]),
            shape=(64, 64),
            dtype="uint16",
            compression="zlib",
            rowsperstrip=64,
            photometric="minisblack",
            metadata=None,
        )
    return refused(path, "cannot be decoded", channels=channels(1))


@case
def tiff_pages_cut_off(folder: Path) -> Fields:
    """The last planes of a z-stack are cut off, with the directories that name them."""
    path = folder / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for plane in noise(5, 24, 30):
            writer.write(plane, photometric="minisblack", metadata=None, contiguous=False)
    with tifffile.TiffFile(path) as file:
        end = file.pages[3].offset
    path.write_bytes(path.read_bytes()[:end])
    card = {"channels": channels(1)}
    return Fields([[path]], None, "cut short", card, by_channel=True)


@case
def tiff_ring_of_pages(folder: Path) -> Fields:
    path = tiff(folder / "a.tif", noise(24, 30))
    content = bytearray(path.read_bytes())
    first = struct.unpack("<I", content[4:8])[0]
    tags = struct.unpack("<H", content[first : first + 2])[0]
    at = first + 2 + 12 * tags
    content[at : at + 4] = struct.pack("<I", first)
    path.write_bytes(content)
    return refused(path, "damaged|circular|holds|channels", channels=channels(1))


@case
def imagej_fewer_planes_than_it_says(folder: Path) -> Fields:
    path = folder / "a.tif"
    tifffile.imwrite(path, noise(6, 2, 24, 30), imagej=True, metadata={"axes": "ZCYX"})
    text = tifffile.tiffcomment(path)
    assert "slices=6" in text
    tifffile.tiffcomment(
        path, text.replace("slices=6", "slices=9").replace("images=12", "images=18")
    )
    return refused(path, "cut short|18 planes|damaged")


@case
def imagej_signed_calibration(folder: Path) -> Fields:
    path = folder / "a.tif"
    tifffile.imwrite(path, noise(2, 24, 30), imagej=True, metadata={"axes": "CYX"})
    text = tifffile.tiffcomment(path)
    tifffile.tiffcomment(path, text + "cf=0\nc0=-32768.0\nc1=1.0\nvunit=gray value\n")
    return refused(path, "signed")


@case
def imagej_other_calibration_is_named(folder: Path) -> Fields:
    path, image = folder / "a.tif", noise(2, 24, 30)
    tifffile.imwrite(path, image, imagej=True, metadata={"axes": "CYX"})
    text = tifffile.tiffcomment(path)
    tifffile.tiffcomment(path, text + "cf=0\nc0=0.0\nc1=0.5\nvunit=uM\n")
    return read(path, image, message="calibration")


@case
def imagej_frames_against_the_cards_order(folder: Path) -> Fields:
    path = folder / "a.tif"
    tifffile.imwrite(path, noise(2, 24, 30), imagej=True, metadata={"axes": "TYX"})
    return refused(path, "time", channel_order="first")


@case
def time_taken_for_z(folder: Path) -> Fields:
    path = folder / "a.ome.tif"
    tifffile.imwrite(path, noise(5, 2, 24, 30), metadata={"axes": "TCYX"})
    return refused(path, "time", channel_order="first")


@case
def named_axes_against_channels_last(folder: Path) -> Fields:
    path = folder / "a.ome.tif"
    tifffile.imwrite(path, noise(2, 24, 2), metadata={"axes": "CYX"})
    return refused(path, "names its axes", channel_order="last")


@case
def ome_second_scene_smaller(folder: Path) -> Fields:
    path, image = folder / "a.ome.tif", noise(2, 24, 30)
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(image, metadata={"axes": "CYX"}, photometric="minisblack")
        writer.write(noise(2, 12, 15), metadata={"axes": "CYX"}, photometric="minisblack")
    return read(path, image, message="12 x 15.*left out")


@case
def ome_second_scene_as_large(folder: Path) -> Fields:
    path = folder / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        for _ in range(2):
            writer.write(noise(2, 24, 30), metadata={"axes": "CYX"}, photometric="minisblack")
    return refused(path, "holds 2 images")


@case
def tiff_thumbnail_first(folder: Path) -> Fields:
    path = folder / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        options: dict[str, Any] = {"photometric": "minisblack", "metadata": None}
        writer.write(noise(12, 15), subfiletype=1, **options)
        writer.write(noise(24, 30), **options)
    return refused(path, "holds 2 images|reduced", channels=channels(1))


@case
def tiff_full_size_in_a_sub_directory(folder: Path) -> Fields:
    path = folder / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        options: dict[str, Any] = {"photometric": "minisblack", "metadata": None}
        writer.write(noise(12, 15), subfiletype=1, subifds=1, **options)
        writer.write(noise(24, 30), **options)
    return refused(path, "holds 2 images", channels=channels(1))


@case
def tiff_pyramid(folder: Path) -> Fields:
    path, image = folder / "a.ome.tif", noise(2, 64, 64)
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(image, subifds=1, metadata={"axes": "CYX"}, photometric="minisblack")
        writer.write(image[:, ::2, ::2], subfiletype=1, photometric="minisblack")
    return read(path, image)


def part_of_a_set(folder: Path, planes: int) -> tuple[Path, Array]:
    """Return an OME-TIFF whose metadata put its other channel into a file that is not there."""
    path, image = folder / "a.ome.tif", noise(planes, 24, 30)
    tifffile.imwrite(path, image, metadata={"axes": "ZYX"}, photometric="minisblack")
    xml = tifffile.tiffcomment(path)
    own = xml[xml.index("urn:uuid") :].split('"')[0]
    other = own[:-1] + ("0" if own[-1] != "0" else "1")
    parts = "".join(
        f'<TiffData IFD="0" FirstC="{i}" PlaneCount="{planes}"><UUID FileName="{name}">{uuid}'
        "</UUID></TiffData>"
        for i, (name, uuid) in enumerate(((path.name, own), ("b.ome.tif", other)))
    )
    xml = re.sub(r"<TiffData.*</TiffData>|<TiffData[^>]*/>", parts, xml, flags=re.DOTALL)
    tifffile.tiffcomment(path, xml.replace('SizeC="1"', 'SizeC="2"').encode())
    return path, image


@case
def ome_companion_missing(folder: Path) -> Fields:
    path, _ = part_of_a_set(folder, 2)
    return refused(path, "in other files")


@case
def ome_one_plane_of_a_set(folder: Path) -> Fields:
    path, image = part_of_a_set(folder, 1)
    return read(path, image, channels=channels(1))


@case
def ome_fewer_pages_than_planes(folder: Path) -> Fields:
    path = folder / "a.ome.tif"
    tifffile.imwrite(path, noise(2, 24, 30), metadata={"axes": "CYX"}, photometric="minisblack")
    xml = tifffile.tiffcomment(path)
    xml = xml.replace('SizeC="2"', 'SizeC="4"').replace('PlaneCount="2"', 'PlaneCount="4"')
    tifffile.tiffcomment(path, xml.encode())
    return refused(path, "out of range|missing", channels=channels(4))


@case
def ome_other_plane_size(folder: Path) -> Fields:
    path = folder / "a.ome.tif"
    tifffile.imwrite(path, noise(2, 24, 30), metadata={"axes": "CYX"}, photometric="minisblack")
    xml = tifffile.tiffcomment(path).replace('SizeX="30"', 'SizeX="15"')
    tifffile.tiffcomment(path, xml.encode())
    return refused(path, "metadata")


def named(path: Path, image: Array, names: list[str], size: float | None = None) -> Path:
    metadata: dict[str, Any] = {"axes": "CYX", "Channel": {"Name": names}}
    if size is not None:
        metadata |= {"PhysicalSizeX": size, "PhysicalSizeXUnit": "µm"}
        metadata |= {"PhysicalSizeY": size, "PhysicalSizeYUnit": "µm"}
    tifffile.imwrite(path, image, metadata=metadata, photometric="minisblack")
    return path


@case
def channels_in_another_order_in_one_field(folder: Path) -> Fields:
    paths = [
        named(folder / "a.ome.tif", noise(2, 24, 30), ["DAPI", "GFP"]),
        named(folder / "b.ome.tif", noise(2, 24, 30), ["GFP", "DAPI"]),
    ]
    return Fields([[path] for path in paths], None, "channels")


@case
def channels_in_another_order_than_the_cards(folder: Path) -> Fields:
    path = named(folder / "a.ome.tif", noise(2, 24, 30), ["Protein", "Nucleus"])
    return refused(path, "names its channels")


@case
def another_stain_in_one_field(folder: Path) -> Fields:
    image = noise(2, 24, 30)
    paths = [
        named(folder / "a.ome.tif", image, ["DAPI", "GFP"]),
        named(folder / "b.ome.tif", image[..., ::-1], ["DAPI", "mCherry"]),
    ]
    return Fields([[path] for path in paths], [image, image[..., ::-1]], "mCherry")


@case
def channels_named_alike(folder: Path) -> Fields:
    image = noise(2, 24, 30)
    paths = [
        named(folder / "a.ome.tif", image, ["DAPI", "GFP"]),
        named(folder / "b.ome.tif", image[..., ::-1], ["dapi", "gfp "]),
        tiff(folder / "c.tif", image[:, ::-1]),
    ]
    images = [image, image[..., ::-1], image[:, ::-1]]
    return Fields([[path] for path in paths], images)


@case
def pixel_sizes_that_differ(folder: Path) -> Fields:
    paths = [
        named(folder / "a.ome.tif", noise(2, 24, 30), ["DAPI", "GFP"], 0.1),
        named(folder / "b.ome.tif", noise(2, 24, 30), ["DAPI", "GFP"], 0.2),
    ]
    return Fields([[path] for path in paths], None, "pixel size")


@case
def pixel_size_in_other_units(folder: Path) -> Fields:
    image = noise(2, 24, 30)
    one = named(folder / "a.ome.tif", image, ["DAPI", "GFP"], 0.1)
    other = named(folder / "b.ome.tif", image[..., ::-1], ["DAPI", "GFP"], 100)
    xml = tifffile.tiffcomment(other).replace("µm", "nm").replace("&#181;m", "nm")
    assert "nm" in xml
    tifffile.tiffcomment(other, xml.encode())
    return Fields([[one], [other]], [image, image[..., ::-1]])


@case
def pixel_size_other_than_the_cards(folder: Path) -> Fields:
    image = noise(2, 24, 30)
    path = named(folder / "a.ome.tif", image, ["DAPI", "GFP"], 0.1)
    return read(path, image, message="0.1 um.*0.5", pixel_size_um=0.5)


@case
def imagej_pixel_sizes_that_differ(folder: Path) -> Fields:
    paths = []
    for name, size in (("a", 0.1), ("b", 0.3)):
        path = folder / f"{name}.tif"
        options: dict[str, Any] = {"resolution": (1 / size, 1 / size), "imagej": True}
        tifffile.imwrite(path, noise(2, 24, 30), metadata={"axes": "CYX", "unit": "um"}, **options)
        paths.append(path)
    return Fields([[path] for path in paths], None, "pixel size")


@case
def tiff_turned(folder: Path) -> Fields:
    image = noise(24, 30)
    path = tiff(folder / "a.tif", image, extratags=[(274, 3, 1, 6, True)])
    return refused(path, "orientation 6", channels=channels(1))


@case
def tiff_float_with_a_range(folder: Path) -> Fields:
    image = noise(24, 30).astype(np.float32)
    path = tiff(folder / "a.tif", image, extratags=[(340, 11, 1, 0.0, True)])
    return refused(path, "float32", channels=channels(1))


@case
def tiff_signed(folder: Path) -> Fields:
    return refused(
        tiff(folder / "a.tif", noise(24, 30).astype(np.int16)), "int16", channels=channels(1)
    )


@case
def tiff_of_four_bits(folder: Path) -> Fields:
    path = tiff(folder / "a.tif", noise(24, 32, dtype="uint8"))
    overwrite(path, "BitsPerSample", 4)
    return refused(path, "4 bits", channels=channels(1))


@case
def tiff_of_twelve_packed_bits(folder: Path) -> Fields:
    image = noise(24, 32) >> 4
    pairs = image.reshape(-1, 2).astype(np.uint32)
    packed = (pairs[:, 0] << 12) | pairs[:, 1]
    content = b"".join(int(p).to_bytes(3, "big") for p in packed)
    path = folder / "a.tif"
    tiff(path, np.frombuffer(content, np.uint8).reshape(24, 48))
    overwrite(path, "BitsPerSample", 12)
    overwrite(path, "ImageWidth", 32)
    return read(path, image[None], channels=channels(1))


@case
def tiff_with_a_transparency_mask(folder: Path) -> Fields:
    path = folder / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(noise(24, 30), photometric="minisblack", metadata=None)
        writer.write(noise(24, 30) > 9, photometric="mask", subfiletype=4, metadata=None)
    return refused(path, "holds 2 images", channels=channels(1))


@case
def ome_signed_type(folder: Path) -> Fields:
    path = folder / "a.ome.tif"
    tifffile.imwrite(path, noise(2, 24, 30), metadata={"axes": "CYX"}, photometric="minisblack")
    xml = tifffile.tiffcomment(path).replace('Type="uint16"', 'Type="int16"')
    tifffile.tiffcomment(path, xml.encode())
    return refused(path, "signed")


@case
def tiff_packed_by_gzip(folder: Path) -> Fields:
    path = tiff(folder / "a.tif", noise(24, 30))
    path.write_bytes(gzip.compress(path.read_bytes()))
    return refused(path, "gzip", channels=channels(1))


@case
def ome_fewer_planes_than_pages(folder: Path) -> Fields:
    path, image = folder / "a.ome.tif", noise(3, 24, 30)
    options: dict[str, Any] = {"metadata": {"axes": "CYX"}, "photometric": "minisblack"}
    tifffile.imwrite(path, image, **options)
    xml = tifffile.tiffcomment(path)
    xml = xml.replace('SizeC="3"', 'SizeC="2"').replace('PlaneCount="3"', 'PlaneCount="2"')
    tifffile.tiffcomment(path, xml.encode())
    return read(path, image[:2], message="1 further image .*planes.* left out")


@case
def tiff_of_twelve_bits_in_sixteen(folder: Path) -> Fields:
    image = noise(24, 30) >> 4
    path = tiff(folder / "a.tif", image, extratags=[(281, 3, 1, 4095, True)])
    return read(path, image[None], message="12 bits", channels=channels(1))


@case
def tiff_of_twelve_bits_with_a_range(folder: Path) -> Fields:
    image = noise(24, 30) >> 4
    path = tiff(folder / "a.tif", image, extratags=[(281, 3, 1, 4095, True)])
    card = {"channels": channels(1), "intensity_range": {"nucleus": [0, 4095]}}
    return read(path, image[None], **card)


def coded(folder: Path, compression: str) -> tuple[Path, Array, int, int]:
    """Write a TIFF of one coded stream; return it, its image, and the stream's place and length."""
    image = noise(48, 48)
    path = tiff(folder / "a.tif", image, compression=compression)
    with tifffile.TiffFile(path) as file:
        (offset,), (count,) = file.pages[0].dataoffsets, file.pages[0].databytecounts
    return path, image, offset, count


@case
def tiff_jpeg_2000(folder: Path) -> Fields:
    path, image, _, _ = coded(folder, "jpeg2000")
    return read(path, image[None], channels=channels(1))


@case
def tiff_jpeg_2000_whose_second_half_is_zero(folder: Path) -> Fields:
    path, _, offset, count = coded(folder, "jpeg2000")
    content = path.read_bytes()
    start, end = offset + count // 2, offset + count
    path.write_bytes(content[:start] + bytes(end - start) + content[end:])
    return refused(path, "parts of the JPEG 2000 in it are missing", channels=channels(1))


@case
def tiff_jpeg_xr(folder: Path) -> Fields:
    path, image, _, _ = coded(folder, "jpegxr")
    return read(path, image[None], channels=channels(1))


@case
def tiff_jpeg_xr_cut(folder: Path) -> Fields:
    path, _, _, count = coded(folder, "jpegxr")
    overwrite(path, "StripByteCounts", count * 9 // 10)
    return refused(path, "parts of the JPEG XR in it are missing", channels=channels(1))


@case
def tiff_jpeg_xr_whose_end_is_zero(folder: Path) -> Fields:
    path, _, offset, count = coded(folder, "jpegxr")
    content = path.read_bytes()
    start, end = offset + count * 9 // 10, offset + count
    path.write_bytes(content[:start] + bytes(end - start) + content[end:])
    return refused(path, "JPEG XR", channels=channels(1))


def labelled(path: Path, image: Array, labels: list[str]) -> Path:
    return tiff(path, image, imagej=True, metadata={"axes": "CYX", "Labels": labels})


@case
def imagej_slices_labelled_in_another_order(folder: Path) -> Fields:
    path = labelled(folder / "a.tif", noise(2, 32, 32), ["c:1/2 - protein", "c:2/2 - nucleus"])
    return refused(path, "names its channels protein, nucleus")


@case
def imagej_slices_labelled_in_another_order_in_one_field(folder: Path) -> Fields:
    one = labelled(folder / "a.tif", noise(2, 32, 32), ["DAPI", "GFP"])
    other = labelled(folder / "b.tif", noise(2, 32, 32) + 1, ["GFP", "DAPI"])
    return Fields([[one], [other]], None, "b.tif: labels its channels GFP, DAPI")


@case
def imagej_slices_labelled_after_files(folder: Path) -> Fields:
    images = noise(2, 32, 32), noise(2, 32, 32)[::-1].copy()
    images[1][:] += 1
    files = [
        [labelled(folder / f"{name}.tif", image, [f"{name}_1.tif", f"{name}_2.tif"])]
        for name, image in zip("ab", images, strict=True)
    ]
    return Fields(files, list(images))


@case
def tiff_whose_end_was_never_written(folder: Path) -> Fields:
    image = noise(48, 48)
    path = tiff(folder / "a.tif", image)
    with tifffile.TiffFile(path) as file:
        (offset,), (count,) = file.pages[0].dataoffsets, file.pages[0].databytecounts
    content = path.read_bytes()
    kept = count // 2 + 11
    path.write_bytes(content[: offset + kept] + bytes(count - kept) + content[offset + count :])
    there = image.copy()
    there.view("uint8").reshape(-1)[kept:] = 0
    said = "the last 23 of 48 rows of channel nucleus are 0, .* may not be complete"
    return read(path, there[None], message=said, channels=channels(1))


@case
def tiff_with_a_black_background(folder: Path) -> Fields:
    image = np.zeros((48, 48), "uint16")
    image[8:24, 8:24] = noise(16, 16)
    path = tiff(folder / "a.tif", image)
    return read(path, image[None], channels=channels(1))
