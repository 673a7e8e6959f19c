"""What is measured of each cell: place, size, and intensities in cell, nucleus and cytoplasm.

All sums run once over the pixels of the field (`numpy.bincount`), however many cells there are.
Intensities are raw values; nothing is subtracted.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from transferscope.cards import DatasetCard
from transferscope.cells.segmentation import SegmentedField
from transferscope.raw.masks import NUCLEUS_MASK, mask_columns
from transferscope.raw.sheets import (
    AREA_COLUMN,
    BORDER_COLUMN,
    BOX_COLUMNS,
    CELL_COLUMNS,
    CENTRE_COLUMNS,
    SampleSheet,
)
from transferscope.runtime.arrays import Floats, Indices, Labels, Mask, Pixels

Measures = dict[str, Pixels]
WHOLE_NUMBERS = ("cell", "area_px", *BOX_COLUMNS)


def measure_columns(card: DatasetCard, *, with_nuclei: bool) -> list[str]:
    """Return the columns that `measure_cells` gives, in the order of the tile table.

    Parameters
    ----------
    card
        The dataset.
    with_nuclei
        Whether nuclei are known in addition to the cells.
    """
    columns = [c for c in CELL_COLUMNS if c != AREA_COLUMN or card.pixel_size_um is not None]
    for channel in card.channels:
        columns += [f"mean_{channel}", f"total_{channel}"]
        if with_nuclei:
            columns += [f"nucleus_mean_{channel}", f"cytoplasm_mean_{channel}"]
            columns += [f"nucleus_to_cytoplasm_{channel}"]
    return columns


def knows_nuclei(sheet: SampleSheet, card: DatasetCard) -> bool:
    """Return whether the cells of a dataset come with nuclei."""
    if card.cells is None:
        return False
    return card.cells.segmentation.finds_nuclei or NUCLEUS_MASK in mask_columns(sheet, card)


def measure_cells(field: Pixels, segmented: SegmentedField, card: DatasetCard) -> Measures:
    """Measure all cells of a field.

    Parameters
    ----------
    field
        [C, H, W], uint8 or uint16.
    segmented
        Its cells.
    card
        The dataset: names of the channels, pixel size.

    Returns
    -------
    dict
        Column -> [n]; those of `measure_columns`. Centroids are means of pixel indices; boxes
        exclude bottom and right. Means of a part that a cell does not have are NaN.
    """
    labels = segmented.cells
    inside = np.flatnonzero(labels)
    number = labels.ravel()[inside]
    area = _sums(number, None, segmented.count)
    measures = {"cell": segmented.numbers, **_centroids(labels.shape[1], inside, number, area)}
    measures["area_px"] = area.astype(np.int64)
    if card.pixel_size_um is not None:
        measures[AREA_COLUMN] = area * card.pixel_size_um**2
    measures |= _boxes(segmented)
    in_nucleus = None if segmented.nuclei is None else segmented.nuclei.ravel()[inside]
    for channel, plane in zip(card.channels, field, strict=True):
        values = plane.ravel()[inside].astype(np.float64)
        measures |= _intensities(channel, values, number, area, in_nucleus)
    return measures


def nucleus_centroids(segmented: SegmentedField) -> Floats:
    """Return [n, 2], y and x of the nucleus of each cell; NaN where it has none.

    Parameters
    ----------
    segmented
        A field with nuclei.
    """
    labels = segmented.cells
    assert segmented.nuclei is not None
    inside = np.flatnonzero(segmented.nuclei & (labels > 0))
    number = labels.ravel()[inside]
    area = _sums(number, None, segmented.count)
    found = _centroids(labels.shape[1], inside, number, area)
    return np.stack([found[name] for name in CENTRE_COLUMNS], axis=1)


def _sums(number: Labels, values: Floats | None, count: int) -> Floats:
    """Return [count], the sum of the values of each cell, or its number of pixels."""
    return np.bincount(number, values, minlength=count + 1)[1:].astype(np.float64)


def _centroids(
    width: int,
    inside: Indices,
    number: Labels,
    area: Floats,
) -> Measures:
    return {
        name: _ratio(_sums(number, along.astype(np.float64), len(area)), area)
        for name, along in zip(CENTRE_COLUMNS, np.divmod(inside, width), strict=True)
    }


def _boxes(segmented: SegmentedField) -> Measures:
    """Return the bounding boxes, and which of them reach the border of the field."""
    found = ndimage.find_objects(segmented.cells, max_label=segmented.count)
    corners = [(y.start, x.start, y.stop, x.stop) for y, x in found]
    boxes = np.array(corners, dtype=np.int64).reshape(-1, 4)
    touching = (boxes == (0, 0, *segmented.cells.shape)).any(axis=1)
    return {**dict(zip(BOX_COLUMNS, boxes.T, strict=True)), BORDER_COLUMN: touching}


def _intensities(
    channel: str,
    values: Floats,
    number: Labels,
    area: Floats,
    in_nucleus: Mask | None,
) -> Measures:
    total = _sums(number, values, len(area))
    measures = {"mean": _ratio(total, area), "total": total}
    if in_nucleus is not None:
        nucleus = _sums(number[in_nucleus], values[in_nucleus], len(area))
        nucleus_area = _sums(number[in_nucleus], None, len(area))
        in_nuclei = _ratio(nucleus, nucleus_area)
        in_cytoplasm = _ratio(total - nucleus, area - nucleus_area)
        measures |= {"nucleus_mean": in_nuclei, "cytoplasm_mean": in_cytoplasm}
        measures["nucleus_to_cytoplasm"] = _ratio(in_nuclei, in_cytoplasm)
    return {f"{name}_{channel}": values for name, values in measures.items()}


def _ratio(above: Floats, below: Floats) -> Floats:
    """Return the ratio; NaN where the divisor is 0."""
    ratio = np.full(len(above), np.nan)
    np.divide(above, below, out=ratio, where=below > 0)
    return ratio
