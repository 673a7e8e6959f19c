"""PNG and JPEG files: colours, opacity, rotation, several images in one file, damage."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
from corpus_cases import Array, Fields, case, channels, noise, read, refused
from PIL import Image

ONE = {"channels": channels(1)}
THREE = {"channels": channels(3)}


def smooth(height: int, width: int, *more: int) -> Array:
    """Return uint8 values of large, soft patches, as JPEG is made for."""
    small = noise(-(-height // 8), -(-width // 8), *more, dtype="uint8")
    return np.repeat(np.repeat(small, 8, 0), 8, 1)[:height, :width]


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at < len(content):
        length, name = struct.unpack(">I4s", content[at : at + 8])
        yield name, content[at + 8 : at + 8 + length]
        at += length + 12


def png(path: Path, image: Array, **options: object) -> Path:
    path.write_bytes(imagecodecs.png_encode(image, **options))
    return path


def rewritten(path: Path, edit: dict[bytes, bytes | None], before: dict[bytes, bytes]) -> Path:
    """Replace or drop chunks of a PNG, and put others in front of some."""
    parts = [path.read_bytes()[:8]]
    for name, body in chunks(path.read_bytes()):
        parts += [before.pop(name, b"")]
        new = edit.get(name, body)
        parts += [] if new is None else [chunk(name, new)]
    path.write_bytes(b"".join(parts))
    return path


@case
def png_grey_with_a_transparent_value(folder: Path) -> Fields:
    image = noise(24, 30, dtype="uint8")
    path = png(folder / "a.png", image)
    before = {b"IDAT": chunk(b"tRNS", struct.pack(">H", 7))}
    return read(rewritten(path, {}, before), image[None], **ONE)


@case
def png_of_16_bits_with_a_transparent_value(folder: Path) -> Fields:
    image = noise(24, 30)
    path = png(folder / "a.png", image)
    before = {b"IDAT": chunk(b"tRNS", struct.pack(">H", 7))}
    return read(rewritten(path, {}, before), image[None], **ONE)


@case
def png_rgb_with_a_transparent_colour(folder: Path) -> Fields:
    image = noise(24, 30, 3, dtype="uint8")
    path = png(folder / "a.png", image)
    before = {b"IDAT": chunk(b"tRNS", struct.pack(">HHH", 1, 2, 3))}
    return read(rewritten(path, {}, before), np.moveaxis(image, -1, 0), **THREE)


@case
def png_of_16_bits(folder: Path) -> Fields:
    image = noise(24, 30)
    return read(png(folder / "a.png", image), image[None], **ONE)


@case
def png_with_gamma_and_background(folder: Path) -> Fields:
    image = noise(24, 30, 2, dtype="uint8")
    extra = chunk(b"gAMA", struct.pack(">I", 100_000)) + chunk(b"bKGD", struct.pack(">H", 9))
    path = rewritten(png(folder / "a.png", image), {}, {b"IDAT": extra})
    return read(path, np.moveaxis(image, -1, 0)[:1], **ONE)


@case
def png_interlaced(folder: Path) -> Fields:
    # One pixel: the first of seven passes is the whole image.
    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 1)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\x00\x2a"))
    (folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b""))
    return refused(folder / "a.png", "constant", **ONE)


@case
def png_palette(folder: Path) -> Fields:
    path = folder / "a.png"
    Image.fromarray(smooth(24, 30)).convert("P").save(path)
    return refused(path, "palette", **ONE)


@case
def png_of_one_bit(folder: Path) -> Fields:
    path = folder / "a.png"
    Image.fromarray(smooth(24, 30)).convert("1").save(path)
    return refused(path, "1 bits", **ONE)


@case
def png_animated(folder: Path) -> Fields:
    path = folder / "a.png"
    frames = [Image.fromarray(smooth(24, 30) // n) for n in (1, 2)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    return refused(path, "2 images", **ONE)


@case
def png_without_its_end(folder: Path) -> Fields:
    path = png(folder / "a.png", noise(24, 30))
    path.write_bytes(path.read_bytes()[:-12])
    return refused(path, "cut short", **ONE)


@case
def png_without_pixels(folder: Path) -> Fields:
    path = rewritten(png(folder / "a.png", noise(24, 30)), {b"IDAT": None}, {})
    return refused(path, "PNG", **ONE)


@case
def png_with_half_its_pixels(folder: Path) -> Fields:
    image = noise(24, 30, dtype="uint8")
    rows = b"".join(b"\x00" + bytes(row) for row in image[:12])
    path = rewritten(png(folder / "a.png", image), {b"IDAT": zlib.compress(rows)}, {})
    return refused(path, "PNG", **ONE)


@case
def png_with_a_wrong_sum(folder: Path) -> Fields:
    path = png(folder / "a.png", noise(24, 30))
    content = bytearray(path.read_bytes())
    at = content.index(b"IEND") - 8
    content[at] ^= 255  # the checksum of the pixels
    path.write_bytes(content)
    return refused(path, "PNG", **ONE)


@case
def gif_is_not_known(folder: Path) -> Fields:
    Image.fromarray(smooth(24, 30)).save(folder / "a.gif")
    return refused(folder / "a.gif", "not an image of a known format", **ONE)


@case
def webp_is_not_known(folder: Path) -> Fields:
    Image.fromarray(smooth(24, 30, 3)).save(folder / "a.webp")
    return refused(folder / "a.webp", "not an image of a known format", **THREE)


def jpeg(image: Array, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "jpeg", **{"quality": 95, "subsampling": 0, **options})
    return buffer.getvalue()


def decoded(content: bytes) -> Array:
    pixels = np.atleast_3d(np.asarray(Image.open(io.BytesIO(content))))
    return np.moveaxis(pixels, -1, 0)


def jpeg_file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def with_thumbnail(content: bytes) -> bytes:
    """Put a small JPEG into the metadata of another, as cameras do."""
    small = jpeg(smooth(16, 16))
    segment = b"Exif\x00\x00" + small
    return content[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + content[2:]


@case
def jpeg_with_a_thumbnail(folder: Path) -> Fields:
    content = with_thumbnail(jpeg(smooth(64, 64)))
    return read(jpeg_file(folder / "a.jpg", content), decoded(content), **ONE)


@case
def jpeg_cut_after_its_thumbnail(folder: Path) -> Fields:
    content = with_thumbnail(jpeg(noise(64, 64, dtype="uint8")))
    path = jpeg_file(folder / "a.jpg", content[: len(content) * 2 // 3])
    return refused(path, "cut short", **ONE)


@case
def jpeg_cut_before_its_pixels(folder: Path) -> Fields:
    content = with_thumbnail(jpeg(smooth(64, 64)))
    path = jpeg_file(folder / "a.jpg", content[: content.rindex(b"\xff\xda")])
    return refused(path, "JPEG", **ONE)


@case
def jpeg_that_lost_its_second_half_but_not_its_end(folder: Path) -> Fields:
    content = jpeg(noise(64, 64, dtype="uint8"))
    path = jpeg_file(folder / "a.jpg", content[: len(content) * 2 // 3] + b"\xff\xd9")
    return refused(path, "parts of the JPEG", **ONE)


@case
def jpeg_that_lost_bytes_in_the_middle(folder: Path) -> Fields:
    content = jpeg(noise(64, 64, dtype="uint8"))
    half = len(content) // 2
    path = jpeg_file(folder / "a.jpg", content[:half] + content[half + 400 :])
    return refused(path, "JPEG", **ONE)


@case
def jpeg_progressive_that_lost_its_second_half(folder: Path) -> Fields:
    content = jpeg(noise(64, 64, dtype="uint8"), progressive=True)
    path = jpeg_file(folder / "a.jpg", content[: len(content) // 3] + b"\xff\xd9")
    return refused(path, "JPEG", **ONE)


@case
def jpeg_with_restarts_that_lost_one_part(folder: Path) -> Fields:
    content = jpeg(noise(64, 64, dtype="uint8"), restart_marker_rows=1)
    start, end = content.index(b"\xff\xd2"), content.index(b"\xff\xd3")
    path = jpeg_file(folder / "a.jpg", content[: start + 30] + content[end:])
    return refused(path, "JPEG", **ONE)


@case
def jpeg_with_restarts(folder: Path) -> Fields:
    content = jpeg(noise(64, 64, dtype="uint8"), restart_marker_rows=1)
    return read(jpeg_file(folder / "a.jpg", content), decoded(content), **ONE)


@case
def jpeg_progressive_in_colour(folder: Path) -> Fields:
    content = jpeg(noise(60, 52, 3, dtype="uint8"), progressive=True)
    return read(jpeg_file(folder / "a.jpg", content), decoded(content), **THREE)


@case
def jpeg_with_fill_bytes(folder: Path) -> Fields:
    content = jpeg(smooth(64, 64))
    at = content.index(b"\xff\xdb")
    filled = content[:at] + b"\xff\xff\xff" + content[at:]
    return read(jpeg_file(folder / "a.jpg", filled), decoded(content), **ONE)


@case
def jpeg_with_bytes_after_its_end(folder: Path) -> Fields:
    content = jpeg(smooth(64, 64))
    return read(jpeg_file(folder / "a.jpg", content + bytes(700)), decoded(content), **ONE)


@case
def jpeg_of_several_pictures(folder: Path) -> Fields:
    path = folder / "a.jpg"
    frames = [Image.fromarray(smooth(64, 64) // n) for n in (1, 2)]
    frames[0].save(path, "mpo", save_all=True, append_images=frames[1:])
    with Image.open(path) as image:
        pixels = np.asarray(image)[None]
    return read(path, pixels, message="left out", **ONE)


@case
def jpeg_cmyk(folder: Path) -> Fields:
    content = io.BytesIO()
    Image.fromarray(smooth(64, 64, 4), "CMYK").save(content, "jpeg")
    path = jpeg_file(folder / "a.jpg", content.getvalue())
    return refused(path, "4 components", channels=channels(4))


@case
def jpeg_turned(folder: Path) -> Fields:
    image = Image.fromarray(smooth(64, 48))
    exif = image.getexif()
    exif[274] = 8
    image.save(folder / "a.jpg", exif=exif, quality=95)
    return refused(folder / "a.jpg", "orientation 8", **ONE)


def exif(orientation: int) -> bytes:
    entry = struct.pack("<HHII", 274, 3, 1, orientation)
    return b"II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)


@case
def png_turned(folder: Path) -> Fields:
    path = png(folder / "a.png", noise(32, 32, dtype="uint8"))
    rewritten(path, {}, {b"IDAT": chunk(b"eXIf", exif(6))})
    return refused(path, "turned or mirrored", channels=channels(1))


@case
def png_turned_as_its_end_says(folder: Path) -> Fields:
    path = png(folder / "a.png", noise(32, 32, dtype="uint8"))
    rewritten(path, {}, {b"IEND": chunk(b"eXIf", exif(3))})
    return refused(path, "turned or mirrored", channels=channels(1))


@case
def png_upright_with_exif(folder: Path) -> Fields:
    image = noise(32, 32, dtype="uint8")
    path = png(folder / "a.png", image)
    rewritten(path, {}, {b"IEND": chunk(b"eXIf", exif(1))})
    return read(path, image[None], channels=channels(1))


@case
def jpeg_with_much_after_its_end(folder: Path) -> Fields:
    content = jpeg(smooth(32, 32))
    path = jpeg_file(folder / "a.jpg", content + bytes(200_000))
    return read(path, decoded(content), channels=channels(1))
