"""Contests: all stores of one dataset that are evaluated by one head in one split scheme."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np

from transferscope.compare.tables import Head, Store
from transferscope.compare.uncertainty import (
    Inflation,
    WithBest,
    compare_with_best,
    simultaneous,
    variances,
    weight_of_differences,
    weight_of_scores,
)
from transferscope.config.probed import correction_of, uncorrected
from transferscope.probes.metrics import mean_of_defined
from transferscope.probes.score_table import FLOOR
from transferscope.runtime.arrays import Floats, Floats32

FoldDraws = Mapping[tuple[int, int], Floats]


@dataclass(frozen=True)
class Side:
    """One side of a difference.

    Parameters
    ----------
    store
        The store.
    scores
        Its score, [1 + draws].
    folds
        The same in each repeat and fold.
    halves
        Its score in halves of the groups, [J, 2].
    """

    store: Store
    scores: Floats
    folds: FoldDraws
    halves: Floats


@dataclass(frozen=True)
class Rules:
    """What decides a difference.

    Parameters
    ----------
    confidence
        Coverage of the intervals; 1 - confidence is the level of the tests.
    margin
        Differences below it are of no practical importance.
    noise
        From `uncertainty.draw_noise`.
    """

    confidence: float
    margin: float
    noise: Floats32


@dataclass(frozen=True)
class Contest:
    """All stores of a dataset with one head and split scheme.

    Parameters
    ----------
    head, scheme
        As above.
    sides
        The stores.
    floors
        The floor on each store, if it was computed.
    by_group
        The same stores with the same head by group, if `scheme` is another one.
    n_groups
        Number of groups.
    """

    head: Head
    scheme: str
    sides: list[Side]
    floors: Mapping[Store, Side]
    by_group: Mapping[Store, Side]
    n_groups: int

    def pairs(self, kind: str) -> Iterator[tuple[Side, Side]]:
        """Yield the two sides of each comparison of a kind."""
        by_store = {side.store: side for side in self.sides}
        if kind == "stores":
            for one, other in combinations(self.sides, 2):
                score, other_score = (scores[0] for scores in shared_scores(one, other))
                yield (other, one) if score < other_score else (one, other)
        for side in self.sides:
            if kind == "handcrafted" and not side.store.is_handcrafted:
                yield from ((side, other) for other in self.sides if other.store.is_handcrafted)
            if kind == "floor" and side.store in self.floors:
                yield side, replace(self.floors[side.store], store=Store(FLOOR, ""))
            if kind == "strategy":
                natural = by_store.get(Store(side.store.backbone, "map"))
                if natural is not None and natural is not side:
                    yield natural, side
            if kind == "correction" and correction_of(side.store.backbone) is not None:
                plain = Store(uncorrected(side.store.backbone), side.store.channels)
                if plain in by_store:
                    yield side, by_store[plain]
            if kind == "scheme" and side.store in self.by_group:
                yield side, self.by_group[side.store]

    @cached_property
    def n_halved(self) -> int:
        """Number of stores that were trained in halves."""
        return sum(bool(np.isfinite(side.halves).any()) for side in self.sides)

    def inflation(self, draws: Floats, halves: Floats) -> Inflation:
        """Return that of differences of its stores, [1 + draws, P], in halves [P, J, 2]."""
        weight = weight_of_differences(self.n_halved)
        return Inflation.of(halves, variances(draws), self.n_groups, weight)

    def with_best(self, rules: Rules) -> WithBest:
        """Compare all stores with the best."""
        n_stores = len(self.sides)
        leads = np.zeros((len(rules.noise[0]) + 1, n_stores, n_stores))
        errors = np.zeros((n_stores, n_stores))
        if n_stores < 2:
            return WithBest(np.ones(n_stores, dtype=bool), np.zeros(n_stores))
        draws, halves = stacked(list(combinations(self.sides, 2)))
        inflation = self.inflation(draws, halves)
        first, second = np.triu_indices(n_stores, 1)
        leads[:, second, first], leads[:, first, second] = draws, -draws
        errors[first, second] = errors[second, first] = inflation.errors(variances(draws))
        return compare_with_best(leads, errors, inflation.df, rules.confidence, rules.noise)

    def intervals(self, rules: Rules) -> tuple[Floats, Floats, Floats]:
        """Return the scores of all stores and intervals that cover all of them at once, [S].

        Such an interval also holds for the store that came out highest, which a single one does
        not: it was chosen for being high.
        """
        draws = np.stack([side.scores for side in self.sides], axis=1)
        halves = np.stack([side.halves for side in self.sides])
        bootstrapped = variances(draws)
        weight = weight_of_scores(self.n_halved)
        inflation = Inflation.of(halves, bootstrapped, self.n_groups, weight)
        errors = inflation.errors(bootstrapped)
        reach = simultaneous(draws, inflation, rules.confidence, rules.noise) * errors
        return draws[0], np.clip(draws[0] - reach, 0, 1), np.clip(draws[0] + reach, 0, 1)


def stacked(pairs: Sequence[tuple[Side, Side]], paired: bool = True) -> tuple[Floats, Floats]:
    """Return the differences of pairs in the draws, [1 + draws, P], and in halves, [P, J, 2]."""
    if not pairs:
        return np.empty((2, 0)), np.empty((0, 0, 2))
    both = [shared_scores(*pair) if paired else (pair[0].scores, pair[1].scores) for pair in pairs]
    draws = np.stack([first - second for first, second in both], axis=1)
    return draws, np.stack([first.halves - second.halves for first, second in pairs])


def shared_scores(first: Side, second: Side) -> tuple[Floats, Floats]:
    """Return the scores of both sides on the folds that both have, [1 + draws]; NaN if none.

    Where one side lacks folds, its scores are means over folds: nothing is pooled.
    """
    if set(first.folds) == set(second.folds):
        return first.scores, second.scores
    shared = sorted(set(first.folds) & set(second.folds))
    if not shared:
        return np.full_like(first.scores, np.nan), np.full_like(second.scores, np.nan)
    one, other = (
        mean_of_defined(np.stack([side.folds[key] for key in shared]), axis=0)
        for side in (first, second)
    )
    return one, other
