"""From a field of any size to tiles of one size: resample, then cut, pad or resize.

Everything here is a pure function of the field's shape and the dataset card, so that the number
of tiles is known from the headers alone. Offsets are in px of the resampled field; a negative
offset means that zeros were padded on that side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from transferscope.cards import DatasetCard
from transferscope.runtime.arrays import Pixels

# Of `too_small`.
REDUCED_FIX = "Take it out of `reduced_tiles`: to read such tiles reduced would gain little."


@dataclass(frozen=True)
class TilePlace:
    """Where a tile lies in its (resampled) field.

    Parameters
    ----------
    y, x
        Offset of the upper left corner in px; negative where zeros are padded.
    height, width
        Size of the tile in px.
    """

    y: int
    x: int
    height: int
    width: int


def too_small(tile_size: Sequence[int], side: int) -> str | None:
    """Return why tiles of a height and width are not reduced to a side; None: they can be."""
    if 2 * side <= min(tile_size):
        return None
    height, width = tile_size
    return f"its tiles, {height} x {width} px, are not twice as large as {side} px"


def resampled_shape(shape: tuple[int, int], card: DatasetCard) -> tuple[int, int]:
    """Return height and width of a field once it has the card's pixel size and tile size.

    Parameters
    ----------
    shape
        Height and width of the raw field in px.
    card
        The dataset: `pixel_size_um`, `tiles.pixel_size_um`, and `tiles.size` for `mode: resize`.
    """
    if card.tiles.mode == "resize" and card.tiles.size is not None:
        return card.tiles.size, card.tiles.size
    if card.tiles.pixel_size_um is None or card.pixel_size_um is None:
        return shape
    scale = card.pixel_size_um / card.tiles.pixel_size_um
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def plan_tiles(shape: tuple[int, int], card: DatasetCard) -> list[TilePlace]:
    """Return the places of the tiles of a field, row by row.

    `cut` lays a centred grid of whole tiles that do not overlap; the rim that is too narrow for
    another tile is left out. A side that is shorter than a tile is centred and padded. `pad` and
    `resize` give one tile.

    Parameters
    ----------
    shape
        Height and width of the raw field in px.
    card
        The dataset.
    """
    height, width = resampled_shape(shape, card)
    size = card.tiles.size
    if size is None:
        return [TilePlace(0, 0, height, width)]
    rows, columns = (1, 1) if card.tiles.mode == "pad" else (height // size, width // size)
    return [
        TilePlace(y, x, size, size)
        for y in _offsets(height, size, max(1, rows))
        for x in _offsets(width, size, max(1, columns))
    ]


def resample(field: Pixels, shape: tuple[int, int]) -> Pixels:
    """Resample a field to another size, antialiased, keeping its integer type.

    A bilinear (triangle) filter that widens with the shrinking factor: every source pixel counts,
    as in an area average. Values are rounded half to even and stay within the type.

    Parameters
    ----------
    field
        [C, H, W], uint8 or uint16.
    shape
        Height and width to give it.

    Returns
    -------
    ndarray
        [C, *shape], in the type of the field.
    """
    if field.shape[1:] == shape:
        return field
    import torch  # 1 s to import, and most datasets need no resampling

    values = torch.from_numpy(field.astype(np.float32))[None]
    resized = torch.nn.functional.interpolate(
        values, size=shape, mode="bilinear", antialias=True, align_corners=False
    )
    top = np.iinfo(field.dtype).max
    return np.asarray(resized[0].round().clamp(0, top).numpy(), field.dtype)


def nearest(plane: Pixels, shape: tuple[int, int]) -> Pixels:
    """Resample a mask to another size: each pixel takes the value of the nearest one.

    Numbers of objects and classes have no averages. The centres of pixels lie as in `resample`.

    Parameters
    ----------
    plane
        [H, W], of any type.
    shape
        Height and width to give it.

    Returns
    -------
    ndarray
        [*shape], in the type of the mask.
    """
    if plane.shape == shape:
        return plane
    y, x = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(np.int64), old - 1)
        for new, old in zip(shape, plane.shape, strict=True)
    )
    return np.asarray(plane[y[:, None], x])


def limit_torch_threads() -> None:
    """Let each worker resample on one core; torch would take all cores for each."""
    import torch

    torch.set_num_threads(1)


def visible_part(field: Pixels, place: TilePlace) -> Pixels:
    """Return the part of a field [C, H, W] that a tile shows, without padding."""
    y, x = max(place.y, 0), max(place.x, 0)
    return field[:, y : place.y + place.height, x : place.x + place.width]


def padded(part: Pixels, place: TilePlace, fill: Pixels | None = None) -> Pixels:
    """Return the tile [C, height, width]: its visible part, `fill` [C] or 0 where there is none."""
    if part.shape[1:] == (place.height, place.width):
        return part
    tile = np.zeros((len(part), place.height, place.width), part.dtype)
    if fill is not None:
        tile += fill[:, None, None]
    y, x = max(-place.y, 0), max(-place.x, 0)
    tile[:, y : y + part.shape[1], x : x + part.shape[2]] = part
    return tile


def _offsets(length: int, size: int, count: int) -> list[int]:
    # Floor division: a crop and a padding that cannot be halved lean to the upper left alike.
    start = (length - count * size) // 2
    return [start + i * size for i in range(count)]
