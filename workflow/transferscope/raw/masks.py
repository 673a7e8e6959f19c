"""Masks of fields: header checks before a run, and reading them as integers [H, W]."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from transferscope.cards import DatasetCard
from transferscope.errors import Problem, UserError
from transferscope.raw.file_checks import first_problems, in_row, scan_headers
from transferscope.raw.headers import Header, problem_with
from transferscope.raw.image_formats import MASK_TYPES, kind_of, read_header, read_pixels
from transferscope.raw.images import FieldHeader
from transferscope.raw.sheets import SampleSheet
from transferscope.raw.text_tables import cells_of
from transferscope.runtime.arrays import Pixels
from transferscope.transport.files import RawFile, in_memory

TWO_VALUES = 2
CELL_MASK, NUCLEUS_MASK = "mask", "nucleus_mask"


def mask_columns(sheet: SampleSheet, card: DatasetCard) -> list[str]:
    """Return the columns of a sheet whose masks the dataset's cells are made from."""
    if not card.reads_masks:
        return []
    return [column for column in (CELL_MASK, NUCLEUS_MASK) if column in sheet.table]


def check_mask_cells(sheet: SampleSheet, card: DatasetCard) -> list[Problem]:
    """Return what is wrong with the mask columns of a sheet, without opening any file.

    Parameters
    ----------
    sheet
        A sheet that has passed `read_sheet`.
    card
        The dataset.
    """
    if not card.reads_masks:
        return []
    if CELL_MASK not in sheet.table:
        fix = 'Add the column "mask" with the path of each mask, or choose `method: watershed`.'
        what = 'the column "mask" is missing, but `cells.segmentation.method` is provided'
        return [Problem(str(sheet.path), what, fix)]
    return [
        Problem(f"{sheet.path}, row {row}, column {column}", *fault)
        for column in mask_columns(sheet, card)
        for row, *fault in _faults(sheet, column, needed=True)
    ]


def check_target_cells(sheet: SampleSheet, card: DatasetCard) -> list[Problem]:
    """Return what is wrong with the masks to learn from, without opening any file.

    Parameters
    ----------
    sheet
        A sheet that has passed `read_sheet`.
    card
        A dataset with `masks`. Some fields may have none.
    """
    fix = 'Add the column "mask" with the path of each mask, or take `masks` out of the card.'
    if CELL_MASK not in sheet.table:
        what = 'the column "mask" is missing, but the card has `masks`'
        return [Problem(str(sheet.path), what, fix)]
    if not sheet.table[CELL_MASK].any():
        return [Problem(f"{sheet.path}, column {CELL_MASK}", "names no mask in any row", fix)]
    return [
        Problem(f"{sheet.path}, row {row}, column {CELL_MASK}", *fault)
        for row, *fault in _faults(sheet, CELL_MASK, needed=False)
    ]


def _faults(sheet: SampleSheet, column: str, *, needed: bool) -> Iterator[tuple[int, str, str]]:
    """Yield row, problem and fix of rows without a mask, and of one mask for two fields."""
    place = sheet.places.identity
    images = {place(cell) for name in sheet.file_columns for cell in sheet.table[name]}
    first: dict[tuple[int, int] | None, int] = {}
    for row, cell in cells_of(sheet.table, column):
        if not cell:
            if needed:
                yield row, "is empty", "Name the mask, or remove the row."
        elif place(cell) in images:
            what = f'"{cell}" is a raw image of this sheet, not a mask'
            yield row, what, "Name the mask of the field."
        elif first.setdefault(place(cell), row) != row:
            what = f'the mask "{cell}" is also that of row {first[place(cell)]}'
            yield row, what, "Name the field's own mask."


def check_masks(
    sheet: SampleSheet, columns: Sequence[str], position: int, shape: tuple[int, int]
) -> list[Problem]:
    """Return what the headers of a field's masks show to be wrong.

    Parameters
    ----------
    sheet
        The dataset.
    columns
        Columns of the masks; a cell that is empty is passed over.
    position
        Position of the field in the sheet, from 0.
    shape
        Height and width of the field in px.
    """
    problems: list[Problem] = []
    for column in columns:
        if not sheet.table[column].iloc[position]:
            continue
        try:
            _checked_header(mask_file(sheet, position, column), shape)
        except UserError as error:
            problems += in_row(sheet, position, error)
    return problems


def check_all_masks(sheet: SampleSheet, card: DatasetCard, columns: Sequence[str]) -> list[Problem]:
    """Return what the headers of all masks show to be wrong; fields that are bad are passed over.

    Parameters
    ----------
    sheet, card
        A dataset that has passed `check_mask_cells`, or `check_target_cells`.
    columns
        Columns of the masks.
    """
    if not columns:
        return []
    found = [
        problem
        for position, header in scan_headers(sheet, card, range(len(sheet)))
        if isinstance(header, FieldHeader)
        for problem in check_masks(sheet, columns, position, header.shape)
    ]
    return first_problems(found, str(sheet.path), "masks have problems")


def mask_file(sheet: SampleSheet, position: int, column: str) -> RawFile:
    """Return a field's mask."""
    return sheet.places.file(str(sheet.table[column].iloc[position]))


def read_mask(path: RawFile, shape: tuple[int, int]) -> Pixels:
    """Read a mask.

    Parameters
    ----------
    path
        A TIFF, PNG or OME-Zarr with one plane.
    shape
        Height and width that it must have.

    Returns
    -------
    ndarray
        [H, W], bool or integer, as in the file; never negative.

    Raises
    ------
    UserError
        Where it cannot be read, has another shape or several channels, or holds negative values.
    """
    header = _checked_header(in_memory(path), shape)
    mask = read_pixels(header).reshape(shape)
    if mask.dtype.kind == "i" and mask.min() < 0:
        raise problem_with(path, "holds negative values", "Number them from 1, with 0 elsewhere.")
    if header.inverted and len(np.unique(mask)) <= TWO_VALUES:
        what = "says that 0 is white (MinIsWhite): its cells may be either of its two values"
        raise problem_with(path, what, "Save it with black as 0, and cells in white.")
    return mask


def _checked_header(path: RawFile, shape: tuple[int, int]) -> Header:
    header = read_header(path, MASK_TYPES)
    if kind_of(path) == "JPEG":
        raise problem_with(path, "is a JPEG, which blurs numbers", "Save it as PNG or TIFF.")
    sizes = dict(zip(header.axes, header.shape, strict=True))
    others = {letter: size for letter, size in sizes.items() if letter not in "YX" and size > 1}
    if others:
        what = f"a mask has one channel, but this has axes {header.axes} of {header.shape}"
        raise problem_with(path, what, "Save the mask as one plane of grey values.")
    if (sizes["Y"], sizes["X"]) != shape:
        what = f"the mask is {sizes['Y']} x {sizes['X']} px, but its field {shape[0]} x {shape[1]}"
        raise problem_with(path, what, "Export the mask at the size of the field.")
    return header
