"""Small pictures of many tiles, as sheets: a page with thousands of images would not open."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt

from transferscope.cards import DatasetCard
from transferscope.runtime.arrays import Integers
from transferscope.stores.tile_store import TileStore
from transferscope.tiles.contact_sheets import composite, display_limits, shrunk

# Multiples of the blocks of JPEG, so that no picture runs into its neighbour; and qualities.
FORMS = ((96, 82), (64, 80), (48, 78), (48, 60), (32, 60), (32, 40), (16, 40))
PER_ROW = 16
BLOCK = 64


@dataclass(frozen=True)
class Sprites:
    """Pictures of tiles.

    Parameters
    ----------
    pictures
        uint8 [N, S, S, 3], in the largest size of `FORMS`.
    """

    pictures: npt.NDArray[np.uint8]

    @classmethod
    def drawn(cls, store: TileStore, card: DatasetCard, rows: Integers) -> Sprites:
        """Draw tiles as the contact sheets do.

        Parameters
        ----------
        store
            The tiles.
        card
            Their card, for black and white of each channel.
        rows
            Which of them, ascending.
        """
        limits, size = display_limits(store, card), FORMS[0][0]
        found = np.zeros((len(rows), size, size, 3), np.uint8)
        for start in range(0, len(store), BLOCK):
            first, last = np.searchsorted(rows, [start, start + BLOCK])
            if first == last:
                continue
            block = store.read(start, min(start + BLOCK, len(store)))
            for place in range(first, last):
                mixed = composite(shrunk(block[rows[place] - start]), limits, store.channels)
                found[place] = (_resized(mixed, size) * 255).round().astype(np.uint8)
        return cls(found)

    def within(self, most: int) -> dict[str, Any] | None:
        """Return sheets of at most so many bytes, in the largest form that fits; None if none does.

        Parameters
        ----------
        most
            Bytes of all sheets.

        Returns
        -------
        dict
            `size` of a picture in px, `per_row` and `per_sheet`, and `sheets`, data URIs.
        """
        for size, quality in FORMS:
            sheets = self._sheets(size, quality, most)
            if sheets is not None:
                uris = ["data:image/jpeg;base64," + base64.b64encode(s).decode() for s in sheets]
                return {"size": size, "per_row": PER_ROW, "per_sheet": PER_ROW**2, "sheets": uris}
        return None

    def _sheets(self, size: int, quality: int, most: int) -> list[bytes] | None:
        sheets: list[bytes] = []
        for start in range(0, len(self.pictures), PER_ROW**2):
            sheet = _sheet(self.pictures[start : start + PER_ROW**2], size)
            sheets.append(bytes(imagecodecs.jpeg8_encode(sheet, level=quality)))
            # What the sheets so far need tells soon enough that all of them do not fit.
            if sum(map(len, sheets)) > most:
                return None
        return sheets


def _sheet(pictures: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    lines = -(-len(pictures) // PER_ROW)
    cells = np.zeros((lines * PER_ROW, size, size, 3), np.uint8)
    for cell, picture in zip(cells, pictures, strict=False):
        cell[:] = (_resized(picture / np.float32(255), size) * 255).round()
    grid = cells.reshape(lines, PER_ROW, size, size, 3).swapaxes(1, 2)
    return np.ascontiguousarray(grid.reshape(lines * size, PER_ROW * size, 3))


def _resized(image: npt.NDArray[np.float32], size: int) -> npt.NDArray[np.float32]:
    """Return an image [H, W, 3] of 0 to 1 in a square, the longer side filling it."""
    from skimage.transform import resize

    height, width = image.shape[:2]
    share = size / max(height, width)
    shape = (max(1, round(height * share)), max(1, round(width * share)))
    smaller = image if shape == (height, width) else resize(image, shape, anti_aliasing=share < 1)
    square = np.zeros((size, size, 3), np.float32)
    square[: shape[0], : shape[1]] = smaller
    return square
