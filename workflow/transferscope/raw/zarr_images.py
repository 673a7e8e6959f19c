"""OME-Zarr: axes and levels as the metadata name them, and chunks that are not there.

A chunk without a file stands for the fill value, and writers leave out chunks that are black. A
file that was lost in a copy looks the same. So the pixels around such a chunk decide, and the
smaller levels: where they are not black, neither was the chunk. If there is a smaller level, it
alone decides.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from transferscope.raw.headers import MAKE_AGAIN, Metadata, Note, in_um, left_out, problem_with
from transferscope.runtime.arrays import Pixels
from transferscope.transport.files import RawFile

# What NGFF before version 0.3 means where it names no axes.
DEFAULT_AXES = "tczyx"
# Names of axes, and the letters they stand for.
LETTERS = {
    "t": "T", "time": "T", "frame": "T",
    "c": "C", "ch": "C", "channel": "C", "channels": "C",
    "z": "Z", "depth": "Z", "y": "Y", "height": "Y", "x": "X", "width": "X",
}  # fmt: skip
# Letters that an axis of a type may have.
OF_TYPE = {"time": "T", "channel": "C", "space": "ZYX"}
PLANE_AXES = "ZYX"
# Of the pixels next to a missing chunk, the share that must have the fill value: an object in the
# dark may end where a chunk does, but a background that is nowhere black does not.
BLACK_AROUND = 0.05
MOST_LISTED = 1 << 20


@dataclass(frozen=True)
class Missing:
    """Chunks of an array that are not in the folder.

    Parameters
    ----------
    count, total
        How many of how many.
    grid, chunk
        Number of chunks along each axis, and length of each.
    places
        Their indices in the grid.
    """

    count: int
    total: int
    grid: tuple[int, ...]
    chunk: tuple[int, ...]
    places: tuple[tuple[int, ...], ...]

    @property
    def text(self) -> str:
        """What to say of them."""
        return f"{self.count:,} of {self.total:,} chunks are not there"

    def channels(self, axes: str) -> tuple[int, ...]:
        """Return the positions of channels without any chunk."""
        if "C" not in axes or not self.places:
            return ()
        at = axes.index("C")
        of_channel = Counter(place[at] for place in self.places)
        most = self.total // self.grid[at]
        empty = [c for c, count in sorted(of_channel.items()) if count == most]
        size = self.chunk[at]
        return tuple(channel for c in empty for channel in range(c * size, (c + 1) * size))


def axes_of(path: RawFile, scales: dict[str, Any], shape: Sequence[int]) -> str:
    """Return one letter per axis of a multiscale image: T, C, Z, Y, X; Q of another of length one.

    Raises
    ------
    UserError
        Where an axis is of another kind, or its name contradicts its type.
    """
    named = scales.get("axes")
    if named is None and "coordinateSystems" in scales:
        what = "names its axes in a way that is not known, of a later version of NGFF"
        raise problem_with(path, what, "Export it as NGFF 0.4 or 0.5.")
    axes = list(named or DEFAULT_AXES)
    if len(axes) != len(shape):
        what = f"has {len(shape)} dimensions, but names {len(axes)} axes"
        raise problem_with(path, what, MAKE_AGAIN)
    return "".join(_letter(path, axis, n) for axis, n in zip(axes, shape, strict=True))


def _letter(path: RawFile, axis: Any, length: int) -> str:
    name, kind = (axis.get("name"), axis.get("type")) if isinstance(axis, dict) else (axis, None)
    letter, allowed = LETTERS.get(str(name).lower()), OF_TYPE.get(str(kind), "")
    if kind in (None, "") and letter:
        return letter
    if len(allowed) == 1 and letter in (None, allowed):
        return allowed
    if letter and letter in allowed:
        return letter
    if length == 1:
        return "Q"
    described = f'"{name}"' + (f" of type {kind}" if kind else "")
    what = f"has an axis {described}, which is none of time, channel, z, y and x"
    raise problem_with(path, what, "Export it with axes as NGFF names them: t, c, z, y, x.")


def check_levels(path: RawFile, shapes: Sequence[tuple[int, ...]]) -> None:
    """Refuse levels of which a later one is larger than the first.

    Parameters
    ----------
    path
        The image.
    shapes
        Shape of each level, in the order of the metadata.
    """
    first, *others = shapes
    for number, shape in enumerate(others, start=1):
        if math.prod(shape) > math.prod(first):
            what = (
                f"its levels are in the wrong order: the first has shape {first}, but "
                f"the one at position {number} {shape}"
            )
            raise problem_with(path, what, "Name the largest level first in `datasets`.")


def check_scales(path: RawFile, scales: dict[str, Any]) -> None:
    """Refuse levels of which a later one says that its pixels are smaller than the first's.

    Parameters
    ----------
    path
        The image.
    scales
        Its multiscale metadata.
    """
    stated = [scale for level in scales["datasets"] if (scale := _scale(level))]
    for later in stated[1:]:
        if len(later) == len(stated[0]) and math.prod(later) < math.prod(stated[0]):
            sizes = f"the first has pixels of {stated[0]}, a later one of {later}"
            what = f"its levels are in the wrong order: {sizes}"
            raise problem_with(path, what, "Name the largest level first in `datasets`.")


def _scale(level: dict[str, Any]) -> list[float]:
    for step in level.get("coordinateTransformations") or []:
        if step.get("type") == "scale":
            return [float(value) for value in step.get("scale", ())]
    return []


def metadata_of(attributes: dict[str, Any], axes: str) -> Metadata:
    """Return what the attributes of an image say beyond its layout."""
    scales = attributes["multiscales"]
    notes: list[Note] = [left_out(len(scales) - 1)] if len(scales) > 1 else []
    channels = (attributes.get("omero") or {}).get("channels") or []
    names = tuple(str(c.get("label") or "").strip() for c in channels if isinstance(c, dict))
    return Metadata(names if all(names) else (), _pixel_size(scales[0], axes), tuple(notes))


def _pixel_size(scales: dict[str, Any], axes: str) -> tuple[float, float] | None:
    """Return the size of a pixel of the first level (y, x): its own scale, then the image's."""
    named = scales.get("axes") or []
    size = []
    for letter in "YX":
        at = axes.index(letter) if letter in axes else len(axes)
        unit = named[at].get("unit") if at < len(named) and isinstance(named[at], dict) else None
        value, given = 1.0, False
        for holder in (scales["datasets"][0], scales):
            for step in holder.get("coordinateTransformations") or []:
                if step.get("type") == "scale" and len(step.get("scale", ())) == len(axes):
                    value, given = value * float(step["scale"][at]), True
        length = in_um(value, unit) if given else None
        if length is None:
            return None
        size.append(length)
    return size[0], size[1]


# Chunks ---------------------------------------------------------------------------------------


def missing_chunks(folder: RawFile, level: str, array: Any) -> Missing | None:
    """Return which chunks of an array have no file; None: all are there.

    A shard counts as one chunk: which chunks in it are empty, it says itself.

    Parameters
    ----------
    folder
        The image.
    level
        Path of the array within it.
    array
        The array.
    """
    grid = [math.ceil(n / size) for n, size in zip(array.shape, _chunk(array), strict=True)]
    total = math.prod(grid)
    if total > MOST_LISTED:
        return None
    stored = _stored(folder, level, array)
    # In most images every chunk has its file, and nothing else lies there.
    places = [
        place
        for place in itertools.product(*map(range, grid))
        if array.metadata.encode_chunk_key(place) not in stored
    ]
    return (
        Missing(len(places), total, tuple(grid), _chunk(array), tuple(places)) if places else None
    )


def _chunk(array: Any) -> tuple[int, ...]:
    return tuple(array.shards or array.chunks)


def _stored(folder: RawFile, level: str, array: Any) -> set[str]:
    if isinstance(folder, Path):
        own = folder / level
        return {file.relative_to(own).as_posix() for file in own.rglob("*") if file.is_file()}
    # Imported here: an implementation detail of zarr, needed for object stores alone.
    from zarr.core.sync import sync

    prefix = f"{array.path}/" if array.path else ""

    async def listed() -> set[str]:
        return {key.removeprefix(prefix) async for key in array.store.list_prefix(prefix)}

    return sync(listed())


def check_missing(
    path: RawFile, array: Any, axes: str, missing: Missing, pixels: Pixels, smaller: Any | None
) -> None:
    """Refuse an image of which a missing chunk cannot have been black.

    Parameters
    ----------
    path, array, axes, missing
        The image, its first level, that level's axes and missing chunks.
    pixels
        The first level, with the fill value in the missing chunks.
    smaller
        The next level, if there is one.
    """
    fill, absent = array.fill_value, set(missing.places)
    lower = None if smaller is None or smaller.ndim != pixels.ndim else np.asarray(smaller[...])
    for place in missing.places:
        part = tuple(
            slice(i * size, min((i + 1) * size, n))
            for i, size, n in zip(place, _chunk(array), array.shape, strict=True)
        )
        shown = None if lower is None else _shown(lower, pixels.shape, part)
        if shown is not None and shown.size:  # what a smaller level shows, decides
            if (shown != fill).any():
                raise _lost(path, missing, "although a smaller level shows what was in them")
            continue
        around = [face == fill for face in _faces(pixels, axes, part, place, absent)]
        known = sum(face.size for face in around)
        if known and sum(int(face.sum()) for face in around) < BLACK_AROUND * known:
            raise _lost(path, missing, "although the pixels next to them are not black")


def _lost(path: RawFile, missing: Missing, why: str) -> Exception:
    return problem_with(path, f"{missing.text}, {why}", MAKE_AGAIN)


def lost_without_doubt(path: RawFile, array: Any, missing: Missing) -> None:
    """Refuse an image without any chunk, or whose missing chunks stand for no value."""
    if missing.count == missing.total:
        what = f"{missing.text}, or they lie elsewhere than the metadata say"
        raise problem_with(path, what, MAKE_AGAIN)
    if array.metadata.fill_value is None:
        raise _lost(path, missing, "and the metadata give no value for them (fill_value)")


def _faces(
    pixels: Pixels,
    axes: str,
    part: tuple[slice, ...],
    place: tuple[int, ...],
    absent: set[tuple[int, ...]],
) -> Iterator[Pixels]:
    """Yield the pixels next to a chunk, along z, y and x, in chunks that are there."""
    for axis, letter in enumerate(axes):
        if letter not in PLANE_AXES:
            continue
        for step, at in ((-1, part[axis].start - 1), (1, part[axis].stop)):
            neighbour = (*place[:axis], place[axis] + step, *place[axis + 1 :])
            if 0 <= at < pixels.shape[axis] and neighbour not in absent:
                yield pixels[(*part[:axis], at, *part[axis + 1 :])]


def _shown(lower: Pixels, shape: tuple[int, ...], part: tuple[slice, ...]) -> Pixels:
    """Return what a smaller level holds where a chunk is missing.

    Its rim is left out, into which the pixels next to it may have been averaged.
    """
    inner = []
    for here, n, small in zip(part, shape, lower.shape, strict=True):
        ratio = small / n
        start, stop = math.ceil(here.start * ratio), math.floor(here.stop * ratio)
        rim = int(small < n)
        inner.append(slice(start + rim, max(start + rim, stop - rim)))
    return lower[tuple(inner)]
