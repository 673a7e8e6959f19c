"""Standard errors that include the choice of training groups, and what follows from them.

A bootstrap over test groups keeps the trained heads fixed, and so leaves out what another training
set would have changed. Half-samples measure that part: the whole cross-validation is repeated in
disjoint halves of the groups (delete-half jackknife; Shao and Wu 1989, doi:10.1214/aos/1176347263).
Single variances from a few halves are noisy; one factor for all scores, or all differences, of one
head and split is not, and it is moderated towards a typical value, as variances of genes are (Smyth
2004, doi:10.2202/1544-6115.1027). The bootstrap keeps the part of each single difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import chdtri, stdtr, stdtrit

from transferscope.probes.metrics import mean_of_defined
from transferscope.runtime.arrays import Bools, Floats, Floats32

# Typical ratio of the variance over training and test groups to that of the bootstrap, and how many
# degrees of freedom it counts for: for the designs simulated in benchmarks/coverage_of_verdicts.py.
TYPICAL_FACTOR = 2.5
TYPICAL_DF = 8.0
# The variance of a score from n groups, from the squared difference of two scores from n / 2 each.
HALF_SHARE = 1 / 4
# Without half-samples: more than any simulated design needs.
FALLBACK_FACTOR = 3.0
# How the factor changes with the fraction of the training groups.
FRACTION_POWER = -1 / 3
POWER = 0.8


@dataclass(frozen=True)
class Inflation:
    """Ratio of the variance over training and test groups to that of the bootstrap.

    Parameters
    ----------
    factor
        Of the variance: one, or one per estimate, [P].
    df
        Degrees of freedom of a standard error from it.
    """

    factor: float | Floats
    df: float

    @classmethod
    def of(cls, halves: Floats, bootstrapped: Floats, n_groups: int, weight: float) -> Inflation:
        """Estimate it from half-samples.

        Parameters
        ----------
        halves
            Scores, or differences, in the halves, [P, J, 2].
        bootstrapped
            Their bootstrapped variances, [P].
        n_groups
            Number of groups.
        weight
            Degrees of freedom per pair of halves: `weight_of_scores` or `weight_of_differences`,
            of the stores that were trained in halves.

        Returns
        -------
        Inflation
            One factor for all estimates that have halves, `FALLBACK_FACTOR` for the others;
            `without_halves` if there is nothing to estimate from.
        """
        squares = np.square(halves[..., 0] - halves[..., 1])
        variances = HALF_SHARE * mean_of_defined(squares, axis=-1)
        usable = np.isfinite(variances) & np.isfinite(bootstrapped)
        total = bootstrapped[usable].sum()
        n_pairs = int(np.isfinite(squares[usable]).any(axis=0).sum())
        if n_pairs == 0 or total <= 0:
            return cls.without_halves(n_groups)
        own = weight * n_pairs
        ratio = variances[usable].sum() / total
        factor = (TYPICAL_DF * TYPICAL_FACTOR + own * ratio) / (TYPICAL_DF + own)
        df = 1 / (1 / (TYPICAL_DF + own) + 1 / max(n_groups - 1, 1))
        return cls(np.where(usable, factor, np.maximum(factor, FALLBACK_FACTOR)), df)

    @classmethod
    def without_halves(cls, n_groups: int) -> Inflation:
        """Return the inflation where nothing was trained in halves."""
        return cls(FALLBACK_FACTOR, max(n_groups - 1, 1))

    @classmethod
    def untrained(cls, n_groups: int) -> Inflation:
        """Return the inflation where nothing is trained: the bootstrap says all."""
        return cls(1.0, max(n_groups - 1, 1))

    def at_fraction(self, share: float | Floats) -> Inflation:
        """Return the inflation at a share of the largest fraction, where it was not measured.

        Fewer training groups vary more. The power is that of the curves simulated in
        benchmarks/coverage_of_verdicts.py.
        """
        return Inflation(self.factor * share**FRACTION_POWER, self.df)

    def errors(self, bootstrapped: Floats) -> Floats:
        """Return standard errors from bootstrapped variances."""
        return np.asarray(np.sqrt(self.factor * bootstrapped))

    def quantile(self, confidence: float) -> float:
        """Return how many standard errors an interval extends to each side."""
        return float(stdtrit(self.df, (1 + confidence) / 2))


def weight_of_scores(n_stores: int) -> float:
    """Return the degrees of freedom per pair of halves of the scores of some stores.

    Scores of one dataset share its groups, so that many stores tell little more than a few.
    """
    return 1 + 0.4 * (min(n_stores, 6) - 1)


def weight_of_differences(n_stores: int) -> float:
    """Return the degrees of freedom per pair of halves of all differences of some stores."""
    return 1.0 if n_stores <= 2 else 0.7 * (n_stores - 1)


def variances(draws: Floats) -> Floats:
    """Return bootstrapped variances.

    Parameters
    ----------
    draws
        [1 + draws, ...]: the value of the original sample, then of each draw; NaN if undefined.

    Returns
    -------
    float64 [...]
        NaN if undefined in the sample or in more than half of the draws.
    """
    defined = np.isfinite(draws[1:])
    centred = draws[1:] - mean_of_defined(draws[1:], axis=0)
    count = defined.sum(axis=0)
    found = np.nansum(np.square(centred), axis=0) / np.maximum(count - 1, 1)
    known = np.isfinite(draws[0]) & (2 * count > len(draws) - 1)
    return np.where(known, found, np.nan)


def interval(
    values: Floats,
    bootstrapped: Floats,
    inflation: Inflation,
    confidence: float,
    lowest: float = -np.inf,
    highest: float = np.inf,
) -> tuple[Floats, Floats]:
    """Return intervals of scores or differences: estimate, plus and minus t standard errors.

    Parameters
    ----------
    values, bootstrapped
        Estimates and their bootstrapped variances, [...].
    inflation
        Of these variances.
    confidence
        Coverage, such as 0.95.
    lowest, highest
        Bounds of the value.
    """
    reach = inflation.quantile(confidence) * inflation.errors(bootstrapped)
    return np.clip(values - reach, lowest, highest), np.clip(values + reach, lowest, highest)


@dataclass(frozen=True)
class Assessed:
    """Tests of one family of differences.

    Parameters
    ----------
    errors
        Standard errors, [P].
    low, high
        Intervals, each at the stated confidence, [P].
    p, p_adjusted
        Of no difference, and corrected for all differences of the family, [P].
    equal
        Whether the difference is shown to be smaller than the margin, [P].
    detectable
        True difference that is shown, after correction, in `POWER` of such studies, [P].
    """

    errors: Floats
    low: Floats
    high: Floats
    p: Floats
    p_adjusted: Floats
    equal: Bools
    detectable: Floats


def assess(
    draws: Floats, inflation: Inflation, confidence: float, margin: float, noise: Floats32
) -> Assessed:
    """Test a family of differences.

    P-values are corrected for the largest of all t statistics (single-step max-t; Westfall and
    Young 1993), whose distribution under no difference has the correlations of the bootstrap, which
    differences that share a store, or groups, have. Equivalence is tested by two one-sided tests
    (Schuirmann 1987, doi:10.1007/BF01068419), each at 1 - confidence.

    Parameters
    ----------
    draws
        Differences, [1 + draws, P]; row 0 is the original sample.
    inflation
        Of their bootstrapped variances.
    confidence
        Coverage of the intervals; 1 - confidence is the level of the tests.
    margin
        Differences below it are of no practical importance.
    noise
        From `draw_noise`.
    """
    bootstrapped = variances(draws)
    errors = inflation.errors(bootstrapped)
    values = draws[0]
    low, high = interval(values, bootstrapped, inflation, confidence)
    known = errors > 1e-12
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(values) / errors
    # Two equal stores have no difference in any draw.
    t = np.where(known, t, np.where(np.isfinite(errors), 0.0, np.nan))
    p = 2 * stdtr(inflation.df, -t)
    largest = _largest(_scaled(draws[1:][:, known], inflation.df, noise))
    adjusted = np.array([(1 + (largest >= each).sum()) / (1 + len(largest)) for each in t])
    adjusted = np.where(np.isfinite(t), np.maximum(adjusted, p), np.nan)
    one_sided = stdtrit(inflation.df, confidence)
    equal = np.abs(values) + one_sided * errors < margin
    reach = max(inflation.quantile(confidence), float(np.quantile(largest, confidence)))
    detectable = (reach + stdtrit(inflation.df, POWER)) * errors
    return Assessed(errors, low, high, p, adjusted, equal & np.isfinite(errors), detectable)


class WithBest(NamedTuple):
    """Comparisons of all stores with the best.

    Parameters
    ----------
    may_be_best
        Whether a store is not shown to be worse than another one, [S].
    at_most_behind
        By how much it is at most worse than the best, 0 or more, [S]; NaN where it is not known.
    """

    may_be_best: Bools
    at_most_behind: Floats


def compare_with_best(
    leads: Floats, errors: Floats, df: float, confidence: float, noise: Floats32
) -> WithBest:
    """Compare all stores with the best.

    Hsu's multiple comparisons with the best (Hsu 1984, doi:10.1214/aos/1176346734), for unequal
    variances as in Edwards and Hsu (1983, doi:10.1080/01621459.1983.10477047), with the
    correlations of the bootstrap. In a share of `confidence` of all studies, everything that it
    says is true at once: for each store left out there is another one that is at least as good
    (which one, is not shown), and no store is further behind the best than its bound.

    Parameters
    ----------
    leads
        Score of store j minus that of store i, [1 + draws, S (i), S (j)]; row 0 is the original
        sample.
    errors, df
        Standard errors of these differences, [S, S], and their degrees of freedom.
    confidence
        As above.
    noise
        From `draw_noise`.
    """
    n_stores = leads.shape[1]
    candidates = np.ones(n_stores, dtype=bool)
    # If store i is the best, no other store j is further behind it than this, [S (i), S (j)].
    behind = np.full((n_stores, n_stores), np.nan)
    for store in range(n_stores):
        others = np.arange(n_stores) != store
        known = others & (errors[store] > 1e-12)
        # Two equal stores have no difference in any draw.
        behind[store, others & (errors[store] <= 1e-12)] = 0
        if known.any():
            of_others = leads[:, store, known]
            scaled = _scaled(of_others[1:], df, noise)
            reach = np.quantile(scaled.max(axis=1), confidence) * errors[store, known]
            candidates[store] = (of_others[0] <= reach).all()
            behind[store, known] = np.maximum(reach - of_others[0], 0)
        behind[store, store] = 0
    # Where stores were tested on different folds, none may be left.
    bounds = behind[candidates].max(axis=0) if candidates.any() else np.full(n_stores, np.nan)
    return WithBest(candidates, bounds)


def simultaneous(draws: Floats, inflation: Inflation, confidence: float, noise: Floats32) -> float:
    """Return how many standard errors make intervals of all scores cover at once.

    An interval of this width covers the score of the store that came out highest, which a single
    interval does not: it was chosen for being high.

    Parameters
    ----------
    draws
        Scores of all stores, [1 + draws, S].
    inflation, confidence, noise
        As in `compare_with_best`.
    """
    known = np.sqrt(variances(draws)) > 1e-12
    if not known.any():
        return inflation.quantile(confidence)
    scaled = _scaled(draws[1:][:, known], inflation.df, noise)
    return float(np.quantile(_largest(scaled), confidence))


def groups_needed(n_groups: int, detectable: Floats, difference: float) -> Floats:
    """Return how many groups show a true difference in `POWER` of studies.

    Variances are inversely proportional to the number of groups.

    Parameters
    ----------
    n_groups
        Groups of this study.
    detectable
        Smallest difference that it shows, [...].
    difference
        The true difference.
    """
    return np.asarray(np.ceil(n_groups * np.square(detectable / difference)))


def draw_noise(n_draws: int, rng: np.random.Generator, size: int = 10_000) -> Floats32:
    """Return random weights of bootstrap draws, standard normal, [size, draws].

    Their products with the draws have the distribution of an estimate's error. The draws themselves
    are too few, and too coarse, for its tails.
    """
    return rng.standard_normal((size, n_draws), dtype=np.float32)


def _scaled(draws: Floats, df: float, noise: Floats32) -> Floats:
    """Return draws of multivariate t with the correlations of bootstrap draws, [size, P]."""
    filled = np.nan_to_num(draws - mean_of_defined(draws, axis=0))
    normal = noise @ (filled / np.linalg.norm(filled, axis=0)).astype(np.float32)
    # The same error enters all statistics of a family. Quantiles of chi-squared, one per row.
    shares = (np.arange(len(noise)) + 0.5) / len(noise)
    spread = chdtri(df, shares) / df
    return np.asarray(normal / np.sqrt(spread)[:, None])


def _largest(scaled: Floats) -> Floats:
    """Return the largest absolute statistic of each draw, [size]."""
    if scaled.shape[1] == 0:
        return np.zeros(len(scaled))
    return np.asarray(np.abs(scaled).max(axis=1))


def letters(differ: Bools, order: Sequence[int]) -> list[str]:
    """Return compact letters: stores that share one are not shown to differ.

    Insert and absorb (Piepho 2004, doi:10.1198/1061860043515).

    Parameters
    ----------
    differ
        Whether two stores are shown to differ, symmetric, [S, S].
    order
        Stores from the best to the worst, so that letters start with the best.
    """
    sets = [set(order)]
    for i, one in enumerate(order):
        for other in order[i + 1 :]:
            if not differ[one, other]:
                continue
            split = [s for s in sets if one in s and other in s]
            sets = [s for s in sets if s not in split]
            for each in split:
                sets += [each - {one}, each - {other}]
            sets = [s for n, s in enumerate(sets) if not _absorbed(s, n, sets)]
    rank = {store: place for place, store in enumerate(order)}
    sets.sort(key=lambda s: sorted(rank[store] for store in s))
    names = [{store: _letter(n) for store in each} for n, each in enumerate(sets)]
    return ["".join(each.get(store, "") for each in names) for store in range(len(order))]


def _absorbed(one: set[int], place: int, sets: list[set[int]]) -> bool:
    """Return whether a set is in another one, or in an equal one before it."""
    return any(one < other or (one == other and n < place) for n, other in enumerate(sets))


def _letter(number: int) -> str:
    high, low = divmod(number, 26)
    return chr(ord("a") + low) + (str(high) if high else "")
