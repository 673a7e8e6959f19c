"""Scores of repeated trainings: their means, and how far these may be from the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import fdtrc, stdtrit

from transferscope.runtime.arrays import Floats

# A family of curves or surfaces is refuted by the repeats at this level.
REFUTED = 0.1
UNKNOWN = float("nan")


@dataclass(frozen=True)
class Repeats:
    """Mean scores at each size.

    Parameters
    ----------
    sizes
        Rising, [m]; or of cells, the size of the model and of the data, [2, m].
    means, counts
        Mean score and number of repeats at each size, [m].
    deviation
        Pooled standard deviation of a single repeat; NaN where no size has two.
    freedom
        Its degrees of freedom.
    """

    sizes: Floats
    means: Floats
    counts: Floats
    deviation: float
    freedom: int

    @classmethod
    def of(cls, sizes: Sequence[float] | Floats, scores: Sequence[float] | Floats) -> Repeats:
        """Group scores by their size.

        Parameters
        ----------
        sizes
            One value per training, [n], or two, [2, n].
        scores
            One value per training, [n].
        """
        places, index = np.unique(np.asarray(sizes, dtype=float), axis=-1, return_inverse=True)
        index, values = index.ravel(), np.asarray(scores, dtype=float)
        counts = np.bincount(index).astype(float)
        means = np.bincount(index, values) / counts
        freedom = int(counts.sum() - len(counts))
        squares = float(((values - means[index]) ** 2).sum())
        deviation = float(np.sqrt(squares / freedom)) if freedom else UNKNOWN
        return cls(places, means, counts, deviation, freedom)

    def pooled(self, others: Sequence[Repeats]) -> Repeats:
        """Return the same with the deviation of all of several curves, this one among them."""
        freedom = sum(each.freedom for each in others)
        known = [each for each in others if each.freedom]
        squares = sum(each.freedom * each.deviation**2 for each in known)
        deviation = float(np.sqrt(squares / freedom)) if freedom else UNKNOWN
        return replace(self, deviation=deviation, freedom=freedom)

    def rise(self, confidence: float) -> tuple[float, float, float]:
        """Return how much higher the largest size scores than the smallest, with its bounds."""
        found = float(self.means[-1] - self.means[0])
        if not self.freedom:
            return found, UNKNOWN, UNKNOWN
        error = self.deviation * float(np.sqrt(1 / self.counts[0] + 1 / self.counts[-1]))
        reach = float(stdtrit(self.freedom, (1 + confidence) / 2)) * error
        return found, found - reach, found + reach

    @property
    def span(self) -> float:
        """The largest size in multiples of the smallest."""
        return float(self.sizes[-1] / self.sizes[0])

    def noise(self, rng: np.random.Generator, draws: int) -> Floats:
        """Draw deviations of the means from the truth, [draws, m]; zeros without repeats."""
        drawn = rng.standard_t(max(self.freedom, 1), size=(draws, len(self.means)))
        scaled: Floats = drawn * (self.deviation if self.freedom else 0.0) / np.sqrt(self.counts)
        return scaled

    def lack_of_fit(self, n_parameters: int, squares: float) -> tuple[float, float]:
        """Return how much further the means are from a fit than the repeats tell, and its level.

        Parameters
        ----------
        n_parameters
            Of the fit.
        squares
            Its residual sum of squares; infinite: nothing fits.

        Returns
        -------
        factor, level
            By which the deviation is raised, at least 1: the root of the F ratio of the lack of
            fit; and the probability of such a ratio or a larger one.
        """
        left = len(self.means) - n_parameters
        if not np.isfinite(squares):
            return 1.0, 0.0
        if self.freedom == 0 or self.deviation == 0 or left <= 0:
            return 1.0, 1.0
        n_each = len(self.counts) / (1 / self.counts).sum()
        ratio = float(n_each * squares / left / self.deviation**2)
        return float(np.sqrt(max(1.0, ratio))), float(fdtrc(left, self.freedom, ratio))

    def bounds(self, drawn: Floats, confidence: float) -> tuple[Floats, Floats]:
        """Return the interval of draws [d, p] at each of p places; NaN without draws or repeats."""
        if not self.freedom or not len(drawn):
            unknown = np.full(drawn.shape[1], UNKNOWN)
            return unknown, unknown
        tail = (1 - confidence) / 2
        low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
        return low, high


def least_squares(design: Floats, solve: Floats, means: Floats) -> tuple[Floats, Floats]:
    """Fit draws of the means by each of several designs.

    Parameters
    ----------
    design, solve
        Designs [k, m, c] and their pseudo-inverses [k, c, m].
    means
        The draws, [d, m].

    Returns
    -------
    coefficients, residuals
        [d, k, c] and [d, k, m].
    """
    coefficients = np.einsum("kcm,dm->dkc", solve, means)
    return coefficients, means[:, None] - np.einsum("kmc,dkc->dkm", design, coefficients)
