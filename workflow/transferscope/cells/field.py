"""One field: decoded, segmented, measured, and its cells chosen."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from transferscope.cells.crops import background, cut_cell, place_around
from transferscope.cells.mask_doubts import mask_doubts
from transferscope.cells.measures import Measures, measure_cells, nucleus_centroids
from transferscope.cells.plan import CellPlan
from transferscope.cells.records import DROPPED, FieldRecord, RecordFolder
from transferscope.cells.segmentation import SegmentedField, segment
from transferscope.errors import Problem, UserError
from transferscope.raw.file_checks import in_row
from transferscope.raw.float_values import as_stored, stored_ranges
from transferscope.raw.images import decode_field
from transferscope.raw.one_place import planes_print
from transferscope.raw.sheets import AREA_COLUMN, BORDER_COLUMN, CENTRE_COLUMNS
from transferscope.runtime.arrays import Floats, Indices, Integers, Pixels
from transferscope.tiles.quality import Quality, measure

KEPT = -1


def decode(plan: CellPlan, position: int) -> Pixels:
    """Return the field at a position of the sheet, [C, H, W]."""
    sheet, card = plan.sheet, plan.card
    separate = sheet.one_file_per_channel
    return as_stored(decode_field(sheet.files(position), card, one_file_per_channel=separate), card)


def record_field(plan: CellPlan, folder: RecordFolder, position: int) -> list[Problem]:
    """Segment and measure one field, and write what was found, unless that has been done.

    Returns
    -------
    list of Problem
        What is wrong with the field or its mask.
    """
    if folder.has(position):
        return []
    try:
        field = decode(plan, position)
        segmented = segment(plan.sheet, position, field, plan.card)
    except UserError as error:
        return in_row(plan.sheet, position, error)
    folder.write(position, describe(plan, field, segmented), segmented)
    return []


def describe(plan: CellPlan, field: Pixels, segmented: SegmentedField) -> FieldRecord:
    """Return the record of a segmented field."""
    measures = measure_cells(field, segmented, plan.card)
    if plan.settings.segmentation.one_per_field:
        # The field is a cell that was cut out already: its border is no border of the image.
        measures[BORDER_COLUMN] = np.zeros(segmented.count, np.bool_)
    reasons = _reasons(plan, measures)
    places = _places(plan, measures, segmented)
    chosen = np.flatnonzero(reasons == KEPT)
    quality = _qualities(plan, field, segmented, places, chosen)
    constant = (quality[..., 1] > 0).all(axis=1)
    reasons[chosen[constant]] = DROPPED.index("constant")
    chosen, quality = chosen[~constant], quality[~constant]
    table = np.stack([measures[name].astype(np.float64) for name in plan.columns], axis=1)
    return FieldRecord(
        table=table[chosen],
        places=places[chosen],
        quality=quality,
        areas=measures["area_px"].astype(np.float64),
        touching=int(measures[BORDER_COLUMN].sum()),
        dropped={name: int((reasons == i).sum()) for i, name in enumerate(DROPPED)},
        covered=float((segmented.cells > 0).mean()),
        prints=planes_print(field),
        doubts="; ".join(mask_doubts(segmented)) if plan.card.reads_masks else "",
    )


def _reasons(plan: CellPlan, measures: Measures) -> Integers:
    """Return [n]: why a cell is dropped, as an index into `DROPPED`, or `KEPT`."""
    crop = plan.settings.crop
    area = measures[AREA_COLUMN if AREA_COLUMN in measures else "area_px"]
    reasons = np.full(len(area), KEPT)
    if crop.maximum_area is not None:
        reasons[area > crop.maximum_area] = DROPPED.index("large")
    reasons[area < crop.minimum_area] = DROPPED.index("small")
    if crop.border_cells == "drop":
        reasons[measures[BORDER_COLUMN]] = DROPPED.index("border")
    return reasons


def _places(plan: CellPlan, measures: Measures, segmented: SegmentedField) -> Integers:
    """Return [n, 2]: y and x of the upper left corner of each tile."""
    centres = np.stack([measures[name] for name in CENTRE_COLUMNS], axis=1)
    if plan.settings.crop.centre == "nucleus" and segmented.nuclei is not None:
        nuclei = nucleus_centroids(segmented)
        centres = np.where(np.isnan(nuclei), centres, nuclei)
    places = [place_around(y, x, plan.side) for y, x in centres]
    return np.array([(place.y, place.x) for place in places], np.int64).reshape(-1, 2)


def _qualities(
    plan: CellPlan,
    field: Pixels,
    segmented: SegmentedField,
    places: Integers,
    chosen: Indices,
) -> Floats:
    """Return [chosen, C, measures]: the quality of each tile, before it is resampled."""
    whites = [white for _, white in stored_ranges(plan.card, plan.dtype)]
    fill = fill_values(plan, field, segmented.cells)
    values = np.zeros((len(chosen), len(whites), len(fields(Quality))))
    for row, index in enumerate(chosen):
        place, masked = plan.place_at(places[index]), plan.settings.crop.masked
        _, part = cut_cell(field, segmented.cells, int(index) + 1, place, fill, masked=masked)
        values[row] = [quality.values() for quality in map(measure, part, whites)]
    return values


def fill_values(plan: CellPlan, field: Pixels, labels: Pixels) -> Pixels:
    """Return [C]: what stands outside the field, and outside the cell if masked."""
    if plan.settings.crop.fill == "zero":
        return np.zeros(len(field), field.dtype)
    return background(field, labels == 0)
