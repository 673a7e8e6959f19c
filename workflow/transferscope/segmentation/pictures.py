"""The best, the median and the worst predicted mask of each decoder, to be drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from transferscope.cells.outlines import outlines
from transferscope.runtime.arrays import Mask
from transferscope.segmentation.kept_masks import unpacked
from transferscope.segmentation.table_names import DICE, MASK
from transferscope.segmentation.tested import TestedTiles


@dataclass(frozen=True)
class Picture:
    """One predicted mask.

    Parameters
    ----------
    head
        Name of the decoder.
    which
        `best`, `median` or `worst`.
    row, tile_id
        The tile.
    dice
        Mean over the classes.
    true, predicted
        Outlines, bool [H, W].
    """

    head: str
    which: str
    row: int
    tile_id: str
    dice: float
    true: Mask
    predicted: Mask


def chosen_pictures(rows: Sequence[dict[str, Any]], tested: TestedTiles) -> Iterator[Picture]:
    """Yield three pictures of each decoder, by the Dice coefficients of its test tiles.

    Parameters
    ----------
    rows
        Of the table of tiles; those with a mask count.
    tested
        The tiles.
    """
    kept = [row for row in rows if MASK in row]
    if not kept:
        return
    table = pd.DataFrame(kept)
    height, width = tested.masks.values.shape[1:]
    for head, own in table.groupby("head", sort=False):
        of_tiles = own.groupby("row").agg({DICE: "mean", "tile_id": "first", MASK: "first"})
        ranked = of_tiles.dropna(subset=DICE).sort_values(DICE, ascending=False, kind="stable")
        if ranked.empty:
            continue
        places = {"best": 0, "median": len(ranked) // 2, "worst": len(ranked) - 1}
        for which, place in places.items():
            found, row = ranked.iloc[place], int(ranked.index[place])
            predicted = outlines(unpacked(found[MASK], (height, width)))
            true = tested.true_outline(row)
            named = str(head), which, row, str(found["tile_id"]), float(found[DICE])
            yield Picture(*named, true, predicted)
