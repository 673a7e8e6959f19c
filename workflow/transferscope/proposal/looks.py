"""What some fields look like: ranges of their values, tiles that suit them, and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from transferscope.cards import DatasetCard
from transferscope.raw.file_checks import scan_headers
from transferscope.raw.images import FieldHeader, decode_field
from transferscope.raw.sheets import SampleSheet
from transferscope.runtime.arrays import Floats, Pixels
from transferscope.tiles.contact_sheets import composite, save_png, shrunk
from transferscope.tiles.doubts import suggested_float_range, suggested_range
from transferscope.tiles.looking import some_fields

PERCENTILES = (0.1, 99.9)
MOST_FIELDS = 24
SECONDS = 10.0
FIELDS_DRAWN = 4
# Fields of one size up to this are tiles as they are; larger ones are cut.
LARGEST_TILE, CUT, CUT_LARGE, LARGE = 320, 256, 512, 1024


@dataclass(frozen=True)
class Looks:
    """What some fields look like.

    Parameters
    ----------
    fields
        Fields, [C, H, W] each, thinned out where they are large.
    ranges
        Raw values of black and white, by channel.
    size, mode
        Tiles that suit the fields, as in a card; None: as they are.
    """

    fields: list[Pixels]
    ranges: dict[str, tuple[float, float]]
    size: int | None
    mode: str


def look(sheet: SampleSheet, card: DatasetCard) -> Looks:
    """Look at some fields of a dataset, spread evenly over its sheet.

    Parameters
    ----------
    sheet, card
        The dataset; the card has no range yet.

    Raises
    ------
    UserError
        Where no field can be decoded.
    """
    fields = some_fields(sheet, card, MOST_FIELDS, SECONDS)
    if not fields:  # which passes over those that cannot be decoded
        separate = sheet.one_file_per_channel
        fields = [decode_field(sheet.files(0), card, one_file_per_channel=separate)]
    ranges = {}
    for channel, name in enumerate(card.channels):
        values = np.concatenate([image[channel].ravel() for image in fields])
        low, high = np.percentile(values, PERCENTILES)
        ranges[name] = _suggested(float(low), float(high), values.dtype)
    size, mode = _tiles([header.shape for header in _headers(sheet, card)])
    return Looks(fields, ranges, size, mode)


def _suggested(low: float, high: float, dtype: np.dtype[Any]) -> tuple[float, float]:
    if dtype.kind == "f":
        return suggested_float_range(low, high)
    return suggested_range(low, high, float(np.iinfo(dtype).max))


def _headers(sheet: SampleSheet, card: DatasetCard) -> list[FieldHeader]:
    positions = np.unique(np.linspace(0, len(sheet) - 1, 200).round().astype(int)).tolist()
    scanned = (header for _, header in scan_headers(sheet, card, positions))
    return [header for header in scanned if isinstance(header, FieldHeader)]


def _tiles(shapes: Sequence[tuple[int, int]]) -> tuple[int | None, str]:
    """Return size and mode of tiles, as in a card, for fields of some shapes.

    Examples
    --------
    >>> _tiles([(64, 64), (64, 64)]), _tiles([(2048, 2048)]), _tiles([(30, 41), (50, 33)])
    ((None, 'cut'), (512, 'cut'), (64, 'pad'))
    """
    largest = max(max(shape) for shape in shapes)
    if largest > LARGEST_TILE:
        return (CUT_LARGE if min(map(min, shapes)) >= LARGE else CUT), "cut"
    if len(set(shapes)) == 1:
        return None, "cut"
    usual = float(np.quantile([max(shape) for shape in shapes], 0.95))
    return int(np.ceil(usual / 16) * 16), "pad"


def draw_overview(looks: Looks, card: DatasetCard, ids: Sequence[str], output: Path) -> None:
    """Draw some fields: each channel in its range, and the colours in which sheets show them.

    Parameters
    ----------
    looks, card
        The fields, and their channels.
    ids
        Ids of the fields.
    output
        PNG to write.
    """
    n_rows = min(FIELDS_DRAWN, len(looks.fields))
    chosen = np.unique(np.linspace(0, len(looks.fields) - 1, n_rows).round().astype(int))
    limits: Floats = np.array([looks.ranges[name] for name in card.channels], np.float64)
    columns = [*card.channels, "together"]
    figure = Figure(figsize=(1.9 * len(columns), 1.9 * len(chosen) + 0.4))
    axes = figure.subplots(len(chosen), len(columns), squeeze=False)
    for row, number in zip(axes, chosen, strict=True):
        tile = shrunk(looks.fields[number])
        for cell, plane, (low, high) in zip(row, tile, limits, strict=False):
            cell.imshow(plane, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        row[-1].imshow(composite(tile, limits, card.channels), interpolation="nearest")
        row[0].set_ylabel(ids[number][:24], fontsize=6)
        for cell in row:
            cell.set(xticks=[], yticks=[])
    for cell, name in zip(axes[0], columns, strict=True):
        black, white = looks.ranges.get(name, ("", ""))
        cell.set_title(f"{name} {black} to {white}" if name in looks.ranges else name, fontsize=7)
    figure.subplots_adjust(left=0.04, right=0.99, bottom=0.01, top=0.93, wspace=0.03, hspace=0.03)
    save_png(figure, output, dpi=130)
