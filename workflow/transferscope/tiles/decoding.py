"""Planned fields become tiles with their quality: in parallel, in order, a few fields ahead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from transferscope.errors import Problem, UserError
from transferscope.raw.file_checks import in_row
from transferscope.raw.float_values import as_stored, stored_ranges
from transferscope.raw.images import decode_field
from transferscope.raw.one_place import planes_print
from transferscope.runtime.arrays import Floats, Pixels
from transferscope.runtime.ordered_map import ordered_map
from transferscope.tiles.plan import PlannedField, TilePlan
from transferscope.tiles.quality import measure
from transferscope.tiles.tiling import (
    TilePlace,
    limit_torch_threads,
    padded,
    resample,
    resampled_shape,
    visible_part,
)
from transferscope.transport.files import RawFile, in_memory

# Fields on their way from an object store, undecoded; enough for many small files and few large.
FIELDS_AHEAD = 8
# Share of black pixels in an image whose background is not black.
RARELY = 0.001
CONSTANT = "every channel is constant"
SKIP_FIX = "To go on without it, set `bad_tiles: skip` in the study."


@dataclass(frozen=True)
class DecodedTile:
    """One tile of a field.

    Parameters
    ----------
    place
        Where it lies.
    pixels
        [C, H, W].
    quality
        `Quality.values()` of each channel, [C, measures].
    constant
        Whether every channel is constant, which makes it unusable.
    """

    place: TilePlace
    pixels: Pixels
    quality: Floats
    constant: bool


@dataclass
class DecodedField:
    """The tiles of one field, or the problems for which it has none.

    Parameters
    ----------
    tiles
        Its tiles.
    problems
        What is wrong with the whole field.
    prints
        `planes_print` of the field.
    doubt
        See `black_end`.
    """

    tiles: list[DecodedTile] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    prints: str = ""
    doubt: str = ""


def decode_from(plan: TilePlan, first: int, workers: int) -> Iterator[tuple[int, DecodedField]]:
    """Yield (index, decoded field) of the planned fields in order, from the first on.

    Threads suffice: reading, decompressing and NumPy release the interpreter lock.

    Parameters
    ----------
    plan
        The plan.
    first
        Index of the field to begin with.
    workers
        Fields decoded at a time.
    """
    if any(resampled_shape(p.shape, plan.card) != p.shape for p in plan.fields):
        limit_torch_threads()
    indices = range(first, len(plan.fields))
    if plan.sheet.is_remote:
        # Many files are on their way at a time; few are decoded.
        fetched = ordered_map(partial(_fetch, plan), indices, FIELDS_AHEAD)
    else:
        fetched = ((index, _files(plan, index)) for index in indices)

    def decode(found: tuple[int, list[RawFile] | UserError]) -> DecodedField:
        index, files = found
        return _decode(plan, plan.fields[index], files)

    for (index, _), decoded in ordered_map(decode, fetched, workers):
        yield index, decoded


def problems_of(plan: TilePlan, index: int, decoded: DecodedField) -> list[Problem]:
    """Return what is wrong with a field, or with its bad tiles where others are good."""
    planned, sheet = plan.fields[index], plan.sheet
    where = f"{sheet.place(planned.position)}: {sheet.source(planned.position)}"
    if decoded.problems:
        return [Problem(p.where, p.what, f"{p.fix} {SKIP_FIX}") for p in decoded.problems]
    bad = [tile.place for tile in decoded.tiles if tile.constant]
    fix = f"Repair or remove it. {SKIP_FIX}"
    if bad and len(bad) == len(planned.places):
        return [Problem(where, CONSTANT, fix)]
    return [Problem(f"{where}, tile at y {p.y}, x {p.x}", CONSTANT, fix) for p in bad]


def _files(plan: TilePlan, index: int) -> list[RawFile]:
    return plan.sheet.files(plan.fields[index].position)


def _fetch(plan: TilePlan, index: int) -> list[RawFile] | UserError:
    """Return the files of a field with their contents, or what is wrong with them."""
    try:
        return [in_memory(file) for file in _files(plan, index)]
    except UserError as error:
        return error


def _decode(
    plan: TilePlan, planned: PlannedField, files: list[RawFile] | UserError
) -> DecodedField:
    sheet, tiles = plan.sheet, []
    try:
        if isinstance(files, UserError):
            raise files
        image = decode_field(files, plan.card, one_file_per_channel=sheet.one_file_per_channel)
    except UserError as error:
        return DecodedField(problems=in_row(sheet, planned.position, error))
    prints, doubt = planes_print(image), black_end(image, plan.card.channels)
    image = resample(as_stored(image, plan.card), resampled_shape(planned.shape, plan.card))
    whites = [white for _, white in stored_ranges(plan.card, plan.dtype)]
    for place in planned.places:
        part = visible_part(image, place)
        measured = list(map(measure, part, whites))
        quality = np.array([channel.values() for channel in measured])
        constant = all(channel.constant for channel in measured)
        tiles.append(DecodedTile(place, padded(part, place), quality, constant))
    return DecodedField(tiles, prints=prints, doubt=doubt)


def black_end(image: Pixels, channels: Sequence[str]) -> str:
    """Return what looks as if a file without compression had not been written to its end.

    Space for it may have been taken before, and is zero.

    Parameters
    ----------
    image
        A field, [C, H, W].
    channels
        Names of its channels.

    Returns
    -------
    str
        A sentence without a full stop; empty where the last row is not black, or the image is
        black in other places, too.
    """
    for plane, name in zip(image, channels, strict=True):
        if plane[-1].any() or not plane.any():
            continue
        end = int(np.flatnonzero(plane.any(axis=1))[-1])
        above = plane[:end]  # without the row in which it ends
        black = 1 - np.count_nonzero(above) / max(1, above.size)
        if above.size and black < RARELY:
            return (
                f"the last {len(plane) - 1 - end} of {len(plane)} rows of channel {name} are 0, "
                f"but only {100 * black:.1f} % of the pixels above: the file may not be complete"
            )
    return ""
