"""Random choice of the tiles to label, balanced over classes and groups.

The draw depends on seed and tile ids alone, not on the order of the table.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from transferscope.probes.labels import label_matrix
from transferscope.runtime.seeds import derive_rng

Balance = Literal["labels", "none"]


def draw_tiles(
    table: pd.DataFrame,
    classes: Sequence[str],
    count: int,
    *,
    seed: int = 0,
    balance: Balance = "labels",
    exclude: Collection[str] = (),
) -> list[int]:
    """Draw tiles at random, balanced over their present labels and spread over groups.

    Each step takes a tile of the class with the fewest draws so far, where unlabelled counts as a
    class; within that class, a tile of the group with the fewest draws. A tile with
    several labels counts for each of them.

    Parameters
    ----------
    table
        Tile table: `tile_id`, `group`, `labels`.
    classes
        Labels to balance over; others are ignored.
    count
        Number of tiles to draw; all, if there are fewer.
    seed
        Seed of the draw.
    balance
        `labels`; or `none`, for one draw over all tiles.
    exclude
        Ids of tiles that are not drawn.

    Returns
    -------
    list of int
        Positions in the table, in random order, so that the position does not reveal the class.
    """
    rng = derive_rng(seed, "label", balance)
    ids = table["tile_id"].map(str).to_numpy(dtype=object)
    eligible = np.flatnonzero(~np.array(table["tile_id"].isin(list(exclude))))
    rows = eligible[np.argsort(ids[eligible], kind="stable")]
    strata = _strata(table["labels"].to_numpy(dtype=object)[rows], classes, balance)
    groups = table["group"].map(str).to_numpy(dtype=object)[rows]
    drawn = _draw(strata, groups, count, rng)
    return [int(row) for row in rng.permutation(rows[drawn])]


def _strata(
    labels: npt.NDArray[np.object_], classes: Sequence[str], balance: Balance
) -> npt.NDArray[np.bool_]:
    """Return which tile belongs to which stratum, bool [N, S]; each to at least one."""
    if balance == "none":
        return np.ones((len(labels), 1), dtype=bool)
    matrix = label_matrix(labels, classes)
    return np.column_stack([matrix, ~matrix.any(axis=1)])


def _draw(
    strata: npt.NDArray[np.bool_],
    groups: npt.NDArray[np.object_],
    count: int,
    rng: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """Return the tiles in the order in which they are drawn."""
    per_group: Counter[str] = Counter()
    chosen: dict[int, None] = {}
    pools = [
        _in_turn(np.flatnonzero(column), groups, chosen, per_group, rng) for column in strata.T
    ]
    per_stratum = np.zeros(len(pools), dtype=np.int64)
    open_pools = list(range(len(pools)))
    while open_pools and len(chosen) < count:
        stratum = min(open_pools, key=lambda number: (per_stratum[number], number))
        row = next(pools[stratum], None)
        if row is None:
            open_pools.remove(stratum)
            continue
        chosen[row] = None
        per_group[groups[row]] += 1
        per_stratum += strata[row]
    return np.array(list(chosen), dtype=np.int64)


def _in_turn(
    rows: npt.NDArray[np.int64],
    groups: npt.NDArray[np.object_],
    chosen: Collection[int],
    per_group: Counter[str],
    rng: np.random.Generator,
) -> Iterator[int]:
    """Yield the tiles of one class, each from the group with the fewest draws so far.

    Parameters
    ----------
    rows
        Its tiles.
    groups
        Group of every tile.
    chosen, per_group
        Tiles drawn so far from all classes, and their number per group; updated by the caller.
    rng
        Shuffles the tiles of a group, and the groups.
    """
    left: dict[str, list[int]] = {}
    for row in rng.permutation(rows):
        left.setdefault(groups[row], []).append(int(row))
    # Shuffled again, because groups with many tiles come early in a shuffle of tiles.
    order = rng.permutation(len(left))
    queue = [(0, int(o), group) for o, group in zip(order, left, strict=True)]
    heapq.heapify(queue)
    while queue:
        drawn, place, group = heapq.heappop(queue)
        if drawn != per_group[group]:
            # Another class has drawn from the group in the meantime: it is queued again.
            heapq.heappush(queue, (per_group[group], place, group))
            continue
        while left[group]:
            row = left[group].pop()
            if row not in chosen:
                heapq.heappush(queue, (drawn + 1, place, group))
                yield row
                break
