"""What headers tell before any pixel is decoded: which tiles there will be, and of what type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from transferscope.cards import DatasetCard
from transferscope.errors import Problem, UserError
from transferscope.raw.file_checks import Uniformity, scan_headers
from transferscope.raw.sheets import SampleSheet
from transferscope.tiles.blocks import Skipped
from transferscope.tiles.tiling import TilePlace, plan_tiles


@dataclass(frozen=True, slots=True)
class PlannedField:
    """A field whose header is good.

    Parameters
    ----------
    position
        Position in the sheet, from 0.
    shape
        Height and width of the raw field in px.
    places
        Its tiles.
    """

    position: int
    shape: tuple[int, int]
    places: list[TilePlace]


@dataclass(frozen=True)
class TilePlan:
    """All tiles of a dataset, in the order of the store.

    Parameters
    ----------
    sheet, card
        The dataset.
    fields
        The fields with good headers, in the order of the sheet; never empty.
    cut
        Positions of the fields that give several tiles.
    dtype
        uint8 or uint16, the same for all fields.
    skipped
        Fields that are left out because of their headers.
    """

    sheet: SampleSheet
    card: DatasetCard
    fields: list[PlannedField]
    cut: frozenset[int]
    dtype: np.dtype[Any]
    skipped: list[Skipped]

    @property
    def tile_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every tile."""
        place = self.fields[0].places[0]
        return len(self.card.channels), place.height, place.width

    def tile_id(self, position: int, y: int, x: int) -> str:
        """Return the id of a tile: the sheet's, and where in the field if that gives several."""
        own = self.sheet.tile_ids[position]
        return f"{own}_y{y}_x{x}" if position in self.cut else own

    def tile_ids(self) -> list[str]:
        """Return the ids of all planned tiles."""
        return [
            self.tile_id(planned.position, place.y, place.x)
            for planned in self.fields
            for place in planned.places
        ]

    def pixel_size_um(self) -> float | None:
        """Return the pixel size of the tiles, or None where it is unknown or not the same."""
        card = self.card
        if card.pixel_size_um is None:
            return None
        if card.tiles.mode != "resize" or card.tiles.size is None:
            return card.tiles.pixel_size_um or card.pixel_size_um
        sides = {side for planned in self.fields for side in planned.shape}
        return card.pixel_size_um * sides.pop() / card.tiles.size if len(sides) == 1 else None


def make_plan(sheet: SampleSheet, card: DatasetCard, *, skip: bool) -> TilePlan:
    """Read all headers and plan the tiles.

    Parameters
    ----------
    sheet, card
        The dataset.
    skip
        Leave out fields with bad headers, in place of raising.

    Raises
    ------
    UserError
        Where headers are bad (unless skipped), fields differ in type or size, or none is left.
    """
    fields: list[PlannedField] = []
    bad: dict[int, list[Problem]] = {}
    uniformity = Uniformity(sheet, card)
    # Fields of one shape share their places: a dataset may have a million fields.
    places: dict[tuple[int, int], list[TilePlace]] = {}
    for position, header in scan_headers(sheet, card, range(len(sheet))):
        if isinstance(header, list):
            bad[position] = header
            continue
        uniformity.add(position, header)
        dtype = header.dtype
        if header.shape not in places:
            places[header.shape] = plan_tiles(header.shape, card)
        fields.append(PlannedField(position, header.shape, places[header.shape]))
    problems = [] if skip else [p for found in bad.values() for p in found]
    problems += uniformity.problems()
    if problems:
        raise UserError(problems)
    if not fields:
        raise nothing_left(sheet)
    cut = frozenset(planned.position for planned in fields if len(planned.places) > 1)
    left_out = [skip_field(sheet, i, found) for i, found in bad.items()]
    plan = TilePlan(sheet, card, fields, cut, dtype, left_out)
    _check_unique(plan)
    return plan


def nothing_left(sheet: SampleSheet) -> UserError:
    """Return the error for a dataset without a usable field."""
    mend = "Look at the files: `bad_tiles: stop` in the study names the problem of each."
    return UserError(Problem(str(sheet.path), "no usable field is left", mend))


def skip_field(sheet: SampleSheet, position: int, problems: list[Problem]) -> Skipped:
    """Return the record of a field that is left out."""
    return Skipped(
        tile_id=sheet.tile_ids[position],
        row=int(sheet.table.index[position]),
        source=sheet.source(position),
        reason="; ".join(problem.what for problem in problems),
    )


def _check_unique(plan: TilePlan) -> None:
    """Refuse ids that become equal once the offsets of cut tiles are added."""
    ids = pd.Index(plan.tile_ids())
    if ids.has_duplicates:
        what = f'two tiles would have the id "{ids[ids.duplicated()][0]}"'
        raise UserError(Problem(str(plan.sheet.path), what, "Rename one of them in the sheet."))
