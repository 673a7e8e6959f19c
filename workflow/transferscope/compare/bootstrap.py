"""Cluster bootstrap: groups are drawn with replacement, with all of their tiles.

Tiles of one protein, well or patient are similar, so drawing single tiles would give much too
narrow intervals. A draw is a vector of weights, one per group. A metric that depends only on counts
needs one matrix product for all draws: weights [draws, groups] times counts [groups, features].
"""

from __future__ import annotations

import numpy as np

from transferscope.probes.metrics import mean_of_defined
from transferscope.runtime.arrays import Floats, Floats32
from transferscope.runtime.seeds import derive_rng


def draw_weights(n_groups: int, draws: int, *names: object) -> Floats32:
    """Draw the number of times that each group is in each bootstrap sample.

    Parameters
    ----------
    n_groups
        Number of groups, all equally likely.
    draws
        Number of bootstrap samples.
    names
        Names from which the seed derives: the seed in the config, the dataset, ...

    Returns
    -------
    float32 [1 + draws, n_groups]
        Row 0 is all ones, the original sample; each further row sums to `n_groups`.
    """
    rng = derive_rng("bootstrap", *names)
    drawn = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=draws)
    return np.concatenate([np.ones((1, n_groups)), drawn]).astype(np.float32)


def interval(
    draws: Floats, confidence: float, lowest: float = -np.inf, highest: float = np.inf
) -> tuple[Floats, Floats]:
    """Return the percentile interval of bootstrapped values, corrected for the bootstrap's bias.

    A draw omits a third of the groups, and a rare class may vanish from a fold while its false
    positives remain, so that macro F1 averaged over folds is lower in the draws than in the sample.
    Plain percentiles have this bias and cover the true value in 80 % of cases instead of 95 %. Here
    the draws are shifted so that their mean is the sample's value, which restores 92 to 97 %
    (measured in tests/compare/test_bootstrap.py).

    Parameters
    ----------
    draws
        [1 + draws, ...]: the value of the original sample, then of each draw; NaN if undefined.
    confidence
        Coverage, such as 0.95.
    lowest, highest
        Bounds of the value.

    Returns
    -------
    low, high
        [...]; NaN if the value is undefined in the sample or in more than half of the draws.
    """
    point = draws[0].reshape(-1)
    flat = draws[1:].reshape(len(draws) - 1, -1)
    levels = [(1 - confidence) / 2, (1 + confidence) / 2]
    bounds = np.full((2, flat.shape[1]), np.nan)
    undefined = np.isnan(flat).sum(axis=0)
    whole = undefined == 0
    bounds[:, whole] = np.quantile(flat[:, whole], levels, axis=0)
    for column in np.flatnonzero((undefined > 0) & (2 * undefined <= len(flat))):
        bounds[:, column] = np.quantile(flat[~np.isnan(flat[:, column]), column], levels)
    moved = np.clip(bounds + point - mean_of_defined(flat, axis=0), lowest, highest)
    low, high = moved.reshape(2, *draws.shape[1:])
    return low, high
