"""Similarity within and between groups of entities of which a source lists every pair."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pandas as pd

from transferscope.relations.cosines import unit_vectors
from transferscope.relations.entities import Entities
from transferscope.relations.pairs import KnownPairs
from transferscope.runtime.arrays import Floats

SMALLEST, LARGEST, MOST_ENTITIES = 3, 8, 48
# Entities from which a group is grown; more would take long where a source has no group.
MOST_SEEDS = 500
COLUMNS = ["entity1", "group1", "entity2", "group2", "known", "cosine"]


def complexes(pairs: KnownPairs) -> list[list[int]]:
    """Return disjoint groups of entities of which every pair is known, such as complexes.

    Each grows from the entity with the most known pairs among those that are left, by the one that
    shares most of them. Complexes whose pairs a source lists are found whole, up to `LARGEST`.

    Returns
    -------
    list
        Rows of the entities of each group, those of the best connected ones first; together
        at most `MOST_ENTITIES`.
    """
    partners: dict[int, set[int]] = defaultdict(set)
    for first, second in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True):
        partners[first].add(second)
        partners[second].add(first)
    left, groups = set(partners), []
    for _ in range(MOST_SEEDS):
        group = _grown(partners, left)
        left -= set(group)
        if len(group) >= SMALLEST:
            groups.append(sorted(group))
        if not left or sum(map(len, groups)) + LARGEST > MOST_ENTITIES:
            break
    return groups


def _grown(partners: dict[int, set[int]], left: set[int]) -> list[int]:
    """Return the group that grows from the best connected entity of those that are left."""
    group: list[int] = []
    fitting = set(left)
    while fitting and len(group) < LARGEST:
        # The lowest row of equally well connected ones.
        best = max(fitting, key=lambda row: (len(partners[row] & fitting), -row))
        group.append(best)
        fitting &= partners[best]
    return group


def similarities(entities: Entities, pairs: KnownPairs) -> pd.DataFrame:
    """Return the cosine of every pair of entities in the groups of a source.

    Returns
    -------
    DataFrame
        Of `COLUMNS`: groups, counted from 1, by the mean cosine within, the highest first; in a
        group entities by name. Every pair occurs once, `known` tells whether the source lists it.
    """
    units, names = unit_vectors(entities.vectors), entities.names
    groups = sorted(complexes(pairs), key=lambda group: -_mean_within(units[group]))
    rows = [(row, number) for number, group in enumerate(groups, start=1) for row in group]
    listed = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    found = [
        (names[a], one, names[b], other, (min(a, b), max(a, b)) in listed, units[a] @ units[b])
        for place, (a, one) in enumerate(rows)
        for b, other in rows[place + 1 :]
    ]
    return pd.DataFrame(found, columns=COLUMNS)


def _mean_within(units: Floats) -> float:
    first, second = np.triu_indices(len(units), 1)
    return float((units @ units.T)[first, second].mean())
