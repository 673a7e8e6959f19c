"""Variance over groups, and interval, of the robustness index."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit, stdtrit

from transferscope.runtime.arrays import Floats, Integers

# Of what two groups have in common: the share that is taken off where strata are large, and the
# mean size of strata up to which nothing is. Of the variance: the share that is always kept.
COUNTED_TWICE, SMALL_STRATUM, LEAST_KEPT = 0.5, 4.0, 0.75


def variance(replicates: Floats, strata: Integers, common: Floats) -> float:
    """Return the variance of the index over groups.

    Parameters
    ----------
    replicates
        From `robustness.without_each_group`, [G]; or differences of two stores.
    strata
        From `robustness.strata_of`, [G]: groups are drawn within them; those of one group count
        as one.
    common
        From `robustness.common_to_two`; none for differences.
    """
    sizes = np.bincount(strata)
    strata = np.where(sizes[strata] > 1, strata, len(sizes))
    _, strata, sizes = np.unique(strata, return_inverse=True, return_counts=True)
    means = np.bincount(strata, replicates) / sizes
    squares = np.bincount(strata, np.square(replicates - means[strata]))
    whole = float((squares * (sizes - 1) / sizes).sum())
    share = COUNTED_TWICE * max(1 - SMALL_STRATUM / sizes.mean(), 0.0)
    twice = float(np.square(common).sum())
    return float(max(whole - share * twice, LEAST_KEPT * whole))


def interval(
    value: float, error: float, n_groups: int, n_strata: int, confidence: float
) -> tuple[float, float]:
    """Return the interval of an index, symmetric in its log odds.

    NaN where nothing varies, as where all neighbours are of one kind.

    Parameters
    ----------
    value, error
        The index and its standard error.
    n_groups, n_strata
        Numbers of groups and of their classes.
    confidence
        Coverage.
    """
    if not (error > 0 and 0 < value < 1):
        return float("nan"), float("nan")
    reach = float(stdtrit(max(n_groups - n_strata, 1), (1 + confidence) / 2)) * error
    centre, reach = float(logit(value)), reach / (value * (1 - value))
    return float(expit(centre - reach)), float(expit(centre + reach))
