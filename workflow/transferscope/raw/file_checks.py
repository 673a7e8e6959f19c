"""Header checks of all raw files of a sheet: problems found in seconds, before any decoding."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from operator import attrgetter

import numpy as np

from transferscope.cards import DatasetCard
from transferscope.errors import Problem, UnreachableError, UserError
from transferscope.raw.float_values import without_range
from transferscope.raw.headers import Note, plain_name
from transferscope.raw.images import FieldHeader, out_of_place, read_field_header
from transferscope.raw.sheets import SampleSheet
from transferscope.runtime.ordered_map import ordered_map
from transferscope.runtime.progress import progress_bar
from transferscope.transport.access import REQUESTS

logger = logging.getLogger(__name__)

# Headers are small and far apart: threads wait for the disk, not for each other.
HEADER_THREADS = 8
MOST_SHOWN = 20
# What all fields must have in common, and what to do where they do not.
ALIKE = (
    ("type", attrgetter("dtype"), "Export all fields in one type."),
    ("size", attrgetter("shape"), "Set `tiles.size` in the dataset card."),
)
# Pixel sizes that differ by less are those of one objective.
SAME_SIZE = 0.02
ONE_ORDER = "Export all fields with their channels in one order."
ONE_SCALE = (
    "Make each pixel size a dataset of its own (`tiles.pixel_size_um` can bring them to one), "
    "or correct what the files say."
)


def check_files(
    sheet: SampleSheet, card: DatasetCard, max_files: int | None = None
) -> list[Problem]:
    """Read the header of every raw file and return what is wrong with them.

    Parameters
    ----------
    sheet
        A sheet that has passed `read_sheet`.
    card
        The dataset.
    max_files
        Check an evenly spaced selection of the fields, so that at most this many files are
        opened. None: check all.

    Returns
    -------
    list of Problem
        Unreadable and truncated files, wrong channels, axes, types and sizes, each with the row.
    """
    found: list[Problem] = []
    uniformity = Uniformity(sheet, card)
    for position, header in scan_headers(sheet, card, _selection(sheet, max_files)):
        if isinstance(header, FieldHeader):
            uniformity.add(position, header)
        else:
            found += header
    uniformity.log_notes()
    shown = first_problems(found, str(sheet.path), "raw files have problems")
    return shown + uniformity.problems()


def first_problems(
    problems: list[Problem], where: str, what: str, most: int = MOST_SHOWN
) -> list[Problem]:
    """Return the first problems, and one that says how many more there are: "3 more <what>"."""
    more = len(problems) - most
    return problems[:most] + ([Problem(where, f"{more} more {what}")] if more > 0 else [])


def scan_headers(
    sheet: SampleSheet, card: DatasetCard, positions: Sequence[int]
) -> Iterator[tuple[int, FieldHeader | list[Problem]]]:
    """Yield each position with its field's header, or with the problems of a bad field.

    One at a time: a dataset may have a million fields.
    """
    threads = REQUESTS if sheet.is_remote else HEADER_THREADS
    scan = ordered_map(partial(header_at, sheet, card), positions, threads)
    with progress_bar(f"Headers of {card.name}", len(positions), "fields") as bar:
        for found in scan:
            yield found
            bar.update()


def header_at(sheet: SampleSheet, card: DatasetCard, position: int) -> FieldHeader | list[Problem]:
    """Read the header of one field; or the problems of a bad field."""
    try:
        return read_field_header(
            sheet.files(position), card, one_file_per_channel=sheet.one_file_per_channel
        )
    except UserError as error:
        return in_row(sheet, position, error)


def in_row(sheet: SampleSheet, position: int, error: UserError) -> list[Problem]:
    """Return the problems of a raw file with the sheet's row put in front.

    Raises
    ------
    UnreachableError
        Where the file may be sound: it must not be left out.
    """
    row = sheet.place(position)
    problems = [Problem(f"{row}: {p.where}", p.what, p.fix) for p in error.problems]
    if isinstance(error, UnreachableError):
        raise UnreachableError(problems) from None
    return problems


class Uniformity:
    """Finds fields that differ from the others, or from the card, in what must be the same.

    Types, names of channels and pixel sizes; and sizes, where tiles keep the field's size. Doubts
    about single files are kept, too: the first of each kind, and how many there are.

    Parameters
    ----------
    sheet, card
        The dataset.
    """

    def __init__(self, sheet: SampleSheet, card: DatasetCard) -> None:
        self._sheet, self._card = sheet, card
        self._first: tuple[int, FieldHeader] | None = None
        self._first_labelled: tuple[int, FieldHeader] | None = None
        self._first_named: tuple[int, FieldHeader] | None = None
        self._first_scaled: tuple[int, float] | None = None
        self._others: dict[str, Problem] = {}
        self._notes: dict[str, tuple[str, int]] = {}
        sizes_may_differ = card.tiles.size is not None or card.cells is not None
        self._compared = ALIKE[:1] if sizes_may_differ else ALIKE

    def add(self, position: int, header: FieldHeader) -> None:
        """Compare the header of the field at a position of the sheet with the first one."""
        self._first = self._first or (position, header)
        first_position, first = self._first
        for what, value_of, fix in self._compared:
            if value_of(header) != value_of(first):
                text = (
                    f"{_describe(header)} differs in {what} from {first.files[0].path} "
                    f"({self._sheet.place(first_position)}), which is {_describe(first)}"
                )
                self._differs(what, position, header, text, fix)
        if unranged := without_range(self._card, header.dtype):
            self._differs("range", position, header, *_unranged(header, unranged))
        self._compare_names(position, header)
        self._compare_labels(position, header)
        self._compare_scale(position, header)
        for note in (note for file in header.files for note in file.metadata.notes):
            self._note(position, header, note)
        self._compare_bits(position, header)

    def problems(self) -> list[Problem]:
        """Return what differs, each by the first field that does."""
        return list(self._others.values())

    def log_notes(self) -> None:
        """Warn of each kind of doubt, by the first file of which it is true."""
        for text, count in self._notes.values():
            more = f" (and {count - 1:,} more fields)" if count > 1 else ""
            logger.warning("%s%s", text, more)

    def _compare_names(self, position: int, header: FieldHeader) -> None:
        names = header.channel_names
        if not names:
            return
        self._first_named = self._first_named or (position, header)
        first_position, first = self._first_named
        expected = first.channel_names
        if list(map(plain_name, names)) == list(map(plain_name, expected)):
            return
        text = (
            f"names its channels {', '.join(names)}, but {first.files[0].path} "
            f"({self._sheet.place(first_position)}) {', '.join(expected)}"
        )
        if out_of_place(names, expected):
            self._differs("order of channels", position, header, text, ONE_ORDER)
        else:
            self._note(position, header, Note("names of channels", text))

    def _compare_labels(self, position: int, header: FieldHeader) -> None:
        if not header.channel_labels:
            return
        self._first_labelled = self._first_labelled or (position, header)
        first_position, first = self._first_labelled
        if out_of_place(header.channel_labels, first.channel_labels):
            text = (
                f"labels its channels {', '.join(header.channel_labels)}, but "
                f"{first.files[0].path} ({self._sheet.place(first_position)}) "
                f"{', '.join(first.channel_labels)}"
            )
            self._differs("order of channels", position, header, text, ONE_ORDER)

    def _compare_scale(self, position: int, header: FieldHeader) -> None:
        for file in header.files:
            size = file.metadata.pixel_size_um
            if size is None:
                continue
            if not _alike(*size):
                text = f"its pixels are not square: {size[0]:g} um high and {size[1]:g} um wide"
                self._note(position, header, Note("shape of pixels", text))
            self._first_scaled = self._first_scaled or (position, size[1])
            first_position, first = self._first_scaled
            if not _alike(size[1], first):
                place = self._sheet.place(first_position)
                text = f"states a pixel size of {size[1]:g} um, but {place} has {first:g} um"
                self._differs("pixel size", position, header, text, ONE_SCALE)
            card_size = self._card.pixel_size_um
            if card_size is not None and not _alike(size[1], card_size):
                text = f"states a pixel size of {size[1]:g} um, but the card {card_size:g} um"
                self._note(position, header, Note("pixel size", text))

    def _compare_bits(self, position: int, header: FieldHeader) -> None:
        if header.dtype.kind == "f":
            return
        bits = next((file.metadata.bits for file in header.files if file.metadata.bits), None)
        card = self._card
        unset = [name for name in card.channels if name not in card.given_ranges]
        unset = [] if card.ranges_from_tiles else unset
        if bits is not None and bits < 8 * header.dtype.itemsize and unset:
            white = np.iinfo(header.dtype).max
            text = (
                f"its values have {bits} bits, but white is {white:,}: set `intensity_range` of "
                f"{', '.join(unset)} in the card"
            )
            self._note(position, header, Note("bits", text))

    def _differs(self, what: str, position: int, header: FieldHeader, text: str, fix: str) -> None:
        self._others.setdefault(what, Problem(self._where(position, header), text, fix))

    def _note(self, position: int, header: FieldHeader, note: Note) -> None:
        text, count = self._notes.get(note.kind, ("", 0))
        text = text or f"{self._where(position, header)}: {note.text}"
        self._notes[note.kind] = text, count + 1

    def _where(self, position: int, header: FieldHeader) -> str:
        return f"{self._sheet.place(position)}: {header.files[0].path}"


def _alike(one: float, other: float) -> bool:
    return abs(one - other) <= SAME_SIZE * max(one, other)


def _unranged(header: FieldHeader, channels: Sequence[str]) -> tuple[str, str]:
    """Return what is wrong with floats without black and white in the card, and how to fix it."""
    named = ", ".join(channels)
    return (
        f"holds {header.dtype.name} values, which have no black and white of their own",
        f"Set `intensity_range` of {named} in the card, as numbers in the units of the files.",
    )


def _describe(header: FieldHeader) -> str:
    return f"{header.dtype.name} of {header.shape[0]} x {header.shape[1]} px"


def _selection(sheet: SampleSheet, max_files: int | None) -> list[int]:
    count = len(sheet) if max_files is None else max(1, max_files // len(sheet.file_columns))
    if count >= len(sheet):
        return list(range(len(sheet)))
    return sorted({round(at) for at in np.linspace(0, len(sheet) - 1, count)})
