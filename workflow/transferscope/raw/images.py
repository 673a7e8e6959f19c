"""One field: its raw file or files become pixels [C, H, W], channels in the card's order.

Axes are taken from the file where it names them. Where it does not, a multi-channel file has its
channel axis where the dataset card says (`channel_order`), or where the length fits; the extra
axis of a file that holds one channel is z. Z is projected; time must have one point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from transferscope.cards import DatasetCard
from transferscope.errors import Problem, UnreachableError, UserError
from transferscope.raw.headers import Header, plain_name, problem_with
from transferscope.raw.image_formats import read_header, read_pixels
from transferscope.runtime.arrays import Pixels
from transferscope.transport.files import RawFile, in_memory

UNKNOWN_AXES = "QI"
ORDERS = {"first": ("YX", "CYX", "CZYX", "ZCYX"), "last": ("YX", "YXC", "ZYXC")}
ANY_ORDER = ("CYX", "YXC", "CZYX", "ZCYX", "ZYXC")
NAME_AXES_ONLY = "Save it with named axes (OME-TIFF, or ImageJ hyperstack)."
# A channel axis that ImageJ calls z is told by the card's `channel_order`; nothing else is.
MAY_BE_TAKEN_FOR = {("Z", "C")}
NAME_AXES = f"{NAME_AXES_ONLY[:-1]}, or set `channel_order:` in the card."


@dataclass(frozen=True)
class FieldHeader:
    """What the headers of one field's files say.

    Parameters
    ----------
    files
        The headers of its files, in channel order.
    shape
        Height and width in px.
    dtype
        uint8, uint16 or a float.
    channel_names
        Names that the files give their channels, in the card's order; empty where they do not.
    channel_labels
        What may be such names, see `Metadata`.
    """

    files: tuple[Header, ...]
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    channel_names: tuple[str, ...] = ()
    channel_labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Arrangement:
    """Which axis of a file is what; None: it has no such axis. `n_channels` are to be kept."""

    c: int | None
    z: int | None
    y: int
    x: int
    n_channels: int


def read_field_header(
    files: Sequence[RawFile], card: DatasetCard, *, one_file_per_channel: bool = False
) -> FieldHeader:
    """Read the headers of one field and check them against the card.

    Parameters
    ----------
    files
        One multi-channel file, or one file per channel in the order of `card.channels`.
    card
        The dataset.
    one_file_per_channel
        Whether each file holds one channel.

    Raises
    ------
    UserError
        Naming the file, and the channel or axis that is wrong.
    """
    n_channels = None if one_file_per_channel else _channels_in_file(card)
    headers, planes, names, labels, problems = [], [], [], [], []
    for file in files:
        try:
            header = read_header(file)
            axes = _arrange(header, n_channels, card)
            _check_stored(header, axes, n_channels, card)
        except UnreachableError:
            raise
        except UserError as error:
            problems += error.problems
        else:
            headers.append(header)
            planes.append((header.shape[axes.y], header.shape[axes.x]))
            names += _names(header, axes, n_channels, card, header.metadata.channel_names)
            labels += _names(header, axes, n_channels, card, header.metadata.channel_labels)
    labels = labels if len(labels) == len(card.channels) else []
    if len(names) != len(card.channels) or not all(names):
        names = []
    problems = problems or _differences(headers, planes, card)
    problems = problems or _misplaced(headers, names or labels, card)
    if problems:
        raise UserError(problems)
    found = tuple(headers), planes[0], headers[0].dtype, tuple(names), tuple(labels)
    return FieldHeader(*found)


def decode_field(
    files: Sequence[RawFile], card: DatasetCard, *, one_file_per_channel: bool = False
) -> Pixels:
    """Decode one field.

    Parameters
    ----------
    files
        One multi-channel file, or one file per channel in the order of `card.channels`.
    card
        The dataset: channels, channel order, ignored channels and z projection.
    one_file_per_channel
        Whether each file holds one channel.

    Returns
    -------
    ndarray
        [C, H, W], of the type of the files; a projected mean of integers is rounded half to even.

    Raises
    ------
    UserError
        Naming the file, and the channel or axis that is wrong.
    """
    files = [in_memory(file) for file in files]
    header = read_field_header(files, card, one_file_per_channel=one_file_per_channel)
    n_channels = None if one_file_per_channel else _channels_in_file(card)
    parts = [_decode_file(file, n_channels, card) for file in header.files]
    field = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if n_channels is not None and card.ignore_channels:
        field = np.delete(field, card.ignore_channels, axis=0)
    return np.ascontiguousarray(field)


def _channels_in_file(card: DatasetCard) -> int:
    return len(card.channels) + len(card.ignore_channels)


def _decode_file(header: Header, n_channels: int | None, card: DatasetCard) -> Pixels:
    axes = _arrange(header, n_channels, card)
    pixels = read_pixels(header)
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        what = "holds values that are not a number or infinite"
        raise problem_with(header.path, what, "Export it again, without them.")
    named = [axis for axis in (axes.c, axes.z, axes.y, axes.x) if axis is not None]
    # What is not named has a length of one.
    pixels = np.moveaxis(pixels, named, range(-len(named), 0))
    pixels = pixels.reshape(pixels.shape[-len(named) :])
    if axes.c is None:
        pixels = pixels[np.newaxis]
    if axes.z is not None and card.z_projection == "max":
        pixels = pixels.max(axis=1)
    elif axes.z is not None:
        mean = pixels.mean(axis=1, dtype=np.float64)
        pixels = (mean if pixels.dtype.kind == "f" else np.rint(mean)).astype(pixels.dtype)
    return np.asarray(pixels[: axes.n_channels])


def _differences(
    headers: Sequence[Header], planes: Sequence[tuple[int, int]], card: DatasetCard
) -> list[Problem]:
    """Return how channel files of one field differ from the first in size or type."""
    values = {"size (height, width)": planes, "type": [header.dtype.name for header in headers]}
    return [
        Problem(
            str(header.path),
            f"channel {channel} has {what} {found[i]}, but {headers[0].path} has {found[0]}",
            "Export all channels alike.",
        )
        for i, (header, channel) in enumerate(zip(headers, card.channels, strict=False))
        for what, found in values.items()
        if found[i] != found[0]
    ]


def _check_stored(
    header: Header, axes: _Arrangement, n_channels: int | None, card: DatasetCard
) -> None:
    """Refuse a file that stores nothing of a channel that is used."""
    if header.axes.find("C") != axes.c:
        return
    ignored = card.ignore_channels if n_channels is not None else []
    for channel in header.metadata.empty_channels:
        if channel < axes.n_channels and channel not in ignored:
            what = f"nothing of the channel at position {channel} is stored"
            fix = "Copy or export it again, or name the position in `ignore_channels` of the card."
            raise problem_with(header.path, what, fix)


def _names(
    header: Header,
    axes: _Arrangement,
    n_channels: int | None,
    card: DatasetCard,
    names: Sequence[str],
) -> list[str]:
    """Return the names that a file gives its channels, without those that the card ignores."""
    if len(names) != axes.n_channels:
        return []
    ignored = card.ignore_channels if n_channels is not None else []
    return [name for i, name in enumerate(names) if i not in ignored]


def _misplaced(headers: Sequence[Header], names: Sequence[str], card: DatasetCard) -> list[Problem]:
    """Return a problem where files name a channel as the card does, but in another place."""
    if not out_of_place(names, card.channels):
        return []
    said, wanted = ", ".join(names), ", ".join(card.channels)
    what = f"names its channels {said}, but the card has them in the order {wanted}"
    fix = "Put `channels:` of the card into the order of the file, or name the right files."
    return [Problem(str(headers[0].path), what, fix)]


def out_of_place(names: Sequence[str], others: Sequence[str]) -> bool:
    """Return whether any name stands in both lists, but not in the same place.

    Examples
    --------
    >>> out_of_place(["Protein", "nucleus"], ["nucleus", "protein"])
    True
    >>> out_of_place(["DAPI", "mCherry"], ["dapi", "GFP"])
    False
    """
    ours, theirs = [plain_name(n) for n in names], [plain_name(n) for n in others]
    return any(
        name and name != theirs[i] and name in theirs and ours.count(name) == 1
        for i, name in enumerate(ours[: len(theirs)])
    )


def _arrange(header: Header, n_channels: int | None, card: DatasetCard) -> _Arrangement:
    """Find the axes of a file; `n_channels` None: the file is one channel."""
    # An axis of length one is a placeholder, unless it is Y or X.
    axes = [
        (i, letter) for i, letter in enumerate(header.axes) if letter in "YX" or header.shape[i] > 1
    ]
    letters = "".join(letter for _, letter in axes)
    unnamed = any(letter in UNKNOWN_AXES for letter in letters)
    overruled = "S" not in letters and n_channels is not None and (unnamed or n_channels > 1)
    if overruled and card.channel_order != "auto":
        found = _by_position(header, axes, n_channels, ORDERS[card.channel_order])
        _check_order(header, found, card)
    elif unnamed and not set(letters) & set("SCTZ"):
        possible = ("ZYX",) if n_channels is None else ANY_ORDER
        found = _by_position(header, axes, n_channels, possible)
    elif unnamed:
        raise _unclear(header, NAME_AXES)
    else:
        found = {letter.replace("S", "C"): i for i, letter in axes}
        if len(found) < len(letters) or set(found) - set("CZYX") or not set("YX") <= set(found):
            what = f"has axes {header.axes} of lengths {header.shape}"
            fix = "Expected: Y and X, with one channel axis and one z axis at the most."
            raise problem_with(header.path, what, fix)
    kept = _count_channels(header, found.get("C"), n_channels, card)
    return _Arrangement(found.get("C"), found.get("Z"), found["Y"], found["X"], kept)


def _by_position(
    header: Header, axes: list[tuple[int, str]], n_channels: int | None, possible: Sequence[str]
) -> dict[str, int]:
    """Assign axes in one of the possible orders: the one in which the length of C fits."""
    orders = [order for order in possible if len(order) == len(axes)]
    if len(orders) > 1:
        channels = {order: axes[order.index("C")] for order in orders}
        named = [order for order, (_, letter) in channels.items() if letter == "C"]
        fitting = [order for order, (i, _) in channels.items() if header.shape[i] == n_channels]
        # Where no length fits, the count of three axes will be refused, and named.
        orders = named or fitting or [order for order in orders if order == "CYX"]
    if len(orders) != 1:
        raise _unclear(header, NAME_AXES if possible[0] != "YX" else NAME_AXES_ONLY)
    return {letter: i for letter, (i, _) in zip(orders[0], axes, strict=True)}


def _check_order(header: Header, found: dict[str, int], card: DatasetCard) -> None:
    """Refuse axes that the file names otherwise than the card orders them."""
    # Where some axes are not named, the others are a guess of the reader, except time.
    guessed = set(header.axes) & set(UNKNOWN_AXES)
    for letter, i in found.items():
        named, length = header.axes[i], header.shape[i]
        if named == letter or (named, letter) in MAY_BE_TAKEN_FOR or (guessed and named != "T"):
            continue
        order = f"`channel_order: {card.channel_order}`"
        if named == "T":
            what = f"has {length} points in time (axes {header.axes}), against {order} of the card"
            raise problem_with(header.path, what, "Export one point in time per file.")
        what = f"names its axes {header.axes}, against {order} of the card"
        fix = "Remove `channel_order:` from the card: the file says where its channels are."
        raise problem_with(header.path, what, fix)


def _unclear(header: Header, fix: str) -> UserError:
    named = "" if set(header.axes).isdisjoint(UNKNOWN_AXES) else " are not named"
    what = f"cannot tell channels from z: its axes {header.axes} of lengths {header.shape}{named}"
    return problem_with(header.path, what, fix)


def _count_channels(
    header: Header, channel_axis: int | None, n_channels: int | None, card: DatasetCard
) -> int:
    """Return how many channels to keep, which leaves out an opacity, or refuse the file."""
    count = 1 if channel_axis is None else header.shape[channel_axis]
    expected = 1 if n_channels is None else n_channels
    if count == expected:
        return count
    if header.alpha and count == expected + 1 and expected in (1, 3):
        return expected
    fix = "Export each channel as grey values."
    named = "one channel is expected in each file"
    if n_channels is not None:
        ignored = f" and ignores {len(card.ignore_channels)}" if card.ignore_channels else ""
        named = f"the card names {len(card.channels)}{ignored}: {', '.join(card.channels)}"
        fix = (
            "Correct `channels:`, `ignore_channels:` or `channel_order:` in the dataset card; "
            "a z-stack must name its axes (OME-TIFF, or ImageJ hyperstack)."
        )
    s = "" if count == 1 else "s"
    what = f"has {count} channel{s} (axes {header.axes}, shape {header.shape}), but {named}"
    raise problem_with(header.path, what, fix)
