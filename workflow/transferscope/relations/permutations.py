"""The null of recall: what known pairs are worth if the entities' names are permuted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from transferscope.relations.cosines import pair_steps
from transferscope.relations.pairs import KnownPairs
from transferscope.relations.percentiles import Measure
from transferscope.runtime.arrays import Floats
from transferscope.runtime.seeds import derive_rng


@dataclass(frozen=True)
class Null:
    """Values of measures under permutation.

    Parameters
    ----------
    values
        float64 [permutations, M].
    """

    values: Floats

    def p(self, observed: Floats) -> Floats:
        """Return the share of permutations that reach the observed values, itself included."""
        reached = (self.values >= observed - 1e-12).sum(axis=0)
        return np.asarray((1 + reached) / (1 + len(self.values)))

    def band(self, level: float) -> tuple[Floats, Floats]:
        """Return the band that holds a share of the permutations, of each measure."""
        tail = (1 - level) / 2
        low, high = np.quantile(self.values, [tail, 1 - tail], axis=0)
        return low, high


def permuted(
    units: Floats, pairs: KnownPairs, wanted: Sequence[Measure], permutations: int, seed: int
) -> Null:
    """Return the null of some measures: the shape of the network of known pairs is kept.

    The same permutations serve every store of as many entities.
    """
    rng = derive_rng("permutations", seed, len(units))
    values = np.empty((permutations, len(wanted)))
    for row in range(permutations):
        names = rng.permutation(len(units))
        steps = pair_steps(units, names[pairs.first], names[pairs.second])
        values[row] = [measure.by_step[steps].mean() for measure in wanted]
    return Null(values)
