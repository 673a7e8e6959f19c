"""Intervals of means over pairs, by drawing entities: pairs that share one are not independent.

A bootstrap draw of entities gives a pair the product of the weights of its two entities. That
counts the noise of the pair itself three times; the deviations of the draws are therefore scaled by
the ratio of the dyadic-robust standard error (Aronow, Samii and Assenova, 2015,
doi:10.1093/pan/mpv018) to the bootstrap's expected one. If few entities have most pairs, they are
further scaled to the width of Student's t with as many degrees of freedom as entities would be with
equally many pairs each, less one. The same draws serve every map, so that differences are paired.

Few pairs that deviate, such as three of 240 on which two maps disagree, make the draws skewed and
tell little of how many there are. An interval is therefore at least as wide as the normal one with
one more pair that deviates as much as any, as adjusted intervals for paired proportions are
(Agresti and Min, 2005, doi:10.1002/sim.1781).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

from transferscope.relations.pairs import KnownPairs
from transferscope.runtime.arrays import Floats, Floats32
from transferscope.runtime.seeds import derive_rng

VALUES_AT_ONCE = 1 << 24
# Squares of deviations below this are due to rounding.
ROUNDING = 1e-20
# With fewer pairs, how much they vary is unknown.
LEAST_PAIRS = 5


@dataclass(frozen=True)
class Interval:
    """A mean over pairs with its interval, which is NaN with too few pairs."""

    value: float
    low: float
    high: float


def draw_entities(n_entities: int, draws: int, seed: int) -> Floats32:
    """Return how often each entity is in each bootstrap sample, float32 [draws, G]."""
    rng = derive_rng("entities", seed, n_entities)
    shares = np.full(n_entities, 1 / n_entities)
    return rng.multinomial(n_entities, shares, size=draws).astype(np.float32)


def intervals(
    values: Floats, pairs: KnownPairs, weights: Floats32, level: float, *, if_equal: float = 0.0
) -> list[Interval]:
    """Return the mean of each column over the pairs, with its interval.

    Parameters
    ----------
    values
        Values of the pairs, float64 [K, M] with K >= 1; differences of two stores are as good.
    pairs
        The K pairs.
    weights
        Draws of entities, from `draw_entities`.
    level
        Level of the intervals.
    if_equal
        How far from the others one more pair may be where all pairs have the same value: 1 for a
        recall, as none of 30 pairs does not mean none at all; 0 for differences, as two equal maps
        do not differ.
    """
    means = values.mean(axis=0)
    if len(pairs) < LEAST_PAIRS:
        return [Interval(float(mean), np.nan, np.nan) for mean in means]
    drawn = _drawn_means(values, pairs, weights)
    own, shared = _sums_of_squares(values - means, pairs)
    # The robust sum may fall below that of independent pairs where entities differ less than by
    # chance; that of independent pairs is the least.
    robust = np.maximum(shared - own, own)
    bootstrap = shared + own
    ratio = np.divide(robust, bootstrap, out=np.ones_like(own), where=bootstrap > 0)
    tail = (1 - level) / 2
    quantiles = np.quantile((drawn - means) * np.sqrt(ratio), [tail, 1 - tail], axis=0)
    largest = ((values - means) ** 2).max(axis=0)
    one_more = np.where(largest > ROUNDING, largest, if_equal**2)
    least = float(-ndtri(tail)) * np.sqrt(robust + one_more) / len(pairs)
    widening = _few_entities(pairs, level)
    low = means + widening * np.minimum(quantiles[0], -least)
    high = means + widening * np.maximum(quantiles[1], least)
    return [Interval(*map(float, each)) for each in zip(means, low, high, strict=True)]


def _drawn_means(values: Floats, pairs: KnownPairs, weights: Floats32) -> Floats:
    """Return the weighted mean in each draw that holds any pair, [draws, M]."""
    at_once = max(1, VALUES_AT_ONCE // max(len(pairs), 1))
    parts = []
    for start in range(0, len(weights), at_once):
        own = weights[start : start + at_once]
        of_pairs = own[:, pairs.first] * own[:, pairs.second]
        totals = of_pairs.sum(axis=1, dtype=np.float64)
        kept = totals > 0
        parts.append((of_pairs[kept] @ values) / totals[kept, None])
    return np.concatenate(parts)


def _sums_of_squares(deviations: Floats, pairs: KnownPairs) -> tuple[Floats, Floats]:
    """Return the sums of squares over pairs, and of the sums over each entity's pairs, [M] each."""
    n_entities = int(pairs.second.max()) + 1
    sums = np.zeros((n_entities, deviations.shape[1]))
    np.add.at(sums, pairs.first, deviations)
    np.add.at(sums, pairs.second, deviations)
    return (deviations**2).sum(axis=0), (sums**2).sum(axis=0)


def _few_entities(pairs: KnownPairs, level: float) -> float:
    """Return the widening of intervals that rest on few entities; 1 if on many."""
    degrees = np.bincount(np.concatenate([pairs.first, pairs.second]))
    effective = degrees.sum() ** 2 / (degrees**2).sum()
    df = max(effective - 1, 1)
    tail = (1 + level) / 2
    return float(np.sqrt(1 + 1 / df) * stdtrit(df, tail) / ndtri(tail))
