"""Tiles around cells: where each lies in its field, and its pixels."""

from __future__ import annotations

import numpy as np

from transferscope.cards import CropSettings
from transferscope.runtime.arrays import Mask, Pixels
from transferscope.tiles.tiling import TilePlace, padded, visible_part


def crop_side(crop: CropSettings, pixel_size_um: float | None) -> int:
    """Return the side of a tile in px, at least 1.

    Parameters
    ----------
    crop
        `size`, or `size_um`.
    pixel_size_um
        Pixel size, which `size_um` needs.
    """
    if crop.size is not None:
        return crop.size
    if crop.size_um is None or pixel_size_um is None:
        raise ValueError("size_um needs a pixel size")
    return max(1, round(crop.size_um / pixel_size_um))


def place_around(y: float, x: float, side: int) -> TilePlace:
    """Return the place of a tile whose middle is nearest to a point (halves are rounded up)."""
    top, left = (int(np.floor(value + 0.5)) - side // 2 for value in (y, x))
    return TilePlace(top, left, side, side)


def background(field: Pixels, outside: Mask) -> Pixels:
    """Return [C], the median of each channel outside all cells, rounded down.

    Where cells cover all of the field, the darkest value stands in.

    Parameters
    ----------
    field
        [C, H, W].
    outside
        [H, W], true outside all cells.
    """
    if not outside.any():
        return np.asarray(field.min(axis=(1, 2)))
    return np.array([np.median(plane[outside]) for plane in field]).astype(field.dtype)


def cut_cell(
    field: Pixels,
    labels: Pixels,
    number: int,
    place: TilePlace,
    fill: Pixels,
    *,
    masked: bool,
) -> tuple[Pixels, Pixels]:
    """Cut the tile of one cell.

    Parameters
    ----------
    field
        [C, H, W].
    labels
        [H, W]: the number of each pixel's cell.
    number
        The cell's.
    place
        Where the tile lies; it may reach beyond the field.
    fill
        [C], what stands outside the field, and outside the cell if masked.
    masked
        Whether only the pixels of this cell are kept.

    Returns
    -------
    tile : ndarray
        [C, height, width].
    part : ndarray
        The part of it that lies in the field.
    """
    part = visible_part(field, place)
    if masked:
        own = visible_part(labels[None], place) == number
        part = np.where(own, part, fill[:, None, None])
    return padded(part, place, fill), part
