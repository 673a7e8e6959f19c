"""Tiles as small grey pictures, a channel each, that the page mixes into colours.

Black and white mean the same raw values on all of them, so that brightness can be compared.
"""

from __future__ import annotations

import base64
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt


def grey_pictures(tile: npt.NDArray[Any], limits: npt.NDArray[np.float64], size: int) -> list[str]:
    """Return one PNG a channel, as data URIs.

    Parameters
    ----------
    tile
        [C, H, W] in raw values.
    limits
        [C, 2], the raw values of black and white.
    size
        Longest side in px; a larger tile is shrunk with antialiasing, a smaller one is kept.
    """
    low, high = limits[:, 0, None, None], limits[:, 1, None, None]
    scaled = np.nan_to_num(((tile - low) / (high - low)).clip(0, 1), nan=0.0)
    return [_data_uri(picture) for picture in _as_bytes(_shrunk(scaled, size))]


def _shrunk(scaled: npt.NDArray[np.float64], size: int) -> npt.NDArray[np.float64]:
    from skimage.transform import resize

    height, width = scaled.shape[1:]
    share = size / max(height, width)
    if share >= 1:
        return scaled
    shape = (len(scaled), max(1, round(height * share)), max(1, round(width * share)))
    shrunk: npt.NDArray[np.float64] = resize(scaled, shape, anti_aliasing=True)
    return shrunk


def _as_bytes(scaled: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray((scaled * 255).round().astype(np.uint8))


def _data_uri(picture: npt.NDArray[np.uint8]) -> str:
    encoded = imagecodecs.png_encode(picture, level=9)
    return "data:image/png;base64," + base64.b64encode(bytes(encoded)).decode("ascii")
