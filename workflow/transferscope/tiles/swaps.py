"""Fields whose channels are those of another order: what each plane looks like against the others.

Each plane of a field is described by numbers that do not depend on the order of its channels:
quantiles of its intensity, also relative to the other planes of the field, the energy of its
details by scale, and how much it has in common with the other planes. A logistic regression
learns from the fields of other groups which channel such a plane is, and a field is doubted where
another assignment of its planes is far more likely than its own. Channels that look alike are
told apart by nothing: there is no alarm.

A whole dataset with the same two channels exchanged is consistent in itself, and is not seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import norm, rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from transferscope.runtime.arrays import Bools, Floats, Integers, Pixels, Texts

# Groups from which on fields are judged: few look too different to say how another should look.
FEWEST_GROUPS = 20
# Where a larger share of the fields fits another order, they have no look in common, or a batch is
# another one as a whole: that is not told field by field.
MOST_SWAPPED = 0.1
FOLDS = 10
# Of more fields, so many are learned from.
MOST_LEARNED = 2_000
# How much likelier another order has to be, for each that there is. By Markov's inequality at most
# one field in 10 that is in order reaches that; of simulated and of real fields it was fewer than
# one in 100 (benchmarks/swapped_channels.py).
ODDS = 10.0
# Learning is repeated without the fields that are in doubt.
ROUNDS = 2
SCALES = 5
PERCENTILES = (1.0, 50.0, 99.0, 99.9)
# Inverse strength of the penalty of the regression.
PENALTY = 0.3
BINS = 16
EPSILON = 1e-6
# A rare value is no further from the others than this many standard deviations.
FURTHEST = 3.0


@dataclass(frozen=True)
class Swap:
    """A field that fits the other fields far better with its channels in another order.

    Parameters
    ----------
    field
        Its position.
    order
        What each of its channels looks like, as positions of channels, [C].
    log_odds
        Logarithm of how much more likely that order is.
    """

    field: int
    order: tuple[int, ...]
    log_odds: float


def enough_groups(groups: Sequence[str]) -> bool:
    """Return whether there are enough groups to say what a field should look like."""
    return len(set(groups)) >= FEWEST_GROUPS


def describe_planes(tiles: Sequence[Pixels | Floats]) -> Floats:
    """Return what describes each channel of a field, whatever the order of the channels is.

    Parameters
    ----------
    tiles
        Some tiles of the field, [C, H, W] each; numbers are means over them.

    Returns
    -------
    float64 [C, features]
    """
    described = [_of_tile(tile.astype(np.float64)) for tile in tiles]
    return np.asarray(np.mean(described, axis=0))


def swapped_fields(planes: Floats, groups: Texts) -> list[Swap]:
    """Return the fields whose channels are, beyond doubt, in another order than the dataset's.

    Parameters
    ----------
    planes
        `describe_planes` of each field, [N, C, features].
    groups
        Group of each field, [N]: none is judged by fields of its own group.

    Returns
    -------
    list of Swap
        In the order of the fields; none where groups are too few, or too many fields would be.
    """
    n_fields, n_channels = planes.shape[:2]
    if n_channels < 2 or not enough_groups(groups.tolist()):
        return []
    codes = np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1].astype(np.int64)
    kept: Bools = np.ones(n_fields, dtype=bool)
    doubted: list[Swap] = []
    for _ in range(ROUNDS):
        likelihoods = _log_probabilities(planes, codes, kept)
        found = [_likelier(number, one) for number, one in enumerate(likelihoods)]
        trust = _trust(np.array([one.log_odds for one in found]))
        found = [replace(one, log_odds=trust * one.log_odds) for one in found]
        doubted = [one for one in found if one.log_odds > _limit(one.order)]
        kept[:] = True
        kept[[one.field for one in doubted]] = False
    return doubted if len(doubted) <= MOST_SWAPPED * n_fields else []


def _trust(log_odds: Floats) -> float:
    """Return by how much log odds have to be multiplied to be those that fields come true with.

    A regression on few groups, or on channels that look alike, is surer than it is right. The
    factor is that of temperature scaling (Guo et al. 2017, arXiv:1706.04599), by maximum likelihood
    on the fields, which were learned from without their groups; a share of the fields of at most
    `MOST_SWAPPED` may truly be in another order, and takes no part of it.

    Parameters
    ----------
    log_odds
        Of the likeliest other order of each field.
    """
    factors = np.linspace(0.02, 1, 50)[:, None]
    own, other = (-np.logaddexp(0, sign * factors * log_odds) for sign in (1, -1))
    shares = np.linspace(0, MOST_SWAPPED, 21)
    fits = [
        np.logaddexp(np.log1p(-share) + own, np.log(max(share, EPSILON)) + other).sum(axis=1)
        for share in shares
    ]
    return float(factors[int(np.max(fits, axis=0).argmax()), 0])


def _of_tile(tile: Floats) -> Floats:
    """Return the description of one tile [C, H, W]."""
    levels = np.log1p(np.percentile(tile, PERCENTILES, axis=(1, 2)).T)
    relative = levels - levels.mean(axis=0)
    dark, middle, bright, brightest = np.percentile(tile, PERCENTILES, axis=(1, 2))
    span = np.maximum(bright - dark, EPSILON)
    shape = np.stack([(middle - dark) / span, np.log1p((brightest - bright) / span)], axis=1)
    details, coarse = _details(tile)
    return np.concatenate([levels, relative, shape, details, _shared(coarse)], axis=1)


def _details(tile: Floats) -> tuple[Floats, Floats]:
    """Return the log share of each scale in a plane's variance, and the planes at a coarse scale.

    The scales are those of Haar wavelets: the variance that averages of 2 x 2 pixels lose.
    """
    pooled, coarse = tile, tile
    total = np.maximum(tile.var(axis=(1, 2)), EPSILON)
    found = []
    for scale in range(SCALES):
        if min(pooled.shape[1:]) < 4:
            found.append(np.full(len(tile), np.log(EPSILON)))
            continue
        height, width = (side // 2 * 2 for side in pooled.shape[1:])
        cut = pooled[:, :height, :width]
        smaller = cut.reshape(len(tile), height // 2, 2, width // 2, 2).mean(axis=(2, 4))
        lost = np.maximum(cut.var(axis=(1, 2)) - smaller.var(axis=(1, 2)), 0)
        found.append(np.log(lost / total + EPSILON))
        pooled = smaller
        if scale == 1:
            coarse = smaller
    return np.stack(found, axis=1), coarse


def _shared(coarse: Floats) -> Floats:
    """Return what each plane has in common with the others: [C, 6], whatever their order."""
    flat = coarse.reshape(len(coarse), -1)
    n_channels = len(flat)
    correlation = np.zeros((n_channels, n_channels))
    explained = np.zeros((n_channels, n_channels))
    centred = flat - flat.mean(axis=1, keepdims=True)
    sizes = np.sqrt((centred**2).sum(axis=1))
    for one in range(n_channels):
        # Of equal numbers of pixels each: the bins of one plane, for all others.
        bins = (rankdata(flat[one], method="ordinal") - 1) * BINS // flat.shape[1]
        counts = np.maximum(np.bincount(bins, minlength=BINS), 1)
        for other in range(n_channels):
            if other == one or sizes[one] < EPSILON or sizes[other] < EPSILON:
                continue
            correlation[one, other] = centred[one] @ centred[other] / (sizes[one] * sizes[other])
            means = np.bincount(bins, centred[other], minlength=BINS) / counts
            explained[other, one] = (counts * means**2).sum() / sizes[other] ** 2
    others = ~np.eye(n_channels, dtype=bool)
    shape = n_channels, n_channels - 1
    near = np.arctanh(np.clip(correlation, -0.999, 0.999))[others].reshape(shape)
    known = explained[others].reshape(shape)
    more = (explained - explained.T)[others].reshape(shape)
    columns = [near.max(1), near.min(1), near.mean(1), known.max(1), more.max(1), more.min(1)]
    return np.stack(columns, axis=1)


def _log_probabilities(planes: Floats, codes: Integers, kept: Bools) -> Floats:
    """Return the log probability that a plane is a channel, [N, plane, channel].

    Learned from kept fields of other groups.
    """
    n_fields, n_channels, n_features = planes.shape
    found = np.zeros((n_fields, n_channels, n_channels))
    folds = GroupKFold(min(FOLDS, int(codes.max()) + 1))
    channels = np.arange(n_channels)
    for train, test in folds.split(planes, groups=codes):
        learned = train[kept[train]]
        if len(learned) > MOST_LEARNED:
            chosen = np.linspace(0, len(learned) - 1, MOST_LEARNED).round().astype(int)
            learned = learned[chosen]
        known = planes[learned].reshape(-1, n_features)
        scores = _normal_scores(known, known)
        model = LogisticRegression(C=PENALTY, max_iter=1000)
        model.fit(scores, np.tile(channels, len(learned)))
        own = _normal_scores(known, planes[test].reshape(-1, n_features))
        found[test] = model.predict_log_proba(own).reshape(len(test), n_channels, n_channels)
    return found


def _normal_scores(known: Floats, values: Floats) -> Floats:
    """Return values as normal scores of their ranks among known ones, and the squares of these."""
    scores = np.empty_like(values)
    for column in range(known.shape[1]):
        ordered = np.sort(known[:, column])
        left = np.searchsorted(ordered, values[:, column], side="left")
        right = np.searchsorted(ordered, values[:, column], side="right")
        scores[:, column] = norm.ppf(((left + right) / 2 + 0.5) / (len(ordered) + 1))
    clipped = np.clip(scores, -FURTHEST, FURTHEST)
    return np.concatenate([clipped, clipped**2 - 1], axis=1)


def _likelier(number: int, odds: Floats) -> Swap:
    """Return the likeliest order of a field other than its own, and its log odds.

    Parameters
    ----------
    number
        Position of the field.
    odds
        Log probability that a plane is a channel, [plane, channel].
    """
    planes, channels = linear_sum_assignment(odds, maximize=True)
    own = float(np.trace(odds))
    if (planes != channels).any():
        order = tuple(channels.tolist())
        return Swap(number, order, float(odds[planes, channels].sum()) - own)
    # Its own is the likeliest: the next is an exchange of two, which costs least.
    n_channels = len(odds)
    pairs = [(i, j) for i in range(n_channels) for j in range(i)]
    changes = [odds[i, j] + odds[j, i] - odds[i, i] - odds[j, j] for i, j in pairs]
    i, j = pairs[int(np.argmax(changes))]
    swapped = list(range(n_channels))
    swapped[i], swapped[j] = swapped[j], swapped[i]
    return Swap(number, tuple(swapped), float(max(changes)))


def _limit(order: Sequence[int]) -> float:
    """Return the log odds from which on an order is believed: of all that move as many channels."""
    moved = sum(place != channel for place, channel in enumerate(order))
    n_orders = math.comb(len(order), moved) * _derangements(moved)
    return math.log(n_orders * ODDS)


def _derangements(n: int) -> int:
    """Return the number of orders of n things with none in its place."""
    return round(math.factorial(n) / math.e) if n else 1
