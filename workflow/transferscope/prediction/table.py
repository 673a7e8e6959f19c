"""The table of labels: one row per tile, with names of classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from transferscope.prediction.deployed import Labels
from transferscope.runtime.arrays import Bools, Texts
from transferscope.runtime.atomic_files import replacing
from transferscope.runtime.spreadsheets import guarded

SEPARATOR = ";"
KEPT = ("tile_id", "group", "fov", "batch")
DEPLOYED, OUT_OF_FOLD = "deployed", "out of fold"


def label_table(
    tiles: pd.DataFrame,
    labels: Labels,
    classes: Sequence[str],
    said_by: str,
    given: Bools | None = None,
) -> pd.DataFrame:
    """Return the labels of tiles.

    Parameters
    ----------
    tiles
        Rows of the tile table, [N].
    labels, classes
        What the head says of them, and the names of its classes.
    said_by
        `DEPLOYED` or `OUT_OF_FOLD`.
    given
        Labels that the tiles have, [N, C], whose doubtfulness is told; None: they have none.

    Returns
    -------
    pandas.DataFrame
        `tile_id`, `group`, `fov` and `batch` where they are known, `given` (labels of the tile
        table), `doubt` (probability that the least likely of these, or of the classes that are
        missing in them, is wrong; empty without labels), `in_doubt` (that class), `predicted`
        (names, joined by ``;``), `probability` (that of the likeliest class), `unlike_labelled`,
        `distance` (1: the limit; empty for labelled tiles), `said_by`, and `p_<class>`.
    """
    table = tiles[[name for name in KEPT if name in tiles]].reset_index(drop=True)
    named = tiles["labels"] if "labels" in tiles else pd.Series("", index=tiles.index)
    doubts, least_likely = np.full(len(tiles), np.nan), np.full(len(tiles), "", dtype=object)
    if given is not None and len(tiles):
        wrong = np.abs(labels.probabilities - given)
        doubts = wrong.max(axis=1)
        least_likely = np.asarray(classes, dtype=object)[wrong.argmax(axis=1)]
    return table.assign(
        given=named.fillna("").to_numpy(),
        doubt=doubts,
        in_doubt=least_likely,
        predicted=_joined(labels.predicted, classes),
        probability=labels.probabilities.max(axis=1),
        unlike_labelled=labels.distances > 1,
        distance=labels.distances,
        said_by=said_by,
        **{f"p_{name}": labels.probabilities[:, c] for c, name in enumerate(classes)},
    )


def _joined(predicted: Bools, classes: Sequence[str]) -> Texts:
    names = np.asarray(classes, dtype=object)
    return np.asarray([SEPARATOR.join(names[row]) for row in predicted], dtype=object)


def write_label_table(table: pd.DataFrame, path: Path) -> None:
    """Write the table by the ending of its name: Parquet, TSV, or CSV."""
    with replacing(path) as temporary:
        if path.suffix == ".parquet":
            table.to_parquet(temporary, index=False)
            return
        separator = "\t" if path.suffix == ".tsv" else ","
        guarded(table).to_csv(temporary, sep=separator, index=False, float_format="%.4g")
