"""Training sets of k labelled groups of each class, drawn from the training groups of each fold.

The order of the groups is that of the fractions, so that sets are nested and each fold and seed
draws its own. No tile is held out: labels to choose thresholds by, or when to stop, would be more
labels. Heads train for all epochs, and thresholds are the usual ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from transferscope.config.schemes import is_control, with_groups
from transferscope.probes.evaluation import Division
from transferscope.probes.labels import LabelledTiles
from transferscope.runtime.arrays import Bools, Floats, Integers


def of_few_groups(
    tiles: LabelledTiles, divisions: Sequence[Division], counts: Sequence[int]
) -> Iterator[Division]:
    """Yield the same tests for heads that are trained on k groups of each class.

    Parameters
    ----------
    tiles
        Labels and groups of all tiles.
    divisions
        All divisions; those of the largest fraction are used, without controls of columns.
    counts
        Numbers of groups per class.
    """
    largest = max((division.fraction for division in divisions), default=0)
    for division in divisions:
        if division.fraction < largest or is_control(division.scheme):
            continue
        for k in sorted(counts):
            few = first_groups(tiles, division.train, division.train_shares, k)
            yield replace(
                division,
                scheme=with_groups(division.scheme, k),
                train=division.train[few],
                train_shares=division.train_shares[few],
                validation=division.validation[:0],
            )


def first_groups(tiles: LabelledTiles, rows: Integers, shares: Floats, k: int) -> Bools:
    """Return which rows are of the first k groups of any class, bool [n], in random order.

    All groups of a class that has fewer. A group of several classes counts for each, so that a
    class may have more than k; those of k are among those of k + 1.

    Parameters
    ----------
    tiles, rows
        Training rows.
    shares
        Rank of each row's group, from the splits.
    k
        Groups per class.
    """
    order = pd.Series(shares, index=tiles.groups[rows]).groupby(level=0).first()
    ranked = order.sort_values(kind="stable").index
    has = pd.DataFrame(tiles.matrix[rows]).groupby(tiles.groups[rows]).any().loc[ranked]
    chosen = (has & (has.cumsum(axis=0) <= k)).any(axis=1)
    return np.asarray(np.isin(tiles.groups[rows], list(chosen.index[chosen])))
