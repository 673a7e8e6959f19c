"""Cluster bootstrap: groups are drawn with replacement, with all of their tiles.

Tiles of one protein, well or patient are similar, so drawing single tiles would give much too
narrow intervals. A draw is a vector of weights, one per group. A metric that depends only on counts
needs one matrix product for all draws: weights [draws, groups] times counts [groups, features].
"""

from __future__ import annotations

import numpy as np

from transferscope.runtime.arrays import Floats32
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
