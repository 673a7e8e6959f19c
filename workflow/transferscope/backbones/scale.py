"""The scale at which a network sees a tile: squeezed into its input, or at its own um/px."""

from __future__ import annotations

import math
from pathlib import Path

from transferscope.cards import NetworkCard
from transferscope.errors import Problem, UserError

# Rounding in the pixel sizes must not add a row of patches.
SLACK_PX = 0.5


def physical_size(side_px: int, pixel_size_um: float, wanted_um: float, multiple: int = 1) -> int:
    """Return the side at which a tile has a pixel size, rounded up to a multiple.

    Parameters
    ----------
    side_px, pixel_size_um
        Side of the tile, and its pixel size in um.
    wanted_um
        Pixel size that the weights saw.
    multiple
        Patch size of the network.

    Returns
    -------
    int
        In px. All of the tile is shown; where the side has to be rounded up, the tile is enlarged
        by less than one patch.

    Examples
    --------
    >>> physical_size(600, 0.2, 0.32, 16)
    384
    """
    exact = side_px * pixel_size_um / wanted_um
    return max(1, math.ceil((exact - SLACK_PX) / multiple)) * multiple


def card_for_tiles(
    card: NetworkCard, card_path: Path, tile_size: tuple[int, int], pixel_size_um: float | None
) -> NetworkCard:
    """Return the card with the input size at which tiles are shown.

    Parameters
    ----------
    card, card_path
        The backbone and its file. `scale: fit` keeps its input size.
    tile_size
        Height and width of the tiles in px.
    pixel_size_um
        Pixel size of the tiles; None: unknown.

    Raises
    ------
    UserError
        Where `scale: physical` meets tiles of unknown scale, or tiles that are not square.
    """
    if card.scale == "fit" or card.pixel_size_um is None:
        return card
    where = f"{card_path}, key scale"
    if pixel_size_um is None:
        what = "physical needs tiles of one known pixel size, and theirs is not known"
        fix = "Give pixel_size_um in the dataset card, or set `scale: fit`."
        raise UserError(Problem(where, what, fix))
    height, width = tile_size
    if height != width:
        what = f"physical needs square tiles, these are {height} x {width} px"
        fix = "Set tiles.size and tiles.mode (cut or pad) in the dataset card."
        raise UserError(Problem(where, what, fix))
    from transferscope.backbones.networks import input_multiple

    size = physical_size(height, pixel_size_um, card.pixel_size_um, input_multiple(card))
    return card.model_copy(update={"input_size": size})
