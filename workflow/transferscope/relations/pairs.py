"""Known pairs of entities: each once, in either order, of entities that the map has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from transferscope.runtime.arrays import Integers, Texts


@dataclass(frozen=True)
class KnownPairs:
    """Known pairs of one source among the entities of a map.

    Parameters
    ----------
    source
        Name of the source.
    first, second
        Rows of the two entities, int64 [K]; first < second, no pair twice.
    n_listed
        Number of rows of the source.
    n_self, n_repeated, n_outside
        Rows left out: an entity with itself; a pair that occurred before, in either order; a pair
        with an entity that the map does not have.
    n_unknown
        Number of entities of the source that the map does not have.
    """

    source: str
    first: Integers
    second: Integers
    n_listed: int
    n_self: int
    n_repeated: int
    n_outside: int
    n_unknown: int

    def __len__(self) -> int:
        return len(self.first)

    @property
    def n_entities(self) -> int:
        """Number of entities with a known pair."""
        return len(np.union1d(self.first, self.second))


def known_pairs(source: str, first: Texts, second: Texts, entities: Sequence[str]) -> KnownPairs:
    """Return the known pairs of a source among the entities of a map.

    Parameters
    ----------
    source
        Name of the source.
    first, second
        Names of the two entities of each listed pair, str [L].
    entities
        Names of the map's entities, without repeats, in the order of its rows.
    """
    index = pd.Index(entities)
    one, other = (index.get_indexer(pd.Index(side)) for side in (first, second))
    listed = pd.DataFrame({"a": np.asarray(first, dtype=object), "b": second})
    of_itself = np.asarray(listed["a"] == listed["b"])
    swapped = np.asarray(listed["a"] > listed["b"])
    listed.loc[swapped, ["a", "b"]] = listed.loc[swapped, ["b", "a"]].to_numpy()
    repeated = np.asarray(listed.duplicated()) & ~of_itself
    outside = ((one < 0) | (other < 0)) & ~of_itself & ~repeated
    used = ~(of_itself | repeated | outside)
    names = pd.Index(np.concatenate([first, second])).unique()
    return KnownPairs(
        source=source,
        first=np.minimum(one, other)[used].astype(np.int64),
        second=np.maximum(one, other)[used].astype(np.int64),
        n_listed=len(listed),
        n_self=int(of_itself.sum()),
        n_repeated=int(repeated.sum()),
        n_outside=int(outside.sum()),
        n_unknown=int((index.get_indexer(names) < 0).sum()),
    )
