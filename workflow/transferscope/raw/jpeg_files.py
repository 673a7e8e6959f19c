"""JPEG files: the frame header, and whether all of the coded pixels are there.

Decoders fill what is missing with grey and say nothing. The coded pixels end at a marker; bytes
that are put in front of it are left over where the pixels are complete, and decoded as pixels where
they are not. So a JPEG is complete if it decodes to the same values with such bytes (ITU-T T.81,
B.1).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import BinaryIO

import imagecodecs
import numpy as np

from transferscope.raw.headers import (
    MAKE_AGAIN,
    Header,
    Note,
    left_out,
    plain_header,
    problem_with,
    turned,
)
from transferscope.runtime.arrays import Pixels
from transferscope.transport.files import RawFile, size_of

FRAME_MARKERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
ONE_PASS = {0xC0, 0xC1}  # of the frames, those that are not progressive
RESTARTS = range(0xD0, 0xD8)
WITHOUT_LENGTH = {0x01, *RESTARTS, 0xD8}
END, SCAN, RESTART_INTERVAL = 0xD9, 0xDA, 0xDD
APPLICATION_1, APPLICATION_2 = 0xE1, 0xE2
END_BYTES = b"\xff\xd9"
TAIL_BYTES = 1 << 16
# Any bytes but 0xFF, long enough for several blocks of pixels.
FILLING = bytes(range(1, 252, 2)) * 2
# Encoders may put a few zeros behind the last pixel.
LAST_BYTES = 8
LAST_ROWS = 16
# More zeros at the end are no values.
MOST_ZEROS = 16
EXIF = b"Exif\x00\x00"
ORIENTATION = 274
MULTI_PICTURE = b"MPF\x00"


# Of a coded stream, what it decodes to, and the decoder: whether all of it is there.
Whole = Callable[[bytes, Pixels, Callable[[bytes], Pixels]], bool]


@dataclass(frozen=True)
class _Frame:
    """What stands before the coded pixels.

    Parameters
    ----------
    bits, height, width, components
        From the frame header (B.2.2).
    orientation
        From the Exif data; 1: upright.
    pictures
        Whether the file says that other pictures follow.
    scan
        Where the first scan begins.
    """

    bits: int
    height: int
    width: int
    components: int
    orientation: int
    pictures: bool
    scan: int


def jpeg_header(path: RawFile) -> Header:
    """Read the header of a JPEG, and check that its end is there."""
    size = size_of(path)
    with path.open("rb") as file:
        frame = _frame(path, file)
        # Not the end of a small picture among the metadata: only what follows the scan counts.
        file.seek(max(frame.scan, size - TAIL_BYTES))
        if END_BYTES not in file.read():
            file.seek(frame.scan)  # much may follow the end
            if END_BYTES not in file.read():
                raise problem_with(path, "the JPEG is cut short", MAKE_AGAIN)
    if frame.bits != 8 or frame.components not in (1, 3):
        what = f"is a JPEG with {frame.bits} bits and {frame.components} components"
        raise problem_with(path, what, "Save it as 8-bit grey or RGB.")
    if frame.orientation != 1:
        raise turned(path, frame.orientation)
    notes: tuple[Note, ...] = (left_out(1),) if frame.pictures else ()
    plane = frame.height, frame.width
    dtype = np.dtype(np.uint8)
    return plain_header(path, plane, frame.components, dtype, alpha=False, notes=notes)


def read_jpeg(path: RawFile) -> Pixels:
    """Decode a JPEG, and check that all of its pixels are there."""
    content = path.read_bytes()
    pixels: Pixels = imagecodecs.jpeg8_decode(content)
    if not is_whole(content, pixels, imagecodecs.jpeg8_decode):
        raise problem_with(path, "parts of the JPEG are missing or damaged", MAKE_AGAIN)
    return pixels


def is_whole(content: bytes, pixels: Pixels, decode: Callable[[bytes], Pixels]) -> bool:
    """Return whether all coded pixels of a JPEG are there, and all were needed.

    Parameters
    ----------
    content
        The file, or the stream within another one.
    pixels
        What it decodes to.
    decode
        The decoder.
    """
    pieces = list(_coded(content))
    if not pieces or any(end is None for _, end in pieces):
        return False
    if _parts(content) not in (None, len(pieces)):
        return False
    ends = [end for _, end in pieces if end is not None]
    filled = b"".join(
        content[start:end] + FILLING * (end in ends)
        for start, end in pairwise([0, *ends, len(content)])
    )
    if not np.array_equal(pixels, decode(filled)):
        return False
    # Where bytes are lost in the middle, the rest may be decoded to other pixels, and fewer of its
    # bytes: then its last ones do not matter. In several scans they need not.
    (start, _), end = pieces[0], ends[0]
    flat = not np.ptp(pixels[-LAST_ROWS:], axis=(0, 1)).any()
    if len(pieces) > 1 or end - start < 2 * LAST_BYTES or flat:
        return True
    tails = (FILLING[i : i + LAST_BYTES] for i in range(0, 4 * LAST_BYTES, LAST_BYTES))
    changed = (content[: end - LAST_BYTES] + tail + content[end:] for tail in tails)
    return any(not np.array_equal(pixels, decode(one)) for one in changed)


def is_ended(content: bytes, pixels: Pixels, decode: Callable[[bytes], Pixels]) -> bool:
    """Return whether the end of a JPEG 2000 is there, which no other bytes of it look like.

    Parameters
    ----------
    content, pixels, decode
        As in `is_whole`.
    """
    return END_BYTES in content


def is_filled(content: bytes, pixels: Pixels, decode: Callable[[bytes], Pixels]) -> bool:
    """Return whether bytes that are put behind a JPEG XR, or in place of its last zeros, are none.

    Parameters
    ----------
    content, pixels, decode
        As in `is_whole`.
    """
    data = content.rstrip(b"\0")
    few_zeros = len(content) - len(data) < MOST_ZEROS
    return np.array_equal(pixels, decode((content if few_zeros else data) + FILLING))


def _coded(content: bytes) -> Iterator[tuple[int, int | None]]:
    """Yield start and end of each piece of coded pixels, up to the end of the first picture."""
    at = 2
    while True:
        marker, body = _marker(content, at)
        if marker is None:
            yield at, None
            return
        if marker == END:
            return
        at = body
        if marker not in WITHOUT_LENGTH:
            at += int.from_bytes(content[body : body + 2], "big")
        if marker == SCAN or marker in RESTARTS:
            start, at = at, _next_marker(content, at)
            yield start, at if at < len(content) else None
            if at >= len(content):
                return


def _parts(content: bytes) -> int | None:
    """Return of how many pieces the pixels must be, by the restart interval.

    None where there is none, or where several scans make it more.
    """
    interval, frame, at = 0, b"", 2
    while True:
        marker, body = _marker(content, at)
        if marker is None or marker == END:
            return None
        if marker in WITHOUT_LENGTH:
            at = body
            continue
        at = body + int.from_bytes(content[body : body + 2], "big")
        if marker == RESTART_INTERVAL:
            interval = int.from_bytes(content[body + 2 : body + 4], "big")
        elif marker in ONE_PASS:
            frame = content[body + 2 : at]
        elif marker == SCAN:
            components = content[body + 2]
            break
    if not interval or len(frame) < 6 + 3 * components or frame[5] != components:
        return None
    height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
    sampling = frame[7 : 6 + 3 * components : 3]
    # One component alone is coded block by block, several in units of their sampling (A.2).
    across = 1 if components == 1 else max(one >> 4 for one in sampling)
    down = 1 if components == 1 else max(one & 15 for one in sampling)
    if not across or not down:
        return None
    units = math.ceil(width / (8 * across)) * math.ceil(height / (8 * down))
    return math.ceil(units / interval)


def _marker(content: bytes, at: int) -> tuple[int | None, int]:
    """Return the marker at a place, after any number of fill bytes, and where its body begins."""
    if content[at : at + 1] != b"\xff":
        return None, at
    while content[at : at + 1] == b"\xff":
        at += 1
    return (content[at], at + 1) if at < len(content) else (None, at)


def _next_marker(content: bytes, at: int) -> int:
    """Return where the next marker begins; a 0xFF among coded pixels is followed by 0."""
    while (at := content.find(b"\xff", at)) >= 0:
        following = at + 1
        while content[following : following + 1] == b"\xff":  # fill bytes
            following += 1
        if following == len(content):
            break
        if content[following]:
            return at
        at = following + 1
    return len(content)


def _frame(path: RawFile, file: BinaryIO) -> _Frame:
    """Go over the marker segments before the first scan."""
    file.seek(2)
    found: tuple[int, int, int, int] | None = None
    orientation, pictures = 1, False
    while file.read(1) == b"\xff":
        marker = b"\xff"
        while marker == b"\xff":
            marker = file.read(1)
        if not marker:
            break
        if marker[0] in WITHOUT_LENGTH:
            continue
        length = int.from_bytes(file.read(2), "big")
        start = file.tell()
        if marker[0] in FRAME_MARKERS:
            found = struct.unpack(">BHHB", file.read(6))
        elif marker[0] == APPLICATION_1 and file.read(len(EXIF)) == EXIF:
            orientation = orientation_of(file.read(max(0, length - 2 - len(EXIF))))
        elif marker[0] == APPLICATION_2:
            pictures = pictures or file.read(len(MULTI_PICTURE)) == MULTI_PICTURE
        if marker[0] == SCAN and found is not None:
            return _Frame(*found, orientation, pictures, start + max(0, length - 2))
        file.seek(start + max(0, length - 2))
    if found is None:
        raise problem_with(path, "the JPEG has no frame header", MAKE_AGAIN)
    raise problem_with(path, "the JPEG is cut short: it has no pixels", MAKE_AGAIN)


def orientation_of(exif: bytes) -> int:
    """Return the orientation in Exif data, which are a TIFF; 1 where they do not say."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None or len(exif) < 8:
        return 1
    (first,) = struct.unpack(f"{order}I", exif[4:8])
    (count,) = struct.unpack(f"{order}H", exif[first : first + 2].ljust(2, b"\x00"))
    for at in range(first + 2, min(first + 2 + 12 * count, len(exif) - 11), 12):
        tag, _, _, value = struct.unpack(f"{order}HHIH", exif[at : at + 10])
        if tag == ORIENTATION and 1 <= value <= 8:
            return int(value)
    return 1
