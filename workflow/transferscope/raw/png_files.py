"""PNG files: their header, whether they are whole, and their samples without added opacity."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import imagecodecs
import numpy as np

from transferscope.raw.headers import (
    MAKE_AGAIN,
    Header,
    check_size,
    plain_header,
    problem_with,
    turned,
)
from transferscope.raw.jpeg_files import orientation_of
from transferscope.runtime.arrays import Pixels
from transferscope.transport.files import RawFile, size_of

START = b"\x89PNG\r\n\x1a\n"
END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
SAMPLES = {0: 1, 2: 3, 4: 2, 6: 4}  # per colour type: grey, RGB, both with opacity
PALETTE = 3
WHOLE_BYTES = 8
MOST_EXIF = 1 << 16


def png_header(path: RawFile, *, mask: bool) -> Header:
    """Read the header of a PNG, and check that its end is there.

    Parameters
    ----------
    path
        The file.
    mask
        Whether its values are numbers, whatever colours they are shown in.
    """
    frames = 1
    with path.open("rb") as file:
        chunks = _chunks(path, file)
        name, start = next(chunks)
        if name != b"IHDR":
            raise problem_with(path, "the PNG has no header", MAKE_AGAIN)
        width, height, bits, colour = struct.unpack(">IIBB", start[:10])
        samples = SAMPLES.get(colour, 1)
        dtype = np.dtype(np.uint8 if bits <= 8 else np.uint16)
        header = plain_header(path, (height, width), samples, dtype, alpha=samples % 2 == 0)
        check_size(header)
        for name, start in chunks:
            if name == b"eXIf":
                _check_upright(path, start)
            if name == b"acTL":
                frames = int.from_bytes(start[:4], "big")
            if name == b"IDAT":  # what matters stands before the pixels
                break
        else:
            raise problem_with(path, "the PNG holds no pixels: it is cut short", MAKE_AGAIN)
        # A few bytes tell of most files; where others follow the end, all chunks are gone over.
        if not _ends(path, file) and not any(name == b"IEND" for name, _ in _chunks(path, file)):
            raise problem_with(path, "the PNG is cut short", MAKE_AGAIN)
    if not mask and (colour == PALETTE or bits not in (8, 16)):
        what = f"is a PNG with {'a colour palette' if colour == PALETTE else f'{bits} bits'}"
        raise problem_with(path, what, "Save it as 8- or 16-bit grey or RGB.")
    if frames > 1:
        what = f"holds {frames} images (an animated PNG)"
        raise problem_with(path, what, "Save one image per file.")
    return header


def _check_upright(path: RawFile, exif: bytes) -> None:
    if (orientation := orientation_of(exif)) != 1:
        raise turned(path, orientation)


def read_png(path: RawFile, samples: int) -> Pixels:
    """Decode a PNG.

    Parameters
    ----------
    path
        The file.
    samples
        Samples per pixel, as its header says.

    Returns
    -------
    ndarray
        [H, W], or [H, W, samples]. Where a chunk names one value as transparent (tRNS), the opacity
        that the decoder adds is left out: it is no sample of the file. Of colours in a palette,
        their places in it.
    """
    content = path.read_bytes()
    if b"eXIf" in content:  # it may stand behind the pixels, too
        for name, start in _chunks(path, io.BytesIO(content)):
            if name == b"eXIf":
                _check_upright(path, start)
    bits, colour = content[24], content[25]
    if colour == PALETTE:
        content = _without_palette(content)
    pixels: Pixels = imagecodecs.png_decode(content)
    if pixels.ndim == 3 and pixels.shape[2] == samples + 1:
        pixels = pixels[..., :samples]
    if bits < WHOLE_BYTES:  # the decoder has stretched them to 8
        pixels = pixels // (255 // ((1 << bits) - 1))
    return pixels[..., 0] if pixels.ndim == 3 and samples == 1 else pixels


def _without_palette(content: bytes) -> bytes:
    """Return a PNG whose values are the places in its palette, as grey values."""
    header = content[12:25] + b"\x00" + content[26:29]  # name and body of IHDR
    parts, at = [content[:12], header, zlib.crc32(header).to_bytes(4, "big")], 33
    while at < len(content):
        length, name = struct.unpack(">I4s", content[at : at + 8])
        if name not in (b"PLTE", b"tRNS", b"bKGD", b"hIST"):
            parts.append(content[at : at + length + 12])
        at += length + 12
    return b"".join(parts)


def _ends(path: RawFile, file: BinaryIO) -> bool:
    """Return whether the last chunk of a PNG is its end; true of all that are not cut short."""
    file.seek(max(0, size_of(path) - len(END)))
    return file.read() == END


def _chunks(path: RawFile, file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yield (name, first bytes, of Exif data all) of each chunk that is wholly there."""
    size = size_of(path)
    file.seek(len(START))
    while len(head := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", head)
        body = file.tell()
        if body + length + 4 > size:
            return
        yield name, file.read(min(length, MOST_EXIF if name == b"eXIf" else 16))
        file.seek(body + length + 4)
