"""One raw image file: its header without its pixels, and its pixels as the file has them.

The format is read from the content, never from the name. TIFF is read by tifffile, PNG and JPEG by
imagecodecs, OME-Zarr by zarr: none of them moves axes or rescales values. Where parts are missing,
they go on in grey or black, and some of what a file says of itself they do not tell: the module of
each format checks both. Nothing in a file is ever executed: Zarr arrays whose codecs would
unpickle are refused.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from transferscope.errors import UserError
from transferscope.raw.float_values import FLOAT_TYPES
from transferscope.raw.headers import MAKE_AGAIN, Header, Note, check_size, problem_with
from transferscope.raw.jpeg_files import jpeg_header, read_jpeg
from transferscope.raw.places import oddity_of
from transferscope.raw.png_files import START, png_header, read_png
from transferscope.raw.tiff_files import read_tiff, tiff_header
from transferscope.raw.zarr_images import (
    Missing,
    axes_of,
    check_levels,
    check_missing,
    check_scales,
    lost_without_doubt,
    metadata_of,
    missing_chunks,
)
from transferscope.runtime.arrays import Pixels
from transferscope.transport.files import RawFile, keeping_blocks
from transferscope.transport.zarr_limits import fault_of_array
from transferscope.transport.zarr_stores import RemoteStore, portable_codecs

MAGICS = {
    "TIFF": (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"),
    "PNG": (START,),
    "JPEG": (b"\xff\xd8\xff",),
}
PACKED = b"\x1f\x8b"
INTEGER_TYPES = ("uint8", "uint16")
IMAGE_TYPES = (*INTEGER_TYPES, *FLOAT_TYPES)
MASK_TYPES = (*INTEGER_TYPES, "bool", "uint32", "int32", "int64")


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
    opened = keeping_blocks(path)
    kind = kind_of(opened)
    with _readable(path, f"not a readable {kind} file, damaged or cut short"):
        header = _header(kind, opened, mask=tuple(types) == MASK_TYPES)
        dtype = _supported(path, header.dtype, types)
    check_size(header)
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
        pixels = np.asarray(_decode(kind, header))
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


def _header(kind: str, path: RawFile, *, mask: bool) -> Header:
    if kind == "TIFF":
        return tiff_header(path, mask=mask)
    if kind == "ZARR":
        return _zarr_header(path, mask=mask)
    return png_header(path, mask=mask) if kind == "PNG" else jpeg_header(path)


def _decode(kind: str, header: Header) -> Pixels:
    if kind == "TIFF":
        return read_tiff(header.path)
    if kind == "ZARR":
        return _read_zarr(header.path)
    if kind == "PNG":
        return read_png(header.path, header.shape[2] if "S" in header.axes else 1)
    return read_jpeg(header.path)


def kind_of(path: RawFile) -> str:
    """Return the format of a file by its first bytes; a folder is taken for an OME-Zarr."""
    if path.is_dir():
        return "ZARR"
    if isinstance(path, Path) and (oddity := oddity_of(path)):
        raise problem_with(path, f"is {oddity}, not a file", "Name a file.")
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise problem_with(path, f"cannot be read: {error.strerror}", "Check the path.") from None
    for kind, magics in MAGICS.items():
        if start.startswith(magics):
            return kind
    if start.startswith(PACKED):
        fix = f"Unpack it: {shlex.join(['gunzip', '-k', str(path)])}"
        raise problem_with(path, "is packed (gzip)", fix)
    what = "the file is empty" if not start else "not an image of a known format"
    raise problem_with(path, what, "Known: TIFF, OME-TIFF, PNG, JPEG, OME-Zarr.")


def _supported(path: RawFile, dtype: Any, types: Sequence[str]) -> np.dtype[Any]:
    """Return the type in native byte order, or say why it is refused."""
    found: np.dtype[Any] = np.dtype(dtype).newbyteorder("=")
    if found.name in types:
        return found
    what = f"holds {found.name} values, not {' or '.join(types)}"
    fix = "Export it as 8- or 16-bit unsigned integers."
    if tuple(types) == MASK_TYPES:
        fix = "Save the numbers of its cells as uint16, or uint32 for more than 65,535."
    raise problem_with(path, what, fix)


# OME-Zarr --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Image:
    """An NGFF multiscale image.

    Parameters
    ----------
    group
        The group that holds it.
    attributes
        Its attributes.
    levels
        Path of each level, the first of full size.
    array
        The first level.
    axes
        One letter per axis.
    """

    group: Any
    attributes: dict[str, Any]
    levels: list[str]
    array: Any
    axes: str

    def level(self, number: int) -> Any | None:
        """Return another level; None where it is not there."""
        with contextlib.suppress(KeyError, IndexError), portable_codecs():
            return self.group[self.levels[number]]
        return None

    def missing(self, path: RawFile) -> Missing | None:
        """Return which of its chunks are not there."""
        return missing_chunks(path, self.levels[0], self.array)


def _zarr_header(path: RawFile, *, mask: bool) -> Header:
    image = _full_resolution(path)
    if not mask and "image-label" in image.attributes:
        raise problem_with(path, "says that it holds labels, not an image", "Name the image.")
    check_scales(path, image.attributes["multiscales"][0])
    metadata = metadata_of(image.attributes, image.axes)
    shape = tuple(map(int, image.array.shape))
    header = Header(path, image.axes, shape, np.dtype(image.array.dtype), metadata=metadata)
    check_size(header)
    others = [image.level(number) for number in range(1, len(image.levels))]
    check_levels(path, [shape, *(tuple(map(int, one.shape)) for one in others if one is not None)])
    missing = image.missing(path)
    if missing is None:
        return header
    lost_without_doubt(path, image.array, missing)
    note = Note("missing chunks", f"{missing.text}: read as {image.array.fill_value}")
    notes = (*metadata.notes, note)
    empty = missing.channels(image.axes)
    return replace(header, metadata=replace(metadata, notes=notes, empty_channels=empty))


def _read_zarr(path: RawFile) -> Pixels:
    image = _full_resolution(path)
    pixels: Pixels = np.asarray(image.array[...])
    if missing := image.missing(path):
        check_missing(path, image.array, image.axes, missing, pixels, image.level(1))
    return pixels


def _check_parts(folder: Path) -> None:
    """Refuse a folder that holds anything but files and folders."""
    for part in folder.rglob("*"):
        mode, name = part.lstat().st_mode, part.relative_to(folder)
        if stat.S_ISLNK(mode):
            what = f"holds a symbolic link, {name}, which may lead anywhere"
            raise problem_with(folder, what, "Copy what it points to in its place.")
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise problem_with(folder, f"holds {oddity_of(part)}, {name}", "Remove it.")


def _group(path: RawFile, store: Any) -> Any:
    try:
        # Consolidated metadata may be older than the arrays: on this machine, these are as near.
        consolidated = False if isinstance(path, Path) else None
        return zarr.open_group(store, mode="r", use_consolidated=consolidated)
    except zarr.errors.GroupNotFoundError:
        fix = "Name the image, such as `name.zarr/0`, or the file in the folder."
        raise problem_with(path, "is a folder that holds no OME-Zarr", fix) from None
    except zarr.errors.ContainsArrayError:
        what = "is an array of Zarr that says nothing of its axes"
        raise problem_with(path, what, "Name the OME-Zarr that holds it.") from None


def _full_resolution(path: RawFile) -> _Image:
    """Return an NGFF multiscale image with its first level."""
    if isinstance(path, Path):
        _check_parts(path)
    store = path if isinstance(path, Path) else RemoteStore(path.url)
    group = _group(path, store)
    attributes = dict(group.attrs)
    attributes = attributes.get("ome", attributes)
    multiscales = attributes.get("multiscales")
    if not multiscales:
        fix = "Give one image of it, such as `name.zarr/0`."
        raise problem_with(path, "the Zarr holds no OME multiscale image", fix)
    levels = [str(level["path"]) for level in multiscales[0]["datasets"]]
    for level in levels:
        if level.startswith("/") or ".." in Path(level).parts:
            raise problem_with(path, f'the level "{level}" lies outside the image', MAKE_AGAIN)
    with portable_codecs():
        array = group[levels[0]]
    if "pickle" in json.dumps(array.metadata.to_dict(), default=str).lower():
        raise problem_with(path, "its codecs would execute a pickle", "Export it as OME-Zarr.")
    if fault := fault_of_array(array):
        raise problem_with(path, fault, "Export it as OME-Zarr with usual chunks and codecs.")
    return _Image(group, attributes, levels, array, axes_of(path, multiscales[0], array.shape))
