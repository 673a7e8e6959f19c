"""From a dataset's settings to the method that segments its fields."""

from __future__ import annotations

from transferscope.cards import DatasetCard, ProvidedMasks
from transferscope.cells.segmentation.cellpose import cellpose_cells
from transferscope.cells.segmentation.provided import cells_of_mask
from transferscope.cells.segmentation.segmented import SegmentedField
from transferscope.cells.segmentation.watershed import grow_cells
from transferscope.cells.segmentation.whole import whole_field
from transferscope.errors import Problem, UserError
from transferscope.raw.masks import CELL_MASK, NUCLEUS_MASK, mask_columns, mask_file, read_mask
from transferscope.raw.sheets import SampleSheet
from transferscope.runtime.arrays import Pixels


def segment(sheet: SampleSheet, position: int, field: Pixels, card: DatasetCard) -> SegmentedField:
    """Find the cells of one field.

    Parameters
    ----------
    sheet
        The sample sheet, which may name masks.
    position
        Position of the field in the sheet, from 0.
    field
        [C, H, W], uint8 or uint16.
    card
        A dataset with `cells`.

    Raises
    ------
    UserError
        Where a mask cannot be read or is empty, or a library is missing.
    """
    if card.cells is None:
        raise ValueError(f"{card.name} is no cell dataset")
    settings = card.cells.segmentation
    shape = field.shape[1], field.shape[2]
    match settings.method:
        case "provided":
            return _provided(sheet, position, shape, card, settings)
        case "watershed":
            return grow_cells(field, card.channels, settings, card.pixel_size_um)
        case "cellpose":
            return cellpose_cells(field, card.channels, settings, card.pixel_size_um)
        case "whole":
            return whole_field(shape)


def _provided(
    sheet: SampleSheet,
    position: int,
    shape: tuple[int, int],
    card: DatasetCard,
    settings: ProvidedMasks,
) -> SegmentedField:
    path = mask_file(sheet, position, CELL_MASK)
    mask = read_mask(path, shape)
    if not mask.any():
        fix = "Remove the row, or repair the mask."
        raise UserError(Problem(str(path), "the mask is empty: it holds no cell", fix))
    nuclei = None
    if NUCLEUS_MASK in mask_columns(sheet, card):
        nuclei = read_mask(mask_file(sheet, position, NUCLEUS_MASK), shape) > 0
    return cells_of_mask(mask, settings, nuclei)
