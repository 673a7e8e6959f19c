"""How many labels are enough: from which fraction on a store is shown to be near its full score."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from transferscope.compare.uncertainty import Inflation, variances
from transferscope.runtime.arrays import Floats

# Share of the full score that is enough.
SATURATED = 0.95


def enough_from(
    draws: Mapping[float, Floats],
    halves: Mapping[float, Floats],
    n_groups: int,
    confidence: float,
) -> float:
    """Return the smallest fraction at and above which `SATURATED` of the full score is shown.

    Fractions are tested from the largest down to the first that is not shown (one-sided), which
    needs no correction: a fraction is only tested where all above it are enough.

    Parameters
    ----------
    draws
        Score of a store at each fraction, [1 + draws].
    halves
        The same in halves of the groups, [J, 2]; NaN where it was not trained in halves.
    n_groups
        Number of groups.
    confidence
        1 - confidence is the level of the tests.

    Returns
    -------
    float
        NaN if only the full fraction is enough.
    """
    full = max(draws)
    smaller = sorted((fraction for fraction in draws if fraction != full), reverse=True)
    if not smaller or not draws[full][0] > 0:
        return float("nan")
    excess = np.stack([draws[f] - SATURATED * draws[full] for f in smaller], axis=1)
    in_halves = np.stack([halves[f] - SATURATED * halves[full] for f in smaller])
    bootstrapped = variances(excess)
    inflation = Inflation.of(in_halves, bootstrapped, n_groups, weight=1.0)
    if not np.isfinite(in_halves).any():
        inflation = inflation.at_fraction(np.array(smaller) / full)
    low = excess[0] - inflation.quantile(2 * confidence - 1) * inflation.errors(bootstrapped)
    shown = [f for f, is_enough in zip(smaller, np.cumprod(low > 0), strict=True) if is_enough]
    return min(shown, default=float("nan"))
