"""Tiles as small grey images, one per channel, which the page merges in colour.

Black and white are the same raw values in all of them, so that brightness can be compared.
"""

from __future__ import annotations

import base64

import imagecodecs
import numpy as np
import numpy.typing as npt

from transferscope.runtime.arrays import Floats, Pixels
from transferscope.tiles.contact_sheets import scaled_to


def grey_pictures(tile: Pixels, limits: Floats, size: int) -> list[str]:
    """Return one PNG per channel, as data URIs.

    Parameters
    ----------
    tile
        [C, H, W] in raw values.
    limits
        [C, 2], the raw values of black and white.
    size
        Longest side in px; a larger tile is shrunk with antialiasing, a smaller one is kept.
    """
    scaled = _shrunk(np.nan_to_num(scaled_to(limits, tile), nan=0.0), size)
    return [_data_uri(picture) for picture in (scaled * 255).round().astype(np.uint8)]


def _shrunk(scaled: Floats, size: int) -> Floats:
    from skimage.transform import resize

    height, width = scaled.shape[1:]
    share = size / max(height, width)
    if share >= 1:
        return scaled
    shape = (len(scaled), max(1, round(height * share)), max(1, round(width * share)))
    return np.asarray(resize(scaled, shape, anti_aliasing=True))


def _data_uri(picture: npt.NDArray[np.uint8]) -> str:
    encoded = imagecodecs.png_encode(np.ascontiguousarray(picture), level=9)
    return "data:image/png;base64," + base64.b64encode(bytes(encoded)).decode("ascii")
