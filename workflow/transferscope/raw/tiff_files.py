"""TIFF files: layout, colours, order and size as they say, and whether all of it is there."""

from __future__ import annotations

import logging
import math
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile

from transferscope.raw.headers import (
    MAKE_AGAIN,
    Header,
    Metadata,
    Note,
    check_size,
    in_um,
    left_out,
    problem_with,
    turned,
)
from transferscope.raw.jpeg_files import Whole, is_ended, is_filled, is_whole
from transferscope.runtime.arrays import Pixels
from transferscope.transport.files import RawFile, size_of

UNSIGNED = "Export the values of the camera, without a sign."
GREY = "Save it as grey values, with black as 0, or as RGB."
# Photometric interpretations that are read: grey, RGB, and masks of one bit.
WHITE_IS_ZERO, RGB, COLOUR_PALETTE, YCBCR = 0, 2, 3, 6
READ_AS_THEY_ARE = {1, RGB, 4}
COLOURS = {
    COLOUR_PALETTE: "a colour palette",
    5: "CMYK colours",
    YCBCR: "YCbCr colours",
    8: "CIELAB colours",
    9: "CIELAB colours",
    10: "CIELAB colours",
    32803: "the mosaic of a colour sensor",
}
SAVE_MASK = "Save it as PNG or TIFF, without losses."
JPEG_COMPRESSIONS = (6, 7, 33007, 34892)
# Formats within a TIFF whose decoders fill in what is missing, and how to tell that nothing is.
STREAMS: dict[int, tuple[str, Whole]] = {
    **dict.fromkeys(JPEG_COMPRESSIONS, ("JPEG", is_whole)),
    **dict.fromkeys((33003, 33004, 33005, 34712), ("JPEG 2000", is_ended)),
    **dict.fromkeys((22610, 34934), ("JPEG XR", is_filled)),
}
WHOLE_BYTES = 8
RAMP_TOLERANCE = 0.02 * 65535
ORIENTATION, PHOTOMETRIC, LARGEST_VALUE = 274, 262, 281
SLICE_PLACE = re.compile(r"^(?:[ctz]:\d+/\d+[\s;,-]*)+")
SIGNED_OFFSET = -32768.0
# What tifffile complains of where it goes on with less than the file should hold.
INCOMPLETE = re.compile(
    r"missing|out of range|invalid page offset|invalid offset to page|corrupted tag list"
    r"|circular reference|does not match page|failed to reshape|corrupted file"
    r"|incorrect Strip|invalid next page"
)


class _Complaints(logging.Handler):
    """Keeps what tifffile logs in each thread, where it would go on in silence."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._own = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        kept = getattr(self._own, "kept", None)
        if kept is not None:
            kept.append(record.getMessage())

    @contextmanager
    def kept(self) -> Iterator[list[str]]:
        """Collect the messages of this thread."""
        found: list[str] = []
        self._own.kept = found
        try:
            yield found
        finally:
            self._own.kept = None


_complaints = _Complaints()
logging.getLogger("tifffile").addHandler(_complaints)


def tiff_header(path: RawFile, *, mask: bool) -> Header:
    """Read the header of a TIFF, and check that all of its pixels are there.

    Parameters
    ----------
    path
        The file.
    mask
        Whether its values are numbers, whatever colours they are shown in.
    """
    with _complaints.kept() as complaints, _opened(path) as tiff:
        series = _only_series(path, tiff)
        axes, shape = str(series.axes), tuple(map(int, series.shape))
        header = Header(path, axes, shape, np.dtype(series.dtype))
        check_size(header)
        if found := next(filter(INCOMPLETE.search, complaints), None):
            what = f"damaged or cut short: {found.rpartition('> ')[2].partition(', raised')[0]}"
            raise problem_with(path, what, MAKE_AGAIN)
        _check_all_there(path, tiff, series)
        inverted = _check_colours(path, series.keyframe, mask=mask)
        extra = [int(e) for e in series.keyframe.extrasamples]
        alpha = "S" in axes and extra in ([1], [2])
        metadata = _metadata(path, tiff, series)
        return replace(header, alpha=alpha, inverted=inverted, metadata=metadata)


def read_tiff(path: RawFile) -> Pixels:
    """Decode the first image of a TIFF."""
    with _opened(path) as tiff:
        series = tiff.series[0]
        pixels: Pixels = series.asarray(maxworkers=1)
        _check_streams(path, series)
        return pixels


@contextmanager
def _opened(path: RawFile) -> Iterator[Any]:
    # Parts of an OME-TIFF in other files are not followed: they could lie anywhere.
    with ExitStack() as stack:
        source = path if isinstance(path, Path) else stack.enter_context(path.open("rb"))
        yield stack.enter_context(tifffile.TiffFile(source, _multifile=False))


def _only_series(path: RawFile, tiff: Any) -> Any:
    """Return the first image series; a second one of its size would be silently lost."""
    if not tiff.series:
        raise problem_with(path, "the TIFF holds no image", MAKE_AGAIN)
    first, *others = tiff.series
    if count := sum(other.size >= first.size for other in others):
        what = f"holds {count + 1} images of different layout or position"
        raise problem_with(path, what, "Save one image per file.")
    larger = any(level.size > first.size for level in first.levels)
    if larger or (others and first.keyframe.is_reduced):
        what = "its first image is the reduced version of another one"
        raise problem_with(path, what, "Save the full image alone.")
    return first


# What is there --------------------------------------------------------------------------------


def _check_all_there(path: RawFile, tiff: Any, series: Any) -> None:
    size, keyframe = size_of(path), series.keyframe
    if any(page is None for page in series.pages):
        what = "parts of the image are missing, or lie in other files"
        raise problem_with(path, what, "Export it as one whole file.")
    _check_planes(path, tiff, series)
    parts = [
        (int(offset), int(count))
        for page in series.pages
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)
    ]
    expected = math.prod(keyframe.chunked) * len(series.pages)
    there = sum(offset > 0 and count > 0 for offset, count in parts)
    if there < expected:
        kind = "tiles" if keyframe.is_tiled else "strips"
        what = f"{expected - there} of {expected} {kind} of its pixels are not in the file"
        raise problem_with(path, what, MAKE_AGAIN)
    ends = [offset + count for offset, count in parts]
    if series.dataoffset is not None:  # one contiguous block: few pages, many planes
        ends.append(int(series.dataoffset) + int(series.nbytes))
    end = max(ends, default=0)
    if end > size:
        what = f"the file is cut short: {size:,} bytes, but its pixels end at byte {end:,}"
        raise problem_with(path, what, MAKE_AGAIN)


def _check_planes(path: RawFile, tiff: Any, series: Any) -> None:
    """Check that the file holds the planes that its metadata speak of."""
    planes = math.prod(series.shape) // max(1, math.prod(series.keyframe.shape))
    if tiff.is_imagej:
        said = _imagej(tiff)
        named = math.prod(int(said.get(key, 1)) for key in ("channels", "slices", "frames"))
        named = max(named, int(said.get("images", 1)))
        # Bio-Formats and tifffile may declare the samples of one plane as channels.
        if named > planes * max(1, series.keyframe.samplesperpixel):
            what = f"the file is cut short: ImageJ wrote {named} planes, but it holds {planes}"
            raise problem_with(path, what, MAKE_AGAIN)
    elif tiff.is_ome and series.kind != "ome" and planes > 1:
        what = "its OME metadata do not describe its planes, or put some of them in other files"
        raise problem_with(path, what, "Export it as one whole file.")


def _check_streams(path: RawFile, series: Any) -> None:
    """Check that strips and tiles in formats whose decoders fill in what is missing are whole."""
    keyframe = series.keyframe
    name, is_whole = STREAMS.get(int(keyframe.compression), ("", None))
    if is_whole is None:
        return
    tables = {"jpegtables": keyframe.jpegtables, "jpegheader": keyframe.jpegheader}

    def decode(content: bytes | None, index: int) -> Pixels:
        return np.asarray(keyframe.decode(content, index, **tables)[0])

    for page in series.pages:
        segments = page.parent.filehandle.read_segments(page.dataoffsets, page.databytecounts)
        for content, index in segments:
            whole = partial(decode, index=index)
            if content is None or not is_whole(content, whole(content), whole):
                what = f"parts of the {name} in it are missing or damaged"
                raise problem_with(path, what, MAKE_AGAIN)


# What it says ---------------------------------------------------------------------------------


def _check_colours(path: RawFile, keyframe: Any, *, mask: bool) -> bool:
    """Refuse pixels that are no grey values or RGB; return whether 0 is white."""
    tag = keyframe.tags.get(PHOTOMETRIC)
    photometric = 1 if tag is None else int(tag.value)
    orientation = keyframe.tags.get(ORIENTATION)
    if orientation is not None and orientation.value in range(2, 9):
        raise turned(path, orientation.value)
    if photometric == YCBCR and keyframe.compression in JPEG_COMPRESSIONS:
        return False  # decoded to RGB
    if mask and keyframe.compression in JPEG_COMPRESSIONS:
        raise problem_with(path, "is compressed as JPEG, which blurs numbers", SAVE_MASK)
    if mask:
        if photometric not in {WHITE_IS_ZERO, COLOUR_PALETTE, *READ_AS_THEY_ARE}:
            what = f"holds {COLOURS.get(photometric, f'colours of kind {photometric}')}"
            raise problem_with(path, what, "Save the mask as grey values.")
        return photometric == WHITE_IS_ZERO
    if photometric == COLOUR_PALETTE and _is_ramp(keyframe.colormap):
        return False
    if photometric == WHITE_IS_ZERO:
        what = "says that 0 is white (MinIsWhite): bright objects would have low values"
        raise problem_with(path, what, GREY)
    if photometric not in READ_AS_THEY_ARE:
        what = f"holds {COLOURS.get(photometric, f'colours of kind {photometric}')}"
        raise problem_with(path, what, GREY)
    bits = keyframe.bitspersample
    if isinstance(bits, int) and 1 < bits < WHOLE_BYTES:
        what = f"is a TIFF with {bits} bits"
        raise problem_with(path, what, "Save it as 8- or 16-bit grey or RGB.")
    return False


def _is_ramp(palette: Any) -> bool:
    """Return whether a palette only shows values in one hue, from black, so that they are grey.

    Microscopes write such ones.

    Parameters
    ----------
    palette
        [3, n], red, green and blue of each value.
    """
    if palette is None:
        return False
    colours = np.asarray(palette, np.float64)
    ramps = colours[:, -1:] * np.linspace(0, 1, colours.shape[1])
    return bool(colours[:, -1].any() and np.abs(colours - ramps).max() <= RAMP_TOLERANCE)


def _metadata(path: RawFile, tiff: Any, series: Any) -> Metadata:
    notes: list[Note] = []
    if others := tiff.series[1:]:
        sizes = ", ".join(" x ".join(map(str, other.shape)) for other in others[:3])
        notes.append(left_out(len(others), sizes))
    planes = sum(len(one.pages) for one in tiff.series)
    if series.kind in ("ome", "imagej") and (more := len(tiff.pages) - planes) > 0:
        notes.append(left_out(more, "planes that its metadata do not name"))
    if series.kind == "ome":
        return replace(_ome(path, tiff), notes=tuple(notes))
    if not tiff.is_imagej:
        return Metadata(bits=_bits(series.keyframe), notes=tuple(notes))
    said = _imagej(tiff)
    notes += _calibration(path, said)
    size = _imagej_pixel_size(series.keyframe, said)
    labels = _slice_labels(said, str(series.axes), series.shape)
    return Metadata(channel_labels=labels, pixel_size_um=size, notes=tuple(notes))


def _slice_labels(said: dict[str, Any], axes: str, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Return what the first slice of each channel is labelled; empty where not all are.

    Slices are numbered with the channels first. A label may begin with the slice's place,
    "c:1/2 - DAPI".
    """
    count = shape[axes.index("C")] if "C" in axes else 1
    given = said.get("Labels") or ()
    labels = given[:count] if not isinstance(given, str) and len(given) >= count else ()
    names = tuple(SLICE_PLACE.sub("", str(label)).strip() for label in labels)
    return names if all(names) else ()


def _imagej(tiff: Any) -> dict[str, Any]:
    return dict(tiff.imagej_metadata or {})


def _calibration(path: RawFile, said: dict[str, Any]) -> list[Note]:
    """Refuse signed values that ImageJ stores as unsigned ones; note any other calibration."""
    offset, factor = said.get("c0"), said.get("c1")
    if offset == SIGNED_OFFSET and factor in (None, 1, 1.0):
        what = "holds signed values: its calibration subtracts 32,768 from each of them"
        raise problem_with(path, what, UNSIGNED)
    if "cf" not in said and offset is None and factor is None:
        return []
    unit = said.get("vunit", "values")
    text = f"ImageJ's calibration to {unit} is not applied: raw values are used"
    return [Note("calibration", text)]


def _imagej_pixel_size(keyframe: Any, said: dict[str, Any]) -> tuple[float, float] | None:
    sizes = []
    for name in ("YResolution", "XResolution"):
        tag = keyframe.tags.get(name)
        if tag is None or not tag.value[0]:
            return None
        sizes.append(in_um(tag.value[1] / tag.value[0], str(said.get("unit", ""))))
    height, width = sizes
    return None if height is None or width is None else (height, width)


def _ome(path: RawFile, tiff: Any) -> Metadata:
    """Return what OME metadata say of their first image."""
    root = ElementTree.fromstring(tiff.ome_metadata)
    pixels = next((e for e in root.iter() if _is(e, "Pixels")), None)
    if pixels is None:
        return Metadata()
    said = pixels.attrib
    if said.get("Type", "").startswith("int"):
        what = f"holds signed values ({said['Type']}), as its OME metadata say"
        raise problem_with(path, what, UNSIGNED)
    names = tuple(e.attrib.get("Name", "").strip() for e in pixels if _is(e, "Channel"))
    height, width = (_ome_length(said, f"PhysicalSize{axis}") for axis in "YX")
    size = None if height is None or width is None else (height, width)
    bits = said.get("SignificantBits", "")
    return Metadata(
        channel_names=names if all(names) else (),
        pixel_size_um=size,
        bits=int(bits) if bits.isdecimal() else None,
    )


def _bits(keyframe: Any) -> int | None:
    """Return how many bits values have, where the tag of the largest one says so."""
    tag = keyframe.tags.get(LARGEST_VALUE)
    largest = np.max(tag.value) if tag is not None else 0
    return int(largest).bit_length() if largest > 0 and not largest & (largest + 1) else None


def _ome_length(attributes: dict[str, str], name: str) -> float | None:
    try:
        return in_um(float(attributes[name]), attributes.get(f"{name}Unit", "µm"))
    except (KeyError, ValueError):
        return None


def _is(element: ElementTree.Element, name: str) -> bool:
    return element.tag.rpartition("}")[2] == name
