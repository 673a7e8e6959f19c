"""Which part of which field's mask belongs to each tile of a finished tile store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from transferscope.cards import DatasetCard, MaskSettings
from transferscope.errors import Problem, UserError
from transferscope.raw.file_checks import HEADER_THREADS, first_problems
from transferscope.raw.masks import CELL_MASK, check_masks, check_target_cells
from transferscope.raw.sheets import SampleSheet
from transferscope.runtime.ordered_map import ordered_map
from transferscope.stores.origin import check_origin
from transferscope.stores.tile_store import TileStore
from transferscope.tiles.plan import PlannedField, make_plan
from transferscope.tiles.tiling import TilePlace

RUN_TILES = "Make the tiles again: the sheet or the card has changed since."


@dataclass(frozen=True)
class MaskedField:
    """A field whose tiles are in the store.

    Parameters
    ----------
    planned
        The field.
    start
        Row of its first tile.
    places
        Its tiles that are in the store, in their order.
    has_mask
        Whether the sheet names a mask.
    """

    planned: PlannedField
    start: int
    places: list[TilePlace]
    has_mask: bool

    @property
    def stop(self) -> int:
        """Row after its last tile."""
        return self.start + len(self.places)


@dataclass(frozen=True)
class TargetPlan:
    """The masks of a dataset's tiles, in the order of the tile store.

    Parameters
    ----------
    sheet, card, settings
        The dataset, and its `masks`.
    tiles
        Its tile store.
    fields
        The fields that have tiles.
    """

    sheet: SampleSheet
    card: DatasetCard
    settings: MaskSettings
    tiles: TileStore
    fields: list[MaskedField]

    @property
    def without_mask(self) -> list[tuple[int, int]]:
        """[start, stop) of the rows without a mask; adjacent ones are joined."""
        found: list[tuple[int, int]] = []
        for field in self.fields:
            if field.has_mask:
                continue
            if found and found[-1][1] == field.start:
                found[-1] = found[-1][0], field.stop
            else:
                found.append((field.start, field.stop))
        return found


def make_target_plan(sheet: SampleSheet, card: DatasetCard, manifest: Path) -> TargetPlan:
    """Find the field of each tile, and check the headers of all masks.

    Parameters
    ----------
    sheet, card
        The dataset.
    manifest
        Manifest of its tile store.

    Raises
    ------
    UserError
        Where the card has no `masks`, the sheet names none, a mask is unusable by its header, or
        the tiles are of another sheet or card.
    """
    if card.masks is None:
        fix = "Say what the masks mean, such as `masks: {kind: binary}`."
        raise UserError(Problem(card.name, "the dataset card has no section `masks`", fix))
    if problems := check_target_cells(sheet, card):
        raise UserError(problems)
    tiles = TileStore(manifest)
    check_origin(manifest, tiles.attributes, {"dataset": card.name})
    fields = _fields_of(sheet, card, tiles)
    if problems := _wrong_headers(sheet, fields):
        raise UserError(problems)
    if not any(field.has_mask for field in fields):
        what = f"none of the {len(tiles):,} tiles has a mask"
        fix = "The fields that have masks were left out: see the table of skipped fields."
        raise UserError(Problem(f"{sheet.path}, column {CELL_MASK}", what, fix))
    return TargetPlan(sheet, card, card.masks, tiles, fields)


def _fields_of(sheet: SampleSheet, card: DatasetCard, tiles: TileStore) -> list[MaskedField]:
    """Return the fields that have tiles in a store, whose rows are in the order of the sheet."""
    # Fields with bad headers have no tiles: whether that stops a study is known by now.
    plan = make_plan(sheet, card, skip=True)
    masks = sheet.table[CELL_MASK].tolist()
    fields, row, ids = [], 0, tiles.tile_ids
    for planned in plan.fields:
        start, places = row, []
        for place in planned.places:
            # Some tiles may have been left out, because they are constant.
            if row < len(ids) and plan.tile_id(planned.position, place.y, place.x) == ids[row]:
                places.append(place)
                row += 1
        if places:
            fields.append(MaskedField(planned, start, places, bool(masks[planned.position])))
    if row < len(ids) or plan.tile_shape[1:] != tiles.tile_size:
        what = f"its tiles are not those of {sheet.path}"
        named = f": first {ids[row]}" if row < len(ids) else ""
        raise UserError(Problem(str(tiles.manifest_path), f"{what}{named}", RUN_TILES))
    return fields


def _wrong_headers(sheet: SampleSheet, fields: list[MaskedField]) -> list[Problem]:
    def check(field: MaskedField) -> list[Problem]:
        planned = field.planned
        return check_masks(sheet, [CELL_MASK], planned.position, planned.shape)

    found = [one for _, own in ordered_map(check, fields, HEADER_THREADS) for one in own]
    return first_problems(found, str(sheet.path), "masks have problems")
