"""One raw image file: its header without its pixels, and its pixels as the file has them.

The format is read from the content, never from the name. TIFF is read by tifffile, PNG and JPEG by
imagecodecs, OME-Zarr by zarr: none of them moves axes or rescales values. Nothing in a file is
ever executed: Zarr arrays whose codecs would unpickle are refused.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
import tifffile
import zarr

from transferscope.errors import Problem, UserError
from transferscope.runtime.arrays import Pixels
from transferscope.transport.files import RawFile, keeping_blocks, size_of
from transferscope.transport.zarr_limits import fault_of_array
from transferscope.transport.zarr_stores import RemoteStore, portable_codecs

# A header may claim any size; what it claims is checked before memory is asked for.
MAX_DECODED_BYTES = 2 << 30
PNG_START = b"\x89PNG\r\n\x1a\n"
MAGICS = {
    "TIFF": (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"),
    "PNG": (PNG_START,),
    "JPEG": (b"\xff\xd8\xff",),
}
PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
PNG_SAMPLES = {0: 1, 2: 3, 4: 2, 6: 4}  # per colour type: grey, RGB, both with opacity
PNG_PALETTE = 3
JPEG_FRAME_MARKERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
JPEG_END = b"\xff\xd9"
JPEG_TAIL_BYTES = 1 << 16
# What NGFF before version 0.3 means where it names no axes.
NGFF_DEFAULT_AXES = "tczyx"
MAKE_AGAIN = "Copy or export the file again."
IMAGE_TYPES = ("uint8", "uint16")
MASK_TYPES = (*IMAGE_TYPES, "bool", "uint32", "int32", "int64")


@dataclass(frozen=True)
class Header:
    """What a raw file says about itself.

    Parameters
    ----------
    path
        The file, or the folder of an OME-Zarr.
    axes
        One letter per axis: T, Z, C, Y, X; S for interleaved or planar samples (RGB); Q or I
        where the file does not say.
    shape
        Length of each axis.
    dtype
        uint8 or uint16, of a mask any integer or bool, in native byte order.
    alpha
        Whether the last sample is an opacity.
    """

    path: RawFile
    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    alpha: bool = False


def problem_with(path: RawFile, what: str, fix: str = "") -> UserError:
    """Return the error for one file."""
    return UserError(Problem(str(path), what, fix))


def read_header(path: RawFile, types: Sequence[str] = IMAGE_TYPES) -> Header:
    """Read the header of a raw file and check that all of the file is there.

    Parameters
    ----------
    path
        The file, or the folder of an OME-Zarr.
    types
        Names of the types that its values may have.

    Raises
    ------
    UserError
        Where the file is missing, no image, cut short, too large, or not of one of the types.
    """
    reader = {"TIFF": _tiff_header, "PNG": _png_header, "JPEG": _jpeg_header, "ZARR": _zarr_header}
    opened = keeping_blocks(path)
    kind = kind_of(opened)
    with _readable(path, f"not a readable {kind} file, damaged or cut short"):
        header = reader[kind](opened)
        dtype = _supported(path, header.dtype, types)
    _check_size(header)
    return replace(header, path=path, dtype=dtype)


def read_pixels(header: Header) -> Pixels:
    """Read the pixels that a header describes, with its axes, shape and type.

    Raises
    ------
    UserError
        Where the pixels cannot be decoded.
    """
    kind = kind_of(header.path)
    with _readable(header.path, f"the {kind} pixels cannot be decoded"):
        pixels = np.asarray(_decode(kind, header.path))
    if pixels.shape != header.shape:
        what = f"the pixels have shape {pixels.shape}, but the header says {header.shape}"
        raise problem_with(header.path, what, MAKE_AGAIN)
    return pixels.astype(header.dtype, copy=False)


@contextmanager
def _readable(path: RawFile, what: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # foreign bytes: any library error means an unreadable file
        reason = str(error) or type(error).__name__
        raise problem_with(path, f"{what}: {reason}", MAKE_AGAIN) from None


def _decode(kind: str, path: RawFile) -> Any:
    if kind == "TIFF":
        with _opened_tiff(path) as tiff:
            return tiff.series[0].asarray(maxworkers=1)
    if kind == "ZARR":
        return _full_resolution(path)[0][...]
    decoder = imagecodecs.png_decode if kind == "PNG" else imagecodecs.jpeg8_decode
    return decoder(path.read_bytes())


def kind_of(path: RawFile) -> str:
    """Return the format of a file by its first bytes; a folder is taken for an OME-Zarr."""
    if path.is_dir():
        return "ZARR"
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise problem_with(path, f"cannot be read: {error.strerror}", "Check the path.") from None
    for kind, magics in MAGICS.items():
        if start.startswith(magics):
            return kind
    what = "the file is empty" if not start else "not an image of a known format"
    raise problem_with(path, what, "Known: TIFF, OME-TIFF, PNG, JPEG, OME-Zarr.")


def _check_size(header: Header) -> None:
    if len(header.axes) != len(header.shape) or not all(header.shape):
        what = f"the axes {header.axes} have lengths {header.shape}"
        raise problem_with(header.path, what, MAKE_AGAIN)
    claimed = math.prod(header.shape) * header.dtype.itemsize
    if claimed > MAX_DECODED_BYTES:
        what = f"would decode to {claimed / 2**30:,.1f} GiB; {MAX_DECODED_BYTES >> 30} is the limit"
        raise problem_with(header.path, what, "Split it, or export one field per file.")


def _supported(path: RawFile, dtype: Any, types: Sequence[str]) -> np.dtype[Any]:
    """Return the type in native byte order, or say why it is refused."""
    found: np.dtype[Any] = np.dtype(dtype).newbyteorder("=")
    if found.name in types:
        return found
    what = f"holds {found.name} values, not {' or '.join(types)}"
    fix = "Export it as 8- or 16-bit unsigned integers."
    if found.kind == "f":
        fix = (
            "Floats have no fixed black and white and may hold NaN: export the raw camera "
            "values, or scale them yourself and save as uint16."
        )
    raise problem_with(path, what, fix)


# TIFF ------------------------------------------------------------------------------------------


def _tiff_header(path: RawFile) -> Header:
    with _opened_tiff(path) as tiff:
        series = _only_series(path, tiff)
        _check_all_bytes_there(path, tiff, series)
        extra = [int(e) for e in series.keyframe.extrasamples]
        alpha = series.axes.endswith("S") and extra in ([1], [2])
        shape = tuple(map(int, series.shape))
        return Header(path, str(series.axes), shape, np.dtype(series.dtype), alpha)


@contextmanager
def _opened_tiff(path: RawFile) -> Iterator[Any]:
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
    return first


def _check_all_bytes_there(path: RawFile, tiff: Any, series: Any) -> None:
    size = size_of(path)
    if any(page is None for page in series.pages):
        what = "parts of the image are missing, or lie in other files"
        raise problem_with(path, what, "Export it as one whole file.")
    ends = [
        int(offset) + int(count)
        for page in series.pages
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)
    ]
    if series.dataoffset is not None:  # one contiguous block: few pages, many planes
        ends.append(int(series.dataoffset) + int(series.nbytes))
    end = max(ends, default=0)
    if end > size:
        what = f"the file is cut short: {size:,} bytes, but its pixels end at byte {end:,}"
        raise problem_with(path, what, MAKE_AGAIN)


# PNG -------------------------------------------------------------------------------------------


def _png_header(path: RawFile) -> Header:
    with path.open("rb") as file:
        chunks = _png_chunks(path, file)
        name, start = next(chunks)
        if name != b"IHDR":
            raise problem_with(path, "the PNG has no header", MAKE_AGAIN)
        width, height, bits, colour = struct.unpack(">IIBB", start[:10])
        # A few bytes tell of most files; where others follow the end, all chunks are gone over.
        if not _ends_as_png(path, file) and not any(name == b"IEND" for name, _ in chunks):
            raise problem_with(path, "the PNG is cut short", MAKE_AGAIN)
    if colour == PNG_PALETTE or bits not in (8, 16):
        what = f"is a PNG with {'a colour palette' if colour == PNG_PALETTE else f'{bits} bits'}"
        raise problem_with(path, what, "Save it as 8- or 16-bit grey or RGB.")
    samples = PNG_SAMPLES[colour]
    dtype = np.dtype(np.uint8 if bits == 8 else np.uint16)
    return _plain_header(path, (height, width), samples, dtype, alpha=samples % 2 == 0)


def _plain_header(
    path: RawFile, plane: tuple[int, int], samples: int, dtype: np.dtype[Any], *, alpha: bool
) -> Header:
    """Return the header of a format that has interleaved samples, or one plane of grey values."""
    axes, shape = ("YX", plane) if samples == 1 else ("YXS", (*plane, samples))
    return Header(path, axes, shape, dtype, alpha)


def _ends_as_png(path: RawFile, file: BinaryIO) -> bool:
    """Return whether the last chunk of a PNG is its end; true of all that are not cut short."""
    file.seek(max(0, size_of(path) - len(PNG_END)))
    return file.read() == PNG_END


def _png_chunks(path: RawFile, file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yield (name, first bytes) of each chunk that is wholly there."""
    size = size_of(path)
    file.seek(len(PNG_START))
    while len(head := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", head)
        body = file.tell()
        if body + length + 4 > size:
            return
        yield name, file.read(min(length, 16))
        file.seek(body + length + 4)


# JPEG ------------------------------------------------------------------------------------------


def _jpeg_header(path: RawFile) -> Header:
    with path.open("rb") as file:
        bits, height, width, components = _jpeg_frame(path, file)
        file.seek(max(0, size_of(path) - JPEG_TAIL_BYTES))
        # Decoders fill what is missing with grey and say nothing.
        if JPEG_END not in file.read():
            raise problem_with(path, "the JPEG is cut short", MAKE_AGAIN)
    if bits != 8 or components not in (1, 3):
        what = f"is a JPEG with {bits} bits and {components} components"
        raise problem_with(path, what, "Save it as 8-bit grey or RGB.")
    return _plain_header(path, (height, width), components, np.dtype(np.uint8), alpha=False)


def _jpeg_frame(path: RawFile, file: BinaryIO) -> tuple[int, int, int, int]:
    """Return bits, height, width and components from the frame header (ITU-T T.81, B.2.2)."""
    file.seek(2)
    while len(head := file.read(4)) == 4 and head[0] == 0xFF:
        marker, length = struct.unpack(">xBH", head)
        if marker in JPEG_FRAME_MARKERS:
            bits, height, width, components = struct.unpack(">BHHB", file.read(6))
            return bits, height, width, components
        file.seek(length - 2, 1)
    raise problem_with(path, "the JPEG has no frame header", MAKE_AGAIN)


# OME-Zarr --------------------------------------------------------------------------------------


def _zarr_header(path: RawFile) -> Header:
    array, axes = _full_resolution(path)
    return Header(path, axes.upper(), tuple(map(int, array.shape)), np.dtype(array.dtype))


def _full_resolution(path: RawFile) -> tuple[Any, str]:
    """Return the first level of an NGFF multiscale image, and its axes."""
    if isinstance(path, Path) and (link := next(filter(Path.is_symlink, path.rglob("*")), None)):
        what = f"holds a symbolic link, {link.relative_to(path)}, which may lead anywhere"
        raise problem_with(path, what, "Copy what it points to in its place.")
    store = path if isinstance(path, Path) else RemoteStore(path.url)
    group: Any = zarr.open_group(store, mode="r")
    attributes = dict(group.attrs)
    multiscales = attributes.get("ome", attributes).get("multiscales")
    if not multiscales:
        fix = "Give one image of it, such as `name.zarr/0`."
        raise problem_with(path, "the Zarr holds no OME multiscale image", fix)
    level = str(multiscales[0]["datasets"][0]["path"])
    if level.startswith("/") or ".." in Path(level).parts:
        raise problem_with(path, f'the level "{level}" lies outside the image', MAKE_AGAIN)
    with portable_codecs():
        array = group[level]
    if "pickle" in json.dumps(array.metadata.to_dict(), default=str).lower():
        raise problem_with(path, "its codecs would execute a pickle", "Export it as OME-Zarr.")
    if fault := fault_of_array(array):
        raise problem_with(path, fault, "Export it as OME-Zarr with usual chunks and codecs.")
    named = multiscales[0].get("axes") or NGFF_DEFAULT_AXES
    return array, "".join(a["name"] if isinstance(a, dict) else str(a) for a in named)
