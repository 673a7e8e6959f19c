"""What a known pair at a step is worth: as a hit at a threshold, and as a rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from transferscope.relations.cosines import CosineCounts
from transferscope.relations.table_names import AUROC, RIGHT, TWO_SIDED
from transferscope.runtime.arrays import Floats


@dataclass(frozen=True)
class Measure:
    """A measure that is the mean over known pairs of a value that depends on the step.

    Parameters
    ----------
    name
        `TWO_SIDED`, `RIGHT` or `AUROC`.
    threshold
        Share of all pairs at an end; NaN for AUROC.
    chance
        Its expected value for random pairs.
    by_step
        Value of a pair in each step, float64 [STEPS].
    """

    name: str
    threshold: float
    chance: float
    by_step: Floats


def measures(
    pairs: CosineCounts, known: CosineCounts, thresholds: Sequence[float]
) -> list[Measure]:
    """Return all measures of a source, given the cosines of all pairs and of the known ones.

    A pair is a hit if its cosine is among the given share of all pairs at the upper end, or also at
    the lower end if two-sided. Where a threshold falls into a block of tied pairs, each of them
    counts with the share of the block beyond it. AUROC compares known pairs with all others; a tie
    counts half.
    """
    total = max(pairs.n_pairs, 1)
    above = np.cumsum(pairs.counts) / total
    below = above - pairs.counts / total
    found = []
    for threshold in thresholds:
        upper = _beyond(1 - above, 1 - below, threshold)
        lower = _beyond(below, above, threshold)
        found.append(Measure(TWO_SIDED, threshold, 2 * threshold, upper + lower))
        found.append(Measure(RIGHT, threshold, threshold, upper))
    others = pairs.counts - known.counts
    rank = (np.cumsum(others) - others / 2) / max(int(others.sum()), 1)
    return [*found, Measure(AUROC, float("nan"), 0.5, rank)]


def _beyond(near: Floats, far: Floats, threshold: float) -> Floats:
    """Return the share of the blocks from `near` to `far`, counted from an end, within it."""
    width = far - near
    inside = np.minimum(far, threshold) - near
    return np.clip(np.divide(inside, width, out=np.zeros_like(width), where=width > 0), 0, 1)
