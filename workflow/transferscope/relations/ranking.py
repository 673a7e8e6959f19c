"""Average precision of rankings with ties, as the expectation over their random orders.

Within a block of tied items all orders are equally likely (McSherry and Najork, 2008,
doi:10.1007/978-3-540-78646-7_38), so that ties favour nobody. Without ties, average precision is
the usual mean, over the relevant items, of the precision at their rank.
"""

from __future__ import annotations

import numpy as np

from transferscope.runtime.arrays import Bools, Floats, Integers

# Cosines that differ by less are tied.
TIE_DECIMALS = 10


def harmonic_numbers(largest: int) -> Floats:
    """Return the harmonic numbers of 0 to `largest`, [largest + 1].

    Examples
    --------
    >>> harmonic_numbers(3).round(4).tolist()
    [0.0, 1.0, 1.5, 1.8333]
    """
    return np.concatenate([[0.0], np.cumsum(1 / np.arange(1, largest + 1))])


def expected_precision(
    relevant_above: Integers, others_above: Integers, relevant_tied: Integers, others_tied: Integers
) -> Floats:
    """Return the expected precision at the rank of relevant items.

    Parameters
    ----------
    relevant_above, others_above
        Number of other items of either kind that rank higher, of any one shape.
    relevant_tied, others_tied
        Number of other items of either kind that are tied with it.
    """
    above, tied = relevant_above + others_above, relevant_tied + others_tied
    harmonic = harmonic_numbers(int((above + tied).max(initial=0)) + 1)
    # Mean over the places i = 0..tied of (relevant_above + 1 + i * rate) / (above + 1 + i).
    rate = relevant_tied / np.maximum(tied, 1)
    rest = relevant_above + 1 - rate * (above + 1)
    between = harmonic[above + tied + 1] - harmonic[above]
    return np.asarray(rate + rest * between / (tied + 1))


def average_precision_of_ranked(ranked: Floats, relevant: Bools) -> Floats:
    """Return the average precision of rankings, [...]; NaN without relevant items.

    Parameters
    ----------
    ranked
        Scores that descend along the last axis, [..., L]; equal ones are tied, and -inf is not
        ranked and never relevant.
    relevant
        Of the same shape.
    """
    places = np.arange(ranked.shape[-1])
    first, last = _block_ends(ranked[..., 1:] != ranked[..., :-1], places)
    found = np.cumsum(relevant, axis=-1)
    before: Integers = np.take_along_axis(found - relevant, first, axis=-1)
    own = np.take_along_axis(found, last, axis=-1) - before
    others = last - first + 1 - own
    # Of items that are not relevant, the value is not used; it must only be defined.
    precision = expected_precision(before, first - before, np.maximum(own - 1, 0), others)
    n_relevant = relevant.sum(axis=-1)
    total = np.where(relevant, precision, 0).sum(axis=-1)
    missing = np.full_like(total, np.nan)
    return np.asarray(np.divide(total, n_relevant, out=missing, where=n_relevant > 0))


def expected_average_precision(scores: Floats, relevant: Bools) -> Floats:
    """Return the same of scores in any order, of which equal ones, but for rounding, are tied."""
    rounded = np.round(scores, TIE_DECIMALS)
    order = np.argsort(-rounded, axis=-1, kind="stable")
    ranked = np.take_along_axis(rounded, order, axis=-1)
    return average_precision_of_ranked(ranked, np.take_along_axis(relevant, order, axis=-1))


def chance_average_precision(n_relevant: Integers | int, n_items: Integers | int) -> Floats:
    """Return the expected average precision of a random order of M relevant of L items.

    ((M - 1) / (L - 1) * (L - H) + H) / L, with the harmonic number H of L (Bestgen, 2015).
    """
    m, n = np.asarray(n_relevant, dtype=np.float64), np.asarray(n_items, dtype=np.int64)
    harmonic = harmonic_numbers(int(n.max(initial=1)))[n]
    share = (m - 1) / np.maximum(n - 1, 1)
    return np.asarray((share * (n - harmonic) + harmonic) / np.maximum(n, 1))


def normalised(precision: Floats, chance: Floats) -> Floats:
    """Return average precision such that 0 is chance and 1 is perfect; NaN if chance is 1."""
    room = 1 - chance
    return np.divide(
        precision - chance, room, out=np.full_like(precision, np.nan), where=room > 1e-12
    )


def _block_ends(changes: Bools, places: Integers) -> tuple[Integers, Integers]:
    """Return the first and the last place of the block of ties of each place."""
    edge = np.ones((*changes.shape[:-1], 1), dtype=bool)
    first = np.where(np.concatenate([edge, changes], axis=-1), places, 0)
    last = np.where(np.concatenate([changes, edge], axis=-1), places, len(places) - 1)
    return (
        np.maximum.accumulate(first, axis=-1),
        np.flip(np.minimum.accumulate(np.flip(last, axis=-1), axis=-1), axis=-1),
    )
