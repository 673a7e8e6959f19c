"""The doubt about fields of a tile store whose channels are in another order than the others'."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from transferscope.errors import Problem
from transferscope.runtime.arrays import Floats, Integers
from transferscope.runtime.ordered_map import ordered_map
from transferscope.runtime.progress import progress_bar
from transferscope.stores.block_store import BlockStore

# Tiles of a field that are looked at, and the side in px of their middle; less of many fields.
TILES_PER_FIELD, SIDE = 2, 256
MANY_FIELDS, SIDE_OF_MANY = 2_000, 128
# Fields that a message names.
SHOWN = 10


def doubts_about_order(
    store: BlockStore, table: pd.DataFrame, channels: Sequence[str], workers: int
) -> list[Problem]:
    """Return which fields fit the others better with their channels in another order.

    Parameters
    ----------
    store
        A tile store whose blocks are all written.
    table
        Its tile table.
    channels
        Names of the C channels.
    workers
        Fields that are looked at at a time.
    """
    # scikit-learn takes a second to import, and not every dataset has several channels.
    from transferscope.tiles.swaps import enough_groups, swapped_fields

    fields, groups = _fields(table)
    if len(channels) < 2 or not enough_groups(groups):
        return []
    planes = _described(store, list(fields.values()), workers)
    found = swapped_fields(planes, np.asarray(groups, dtype=object))
    if not found:
        return []
    names = list(fields)
    shown = [f"{names[one.field]} ({_exchanged(one.order, channels)})" for one in found[:SHOWN]]
    more = f" and {len(found) - SHOWN:,} more" if len(found) > SHOWN else ""
    are = "fields looks" if len(found) == 1 else "fields look"
    what = (
        f"{len(found):,} of {len(fields):,} {are} like the others with channels in another order: "
        f"{', '.join(shown)}{more}"
    )
    fix = "Look at them: exchange their paths in the sheet, or leave them out."
    return [Problem("", what, fix)]


def _exchanged(order: Sequence[int], channels: Sequence[str]) -> str:
    """Return what each channel that is out of its place looks like.

    Examples
    --------
    >>> _exchanged((0, 2, 1), ["dna", "er", "actin"])
    'er is like actin, actin is like er'
    """
    moved = [(one, other) for one, other in enumerate(order) if one != other]
    return ", ".join(f"{channels[one]} is like {channels[other]}" for one, other in moved)


def _fields(table: pd.DataFrame) -> tuple[dict[str, Integers], list[str]]:
    """Return the rows of each field that are looked at, and its group."""
    rows: dict[str, Integers] = {}
    groups = []
    names = table["fov"].astype(str).to_numpy()
    for name, own in pd.Series(np.arange(len(table))).groupby(names, sort=False):
        chosen = np.linspace(0, len(own) - 1, min(TILES_PER_FIELD, len(own))).round().astype(int)
        rows[str(name)] = own.to_numpy()[chosen]
        groups.append(str(table["group"].iloc[int(own.iloc[0])]))
    return rows, groups


def _described(store: BlockStore, fields: Sequence[Integers], workers: int) -> Floats:
    """Return what describes the planes of each field, [N, C, features]."""
    from transferscope.tiles.swaps import describe_planes

    side = SIDE if len(fields) <= MANY_FIELDS else SIDE_OF_MANY

    def described(rows: Integers) -> Floats:
        return describe_planes([_middle(store, int(row), side) for row in rows])

    found = []
    with progress_bar("Order of channels", len(fields), "fields") as bar:
        for _, one in ordered_map(described, fields, workers):
            found.append(one)
            bar.update()
    return np.stack(found)


def _middle(store: BlockStore, row: int, side: int) -> Floats:
    """Return the middle of a tile, [C, side, side] at most."""
    tile = np.asarray(store.array[row], dtype=np.float64)
    height, width = tile.shape[1:]
    top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)
    return tile[:, top : top + side, left : left + side]
