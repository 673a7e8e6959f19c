"""What headers say before a cell is searched: which fields are good, and of what type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from transferscope.cards import CellSettings, DatasetCard
from transferscope.cells.crops import crop_side
from transferscope.cells.measures import knows_nuclei, measure_columns
from transferscope.errors import Problem, UserError
from transferscope.raw.masks import check_mask_cells
from transferscope.raw.sheets import SampleSheet
from transferscope.runtime.arrays import Integers
from transferscope.tiles.blocks import Skipped
from transferscope.tiles.plan import good_headers
from transferscope.tiles.tiling import TilePlace


@dataclass(frozen=True)
class CellPlan:
    """The fields of a cell dataset.

    Parameters
    ----------
    sheet, card
        The dataset.
    settings
        `card.cells`.
    positions
        Positions in the sheet of the fields with good headers; never empty.
    dtype
        Of the raw fields, the same for all.
    skipped
        Fields that are left out because of their headers.
    """

    sheet: SampleSheet
    card: DatasetCard
    settings: CellSettings
    positions: list[int]
    dtype: np.dtype[Any]
    skipped: list[Skipped]

    @property
    def side(self) -> int:
        """Side of what is cut around a cell, in px of the field."""
        return crop_side(self.settings.crop, self.card.pixel_size_um)

    @property
    def tile_side(self) -> int:
        """Side of a tile in px."""
        return self.settings.crop.tile_size_px or self.side

    @property
    def pixel_size_um(self) -> float | None:
        """Pixel size of the tiles; None: unknown."""
        size = self.card.pixel_size_um
        return None if size is None else size * self.side / self.tile_side

    @property
    def tile_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every tile."""
        return len(self.card.channels), self.tile_side, self.tile_side

    @property
    def columns(self) -> list[str]:
        """Measures of each cell, in the order of the tile table."""
        return measure_columns(self.card, with_nuclei=knows_nuclei(self.sheet, self.card))

    def tile_ids(self, position: int, numbers: Integers) -> list[str]:
        """Return the ids of tiles of a field: the field's, and the cell's number in its mask."""
        field = self.sheet.tile_ids[position]
        return [f"{field}_c{number:05d}" for number in numbers]

    def place_at(self, corner: Integers) -> TilePlace:
        """Return the place of a tile whose upper left corner is at [y, x] of its field."""
        y, x = map(int, corner)
        return TilePlace(y, x, self.side, self.side)


def make_cell_plan(sheet: SampleSheet, card: DatasetCard, *, skip: bool) -> CellPlan:
    """Read the headers of all fields and masks.

    Parameters
    ----------
    sheet, card
        The dataset.
    skip
        Leave out fields with bad headers or masks, instead of raising.

    Raises
    ------
    UserError
        Where headers are bad (unless skipped), fields differ in type, or none is left.
    """
    if card.cells is None:
        fix = "Add the section `cells:` to the card, or use `transferscope tiles`."
        raise UserError(Problem(card.name, "the dataset card has no section `cells`", fix))
    if problems := check_mask_cells(sheet, card):
        raise UserError(problems)
    left_out: list[Skipped] = []
    positions = []
    for position, header in good_headers(sheet, card, left_out, skip=skip, masks=True):
        positions.append(position)
        dtype = header.dtype
    return CellPlan(sheet, card, card.cells, positions, dtype, left_out)
