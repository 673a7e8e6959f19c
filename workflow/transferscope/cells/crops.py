"""Tiles around cells: where each lies in its field, and its pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from transferscope.cards import CropSettings
from transferscope.tiles.tiling import TilePlace, visible_part

Field = npt.NDArray[Any]


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


def background(field: Field, outside: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
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
    field: Field,
    labels: npt.NDArray[Any],
    number: int,
    place: TilePlace,
    fill: npt.NDArray[Any],
    *,
    masked: bool,
) -> tuple[Field, Field]:
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
    tile = np.empty((len(field), place.height, place.width), field.dtype)
    tile[:] = fill[:, None, None]
    y, x = max(-place.y, 0), max(-place.x, 0)
    tile[:, y : y + part.shape[1], x : x + part.shape[2]] = part
    return tile, part
