"""What a raw file says about itself: layout and type, names of channels, pixel size, doubts."""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass
from typing import Any

import numpy as np

from transferscope.errors import Problem, UserError
from transferscope.transport.files import RawFile

# A header may claim any size; what it claims is checked before memory is asked for.
MAX_DECODED_BYTES = 2 << 30
MAKE_AGAIN = "Copy or export the file again."
# Lengths in um, by the names and signs that OME, NGFF and ImageJ write.
UNITS_UM = {
    "angstrom": 1e-4,
    "å": 1e-4,
    "picometer": 1e-6,
    "pm": 1e-6,
    "nanometer": 1e-3,
    "nm": 1e-3,
    "micrometer": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "um": 1.0,
    "μm": 1.0,
    "millimeter": 1e3,
    "mm": 1e3,
    "centimeter": 1e4,
    "cm": 1e4,
    "meter": 1e6,
    "m": 1e6,
}


@dataclass(frozen=True)
class Note:
    """A doubt about a file that may be used: said once for all files of which it is true.

    Parameters
    ----------
    kind
        What it is about; the first note of each kind is shown.
    text
        A sentence without a full stop, without the file.
    """

    kind: str
    text: str


@dataclass(frozen=True)
class Metadata:
    """What a file says beyond its layout.

    Parameters
    ----------
    channel_names
        Name of each channel; empty where the file does not name all of them.
    pixel_size_um
        Pixel size, (y, x); None: not stated in a unit of length.
    notes
        Doubts.
    empty_channels
        Positions of channels of which nothing is stored.
    bits
        Bits of its values, where they are stored in more; None: not stated.
    channel_labels
        What it calls its channels where that may be anything else, too, such as the names of
        files: it counts where it is the name of another channel.
    """

    channel_names: tuple[str, ...] = ()
    pixel_size_um: tuple[float, float] | None = None
    notes: tuple[Note, ...] = ()
    empty_channels: tuple[int, ...] = ()
    bits: int | None = None
    channel_labels: tuple[str, ...] = ()


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
        uint8, uint16 or a float, of a mask any integer or bool, in native byte order.
    alpha
        Whether the last sample is an opacity.
    inverted
        Whether 0 is white.
    metadata
        What it says beyond that.
    """

    path: RawFile
    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    alpha: bool = False
    inverted: bool = False
    metadata: Metadata = Metadata()


def problem_with(path: RawFile, what: str, fix: str = "") -> UserError:
    """Return the error for one file."""
    return UserError(Problem(str(path), what, fix))


def check_size(header: Header) -> None:
    """Refuse a header that makes no sense, or claims more than fits into memory."""
    if len(header.axes) != len(header.shape) or not all(header.shape):
        what = f"the axes {header.axes} have lengths {header.shape}"
        raise problem_with(header.path, what, MAKE_AGAIN)
    claimed = math.prod(header.shape) * header.dtype.itemsize
    if claimed > MAX_DECODED_BYTES:
        what = f"would decode to {claimed / 2**30:,.1f} GiB; {MAX_DECODED_BYTES >> 30} is the limit"
        raise problem_with(header.path, what, "Split it, or export one field per file.")


def plain_header(
    path: RawFile,
    plane: tuple[int, int],
    samples: int,
    dtype: np.dtype[Any],
    *,
    alpha: bool,
    notes: tuple[Note, ...] = (),
) -> Header:
    """Return the header of a format that has interleaved samples, or one plane of grey values."""
    axes, shape = ("YX", plane) if samples == 1 else ("YXS", (*plane, samples))
    return Header(path, axes, shape, dtype, alpha, metadata=Metadata(notes=notes))


def turned(path: RawFile, orientation: object) -> UserError:
    """Return the error for a file that is to be shown turned or mirrored.

    Programs disagree on whether to follow this: masks made by one that does not would be displaced.
    """
    what = f"says that it is to be shown turned or mirrored (orientation {orientation})"
    return problem_with(path, what, "Save it upright.")


def left_out(count: int, what: str = "") -> Note:
    """Return the note that a file holds further images, which are not used."""
    images = "1 further image" if count == 1 else f"{count} further images"
    verb = "is" if count == 1 else "are"
    text = f"{images} in the file{f' ({what})' if what else ''} {verb} left out"
    return Note("further images", text)


def in_um(value: float, unit: str | None) -> float | None:
    """Return a length in um; None where the unit is not one of length, or the value no size.

    Examples
    --------
    >>> in_um(100.0, "nanometer")
    0.1
    """
    plain = unicodedata.normalize("NFKC", unit or "").strip().lower().replace("\\u00b5", "μ")
    factor = UNITS_UM.get(plain)
    if factor is None or not 0 < value < float("inf"):
        return None
    return value * factor


def plain_name(name: str) -> str:
    """Return the name of a channel for comparison: without case, spaces and punctuation.

    Examples
    --------
    >>> plain_name("Alexa-488 ") == plain_name("alexa 488")
    True
    """
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", name).casefold())
