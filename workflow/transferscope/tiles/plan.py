"""What headers say before any pixel is decoded: which tiles there will be, and of what type."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from transferscope.cards import DatasetCard
from transferscope.errors import Problem, UserError
from transferscope.raw.file_checks import Uniformity, scan_headers
from transferscope.raw.images import FieldHeader
from transferscope.raw.masks import check_masks, mask_columns
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
        Of the raw fields, the same for all.
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
        return [self.tile_id(f.position, p.y, p.x) for f in self.fields for p in f.places]

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
        Leave out fields with bad headers, instead of raising.

    Raises
    ------
    UserError
        Where headers are bad (unless skipped), fields differ in type or size, or none is left.
    """
    # Fields of one shape share their places: a dataset may have a million fields.
    places = cache(lambda shape: plan_tiles(shape, card))
    fields: list[PlannedField] = []
    left_out: list[Skipped] = []
    for position, header in good_headers(sheet, card, left_out, skip=skip, masks=False):
        fields.append(PlannedField(position, header.shape, places(header.shape)))
        dtype = header.dtype
    cut = frozenset(planned.position for planned in fields if len(planned.places) > 1)
    plan = TilePlan(sheet, card, fields, cut, dtype, left_out)
    ids = pd.Index(plan.tile_ids())
    if ids.has_duplicates:  # once the offsets of cut tiles are added
        what = f'two tiles would have the id "{ids[ids.duplicated()][0]}"'
        raise UserError(Problem(str(sheet.path), what, "Rename one of them in the sheet."))
    return plan


def good_headers(
    sheet: SampleSheet, card: DatasetCard, left_out: list[Skipped], *, skip: bool, masks: bool
) -> Iterator[tuple[int, FieldHeader]]:
    """Yield the position and header of every field with good headers.

    Parameters
    ----------
    sheet, card
        The dataset.
    left_out
        Takes the other fields.
    skip
        Leave them out, instead of raising.
    masks
        Check the headers of the masks, too.

    Raises
    ------
    UserError
        At the end, where headers are bad (unless skipped), fields differ in type or size, or none
        is left.
    """
    columns = mask_columns(sheet, card) if masks else []
    problems: list[Problem] = []
    uniformity = Uniformity(sheet, card)
    for position, header in scan_headers(sheet, card, range(len(sheet))):
        if isinstance(header, list):
            found = header
        elif not (found := check_masks(sheet, columns, position, header.shape)):
            uniformity.add(position, header)
            yield position, header
            continue
        left_out.append(skip_field(sheet, position, found))
        problems += [] if skip else found
    uniformity.log_notes()
    if problems := problems + uniformity.problems():
        raise UserError(problems)
    if len(left_out) == len(sheet):
        raise nothing_left(sheet)


def nothing_left(sheet: SampleSheet) -> UserError:
    """Return the error for a dataset without a usable field."""
    fix = "Look at the files: `bad_tiles: stop` in the study names the problem of each."
    return UserError(Problem(str(sheet.path), "no usable field is left", fix))


def skip_field(sheet: SampleSheet, position: int, problems: list[Problem]) -> Skipped:
    """Return the record of a field that is left out."""
    reason = "; ".join(problem.what for problem in problems)
    return skip_tile(sheet, position, sheet.tile_ids[position], reason)


def skip_tile(sheet: SampleSheet, position: int, tile_id: str, reason: str) -> Skipped:
    """Return the record of a tile that is left out, of the field at a position."""
    return Skipped(tile_id, int(sheet.table.index[position]), sheet.source(position), reason)
