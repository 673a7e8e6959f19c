"""The most similar pairs of entities that no source has: candidates, not findings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from transferscope.relations.cosines import unit_vectors
from transferscope.relations.entities import Entities
from transferscope.relations.pairs import KnownPairs


def new_pairs(entities: Entities, sources: Sequence[KnownPairs], count: int) -> pd.DataFrame:
    """Return the most similar pairs that no source has.

    Parameters
    ----------
    entities
        The map.
    sources
        Known pairs to leave out.
    count
        Number of pairs.

    Returns
    -------
    DataFrame
        `entity1`, `entity2`, `cosine`, the most similar first; ties by name.
    """
    units = unit_vectors(entities.vectors)
    first = np.concatenate([np.empty(0, dtype=np.int64), *(source.first for source in sources)])
    second = np.concatenate([np.empty(0, dtype=np.int64), *(source.second for source in sources)])
    order = np.argsort(first, kind="stable")
    first, second = first[order], second[order]
    found = np.empty((0, 3))
    for row in range(len(units) - 1):
        cosines = units[row + 1 :] @ units[row]
        known = second[np.searchsorted(first, row) : np.searchsorted(first, row, side="right")]
        cosines[known - row - 1] = -np.inf
        least = found[-1, 2] if len(found) == count and count else -np.inf
        columns = np.flatnonzero(cosines > least)
        if len(columns) > count:
            columns = columns[np.argsort(-cosines[columns], kind="stable")[:count]]
        own = [np.full(len(columns), row), columns + row + 1, cosines[columns]]
        found = np.concatenate([found, np.column_stack(own)])
        found = found[np.argsort(-found[:, 2], kind="stable")][:count]
    names = np.asarray(entities.names, dtype=object)
    return pd.DataFrame(
        {
            "entity1": names[found[:, 0].astype(np.int64)],
            "entity2": names[found[:, 1].astype(np.int64)],
            "cosine": found[:, 2],
        }
    )
