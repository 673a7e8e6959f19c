"""From rows to entities: one vector per gene, compound or protein."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from transferscope.config.relations import AggregateName
from transferscope.errors import user_error
from transferscope.probes.aggregation import aggregate
from transferscope.runtime.arrays import Bools, Floats32, Integers, Texts


@dataclass(frozen=True)
class Entities:
    """The vectors of a map.

    Parameters
    ----------
    names
        Names without repeats, sorted.
    vectors
        float32 [G, D].
    strata
        Labels of each entity by which pairs are stratified; None: not given.
    """

    names: list[str]
    vectors: Floats32
    strata: list[frozenset[str]] | None = None

    def __post_init__(self) -> None:
        if len(set(self.names)) < len(self.names):
            twice = pd.Series(self.names)[pd.Series(self.names).duplicated()].iloc[0]
            what = f'the entity "{twice}" occurs twice'
            raise user_error("entities", what, "Aggregate the rows of an entity first.")

    def members(self) -> Bools | None:
        """Return the strata as a matrix, bool [G, S]."""
        if self.strata is None:
            return None
        known = sorted(set().union(*self.strata))
        return np.array([[one in own for one in known] for own in self.strata], dtype=bool)

    def chosen(self, names: Sequence[str]) -> Entities:
        """Return some entities, in a given order."""
        rows = pd.Index(self.names).get_indexer(pd.Index(names))
        strata = None if self.strata is None else [self.strata[row] for row in rows]
        return Entities(list(names), self.vectors[rows], strata)


def name_codes(names: Texts) -> tuple[Integers, list[str]]:
    """Return the code of each name, -1 for an empty one, and the names in sorted order."""
    known = sorted({str(name) for name in names} - {""})
    codes = pd.Index(known, dtype=object).get_indexer(pd.Index(names, dtype=object))
    return codes.astype(np.int64), known


def aggregated(
    embeddings: Floats32,
    names: Texts,
    method: AggregateName,
    strata: Texts | None = None,
) -> Entities:
    """Aggregate rows to entities; rows with an empty name are of none.

    Parameters
    ----------
    embeddings
        [N, D].
    names
        Entity of each row, str [N].
    method
        `mean` or `median`.
    strata
        Labels of each row, separated by `;`; an entity has those of any of its rows.
    """
    codes, found = name_codes(names)
    vectors = aggregate(embeddings, codes, len(found), method)
    of_entities = None
    if strata is not None:
        labels: list[set[str]] = [set() for _ in found]
        for code, text in zip(codes, strata, strict=True):
            if code >= 0:
                labels[code].update(part.strip() for part in str(text).split(";") if part.strip())
        of_entities = [frozenset(own) for own in labels]
    return Entities(found, vectors, of_entities)
