"""An image is in one place: the same file, or the same pixels, in two fields, groups or channels.

Files are compared when the sheet is read, by what the file system says of them, so that links and
other spellings of a path are seen through; pixels when they are decoded. Across groups this is a
leak: what a probe was trained on is what it is tested on.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np
import numpy.typing as npt

from transferscope.raw.text_tables import Finding
from transferscope.runtime.arrays import Pixels
from transferscope.transport.urls import is_url

Numbers = npt.NDArray[np.uint64]

PRINT_BYTES = 16
MOST_KNOWN = 10_000
LEAK = "a leak: one group is tested on what the other was trained on"
KNOWN = "If it is known, set `duplicates: warn` in the dataset card."
# Kinds of use of one image.
GROUPS, CHANNELS, FIELDS, PART = "two groups", "two channels", "given twice", "shared channel"
FIXES = {
    GROUPS: "Give both rows one group, or remove one of them.",
    CHANNELS: "Name the image of each channel.",
    FIELDS: "Remove one of the rows.",
    PART: "Name the field's own image.",
}


@dataclass(frozen=True, order=True)
class Use:
    """Where an image is used.

    Parameters
    ----------
    position
        Position of the field in the sheet, from 0.
    channel
        Number of the channel, from 0; of a file with all channels 0.
    """

    position: int
    channel: int


def repeats(high: Numbers, low: Numbers) -> Iterator[list[int]]:
    """Yield the indices of equal pairs of numbers, two or more, each list in order.

    Parameters
    ----------
    high, low
        [N] uint64.
    """
    order = np.lexsort((low, high))
    differs = (np.diff(high[order]) != 0) | (np.diff(low[order]) != 0)
    starts = np.flatnonzero(np.concatenate([[True], differs])).tolist()
    for begin, end in pairwise([*starts, len(order)]):
        if end - begin > 1:
            yield sorted(order[begin:end].tolist())


class FilesSeen:
    """Collects which files the rows of a sheet name, to find those that are named again."""

    def __init__(self) -> None:
        # Four numbers per file, and no objects: a sheet may name millions.
        self._numbers = array("Q")

    def add(self, position: int, channel: int, identity: tuple[int, int]) -> None:
        """Note that a file is used.

        Parameters
        ----------
        position, channel
            Where, see `Use`.
        identity
            The numbers of its file system and of the file.
        """
        self._numbers.extend((position, channel, *identity))

    def repeated(self, target: Callable[[Use], str]) -> Iterator[tuple[Use, Use]]:
        """Yield the first use of a file with each further one.

        Parameters
        ----------
        target
            Returns the path that a use means.
        """
        if not self._numbers:
            return
        table = np.frombuffer(self._numbers, np.uint64).reshape(-1, 4)
        for same in repeats(table[:, 2], table[:, 3]):
            # Channels come one after the other: the first use is that of the first row.
            uses = sorted(Use(int(table[i, 0]), int(table[i, 1])) for i in same)
            for again in uses[1:]:
                if _is_one_file(target(uses[0]), target(again)):
                    yield uses[0], again


def _is_one_file(first: str, second: str) -> bool:
    """Return whether two paths of one number mean one file.

    Some network file systems give a number twice, or none. In an object store, URLs are numbered.
    """
    if is_url(first):
        return True
    ends = {os.path.realpath(path) for path in (first, second)} if first != second else {first}
    if len(ends) == 1:
        return True
    found = os.stat(first)  # noqa: PTH116
    spelled = {unicodedata.normalize("NFC", end).casefold() for end in ends}
    return found.st_ino != 0 and (found.st_nlink > 1 or len(spelled) == 1)


def planes_print(image: Pixels) -> str:
    """Return a digest of the pixels of each channel of a field [C, H, W], as joined hexadecimals.

    That of a constant plane is zero: blank images are equal by nature.
    """
    return "".join(map(_plane_print, image))


def _plane_print(plane: Pixels) -> str:
    # The first row tells most planes from a constant one.
    if plane.size == 0 or all((part == plane.flat[0]).all() for part in (plane[:1], plane)):
        return "00" * PRINT_BYTES
    head = f"{plane.dtype.str} {plane.shape}".encode()
    found = hashlib.blake2b(head, digest_size=PRINT_BYTES)
    found.update(np.ascontiguousarray(plane).data)
    return found.hexdigest()


def equal_planes(prints: Iterable[tuple[int, str]], channels: int) -> Iterator[tuple[Use, Use]]:
    """Yield the first use of a plane with each further one.

    Parameters
    ----------
    prints
        Position of each field in the sheet, and its `planes_print`; one may be given twice.
    channels
        Number of channels.
    """
    known = {position: found for position, found in prints if found}
    if not known:
        return
    table = np.frombuffer(bytes.fromhex("".join(known.values())), np.uint64).reshape(-1, 2)
    kept = np.flatnonzero(table.any(axis=1))
    positions = list(known)
    for same in repeats(table[kept, 0], table[kept, 1]):
        places = [divmod(int(kept[index]), channels) for index in same]
        first, *others = sorted(Use(positions[field], channel) for field, channel in places)
        for again in others:
            yield first, again


@dataclass(frozen=True)
class Fields:
    """What is known of the rows of a sheet.

    Parameters
    ----------
    rows
        Number of each row, as a spreadsheet shows it.
    groups
        Their groups.
    columns
        The columns that name files.
    channels
        The names of the channels.
    """

    rows: Sequence[int]
    groups: Sequence[str]
    columns: Sequence[str]
    channels: Sequence[str]


def describe(
    pairs: Iterable[tuple[Use, Use]], fields: Fields, what: str, *, known: bool
) -> tuple[list[Finding], list[Finding]]:
    """Return what stops and what is warned of.

    Parameters
    ----------
    pairs
        Uses of one image.
    fields
        The rows.
    what
        "file" or "pixels".
    known
        Everything is only warned of.
    """
    of_rows: dict[tuple[int, int], list[tuple[int, int]]] = {}
    # Where it is known, a sheet may name one file a million times.
    for first, again in islice(pairs, MOST_KNOWN) if known else pairs:
        of_rows.setdefault((first.position, again.position), []).append(
            (first.channel, again.channel)
        )
    stops: list[Finding] = []
    warnings: list[Finding] = []
    for (first_position, position), channels in of_rows.items():
        kind, text = _kind(first_position, position, channels, fields, what)
        fix = FIXES[kind] if known else f"{FIXES[kind]} {KNOWN}"
        column = fields.columns[min(channels[0][1], len(fields.columns) - 1)]
        finding = Finding(fields.rows[position], column, kind, text, fix)
        stops_here = kind == GROUPS or (what == "file" and kind in (CHANNELS, FIELDS))
        (stops if stops_here and not known else warnings).append(finding)
    return stops, warnings


def _kind(
    first: int, again: int, channels: Sequence[tuple[int, int]], fields: Fields, what: str
) -> tuple[str, str]:
    """Return the kind of a repetition, and what is wrong."""
    names = fields.channels if len(fields.columns) > 1 or what == "pixels" else [""]
    shared = [(names[one], names[other]) for one, other in channels]
    whole = len(shared) == len(names) and all(one == other for one, other in shared)
    subject = f"the same {what}" if whole else f"the same {what} in {_among(shared)}"
    if first == again:
        one, other = shared[0]
        return CHANNELS, f"the channels {one} and {other} have the same {what}"
    groups = fields.groups[first], fields.groups[again]
    if groups[0] != groups[1]:
        named = f'of group "{groups[0]}", though this row is of group "{groups[1]}"'
        return GROUPS, f"has {subject} as row {fields.rows[first]} {named}: {LEAK}"
    text = f"has {subject} as row {fields.rows[first]} of the same group"
    if any(one != other for one, other in shared):
        return CHANNELS, text
    return (FIELDS if whole else PART), text


def _among(shared: Sequence[tuple[str, str]]) -> str:
    texts = [name if name == other else f"{other} (there {name})" for name, other in shared]
    return f"channel{'s'[: len(texts) > 1]} {', '.join(dict.fromkeys(texts))}"
