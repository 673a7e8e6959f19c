"""Views of a tile: its mirror images, and of square tiles those of its transpose, too.

A decoder may be trained on several views of each tile, and the masks that it predicts of them, put
back in place, averaged.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

# Of views: the least significant bits of its number mirror columns and rows, the next transposes.
COLUMNS, ROWS, TRANSPOSED = 1, 2, 4


def turned(maps: Tensor, view: int) -> Tensor:
    """Return a view of maps [..., H, W]; view 0 is what they are.

    Views 1 to 3 have their columns, their rows or both in reverse order, and views 4 to 7 are those
    of views 0 to 3 with rows for columns: all that quarter turns and mirrors can do.

    Examples
    --------
    >>> [turned(torch.tensor([[1, 2], [3, 4]]), view).flatten().tolist() for view in (0, 1, 6)]
    [[1, 2, 3, 4], [2, 1, 4, 3], [3, 1, 4, 2]]
    """
    found = maps.flip(_mirrored(view))
    return found.transpose(-2, -1) if view & TRANSPOSED else found


def turned_back(maps: Tensor, view: int) -> Tensor:
    """Return the maps [..., H, W] of which these are a view."""
    found = maps.transpose(-2, -1) if view & TRANSPOSED else maps
    return found.flip(_mirrored(view))


def mean_of_views(maps: Iterable[Tensor]) -> Tensor:
    """Return the mean of maps [..., H, W] of the views 0, 1, ... of tiles, put back in place."""
    return torch.stack([turned_back(one, view) for view, one in enumerate(maps)]).mean(dim=0)


def possible_views(wanted: int, shape: tuple[int, ...], name: str) -> int:
    """Return how many views there are of tiles [..., H, W]: tiles that are not square have 4.

    Parameters
    ----------
    wanted
        1, 4 or 8.
    shape
        Of the tiles.
    name
        Of the dataset, which a warning names.
    """
    if wanted > TRANSPOSED and shape[-1] != shape[-2]:
        logger.warning("%s: its tiles are not square, and have 4 views, not %d", name, wanted)
        return TRANSPOSED
    return wanted


def _mirrored(view: int) -> list[int]:
    return [-1] * bool(view & COLUMNS) + [-2] * bool(view & ROWS)
