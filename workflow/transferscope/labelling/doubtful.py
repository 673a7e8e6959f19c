"""Tiles whose labels are the most doubtful, by a table of `transferscope predict --all`."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from transferscope.errors import Problem, UserError
from transferscope.raw.text_tables import read_table
from transferscope.runtime.seeds import derive_rng
from transferscope.runtime.spreadsheets import unguarded

DOUBT = "doubt"
FIX = "Write it by: transferscope predict my.yaml --all --output labels.csv"


def doubtful_tiles(
    path: Path, table: pd.DataFrame, count: int, *, seed: int = 0, exclude: Collection[str] = ()
) -> list[int]:
    """Return the tiles whose labels are the most doubtful.

    Parameters
    ----------
    path
        TSV or CSV with `tile_id` and `doubt`, which is empty for tiles without a label.
    table
        Tile table: `tile_id`.
    count
        Number of tiles; fewer, if fewer have a doubt.
    seed
        Of their order.
    exclude
        Ids of tiles that are left out.

    Returns
    -------
    list of int
        Positions in the tile table, in random order, so that none is looked at more severely.

    Raises
    ------
    UserError
        With every row that cannot be used.
    """
    rows = unguarded(read_table(path, "--first"))
    if missing := {"tile_id", DOUBT} - set(rows.columns):
        what = f"has no column {' and no column '.join(sorted(missing))}"
        raise UserError(Problem(str(path), what, FIX))
    rows = rows[(rows[DOUBT] != "") & ~rows["tile_id"].isin(list(exclude))]
    values = pd.to_numeric(rows[DOUBT], errors="coerce")
    places = pd.Index(table["tile_id"].astype(str)).get_indexer(pd.Index(rows["tile_id"]))
    problems = [
        Problem(f"{path}, row {row}, column {DOUBT}", f'"{text}" is no number', FIX)
        for row, text in rows.loc[values.isna(), DOUBT].items()
    ]
    problems += [
        Problem(f"{path}, row {row}", f'the dataset has no tile "{tile}"', FIX)
        for row, tile in rows.loc[places < 0, "tile_id"].items()
    ]
    if problems:
        raise UserError(problems)
    order = np.argsort(-values.to_numpy(float), kind="stable")
    first = list(dict.fromkeys(int(place) for place in places[order]))[:count]
    return [int(place) for place in derive_rng(seed, "doubtful").permutation(first)]
