"""A joint surface of score over the size of model and data, from nine cells on.

A constant, a plane over both logarithms, and, as in scaling laws of language models (Hoffmann et
al. 2022), c - A / N^a - B / D^b with A, B >= 0 and c at most the largest possible score are fitted
by least squares to the means of all cells. What the repeats refute is out; of the others, the one
with the least error for a size of model or data that is left out as a whole is chosen.

Gains by twice the model, or twice the data, are bounded as those of curves are: over all surfaces
that are left, each with draws of the means, and going on as between the last two sizes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transferscope.compare.curve_fits import CONSTANT, TWICE
from transferscope.compare.repeats import REFUTED, Repeats, least_squares
from transferscope.runtime.arrays import Bools, Floats, Integers

LOG_PLANE, POWERS, NO_SURFACE = "log-plane", "power laws", "none"
PARAMETERS = {CONSTANT: 1, LOG_PLANE: 3, POWERS: 5}
# Sizes of model, and of data.
LEAST_SIZES = 3
# Exponents that are tried, below 3.
EXPONENTS = np.geomspace(0.05, 2.95, 20)
# Around the best of them, finer ones are tried for the means themselves.
STEP, N_AROUND = float(EXPONENTS[1] / EXPONENTS[0]), 15
# Draws that are fitted together, which bounds the memory.
DRAWS_AT_ONCE = 100


@dataclass(frozen=True)
class Surface:
    """What describes the cells, and what larger models and more data would add.

    Parameters
    ----------
    family
        Which was chosen; `none`: the repeats refute all.
    exponents
        Of model and data, of the power laws; None: another family.
    gain_of_model, gain_of_data
        By twice the largest model at the largest data, and the reverse, with bounds; None: not
        predicted.
    errors
        Family -> root of the mean squared error for sizes that are left out.
    """

    family: str
    exponents: tuple[float, float] | None
    gain_of_model: tuple[float, float, float] | None
    gain_of_data: tuple[float, float, float] | None
    errors: dict[str, float]


class _Family:
    """Surfaces that are linear in their coefficients: one, or one per pair of exponents.

    Parameters
    ----------
    name
        Of the family.
    cells
        What is fitted.
    top
        Largest possible score.
    models, data
        Exponents of the power laws.
    """

    def __init__(
        self,
        name: str,
        cells: Repeats,
        top: float,
        models: Floats = EXPONENTS,
        data: Floats = EXPONENTS,
    ) -> None:
        self.name, self.top, self.cells = name, top, cells
        self.exponents = models, data
        self.design = self._design(cells.sizes)  # [k, m, c]
        self.solve = np.asarray(np.linalg.pinv(self.design), dtype=np.float64)  # [k, c, m]
        largest = cells.sizes.max(axis=1)
        asked = [largest, largest * [TWICE, 1], largest * [1, TWICE]]
        self.at_asked = self._design(np.array(asked).T)  # [k, 3, c]

    def _design(self, x: Floats) -> Floats:
        models, data = x / self.cells.sizes.min(axis=1, keepdims=True)
        one = np.ones_like(models)
        if self.name == CONSTANT:
            constant: Floats = one[None, :, None]
            return constant
        if self.name == LOG_PLANE:
            return np.stack([one, np.log(models), np.log(data)], axis=-1)[None]
        pairs = [self.pair(k) for k in range(self.exponents[0].size * self.exponents[1].size)]
        return np.stack([np.stack([one, -(models**-a), -(data**-b)], -1) for a, b in pairs])

    def pair(self, number: int) -> tuple[float, float]:
        """Return a pair of exponents."""
        first, second = divmod(number, self.exponents[1].size)
        return float(self.exponents[0][first]), float(self.exponents[1][second])

    def refined(self) -> _Family:
        """Return the surfaces whose exponents are around those that fit the means best."""
        if self.name != POWERS:
            return self
        squares, _, chosen = self.fit(self.cells.means[None])
        if not np.isfinite(squares[0]):
            return self
        around = np.geomspace(1 / STEP, STEP, N_AROUND)
        near = (np.clip(each * around, *EXPONENTS[[0, -1]]) for each in self.pair(int(chosen[0])))
        return _Family(self.name, self.cells, self.top, *near)

    def fit(self, means: Floats, left_out: Bools | None = None) -> tuple[Floats, Floats, Integers]:
        """Fit draws of the means, [d, m].

        Parameters
        ----------
        means
            The draws.
        left_out
            Cells that are not fitted, [m]; None: all are.

        Returns
        -------
        squares, coefficients, chosen
            Residual sum of squares [d], coefficients [d, c], and which exponents were chosen [d].
        """
        design, solve = self.design, self.solve
        if left_out is not None:
            design, means = self.design[:, ~left_out], means[:, ~left_out]
            solve = np.asarray(np.linalg.pinv(design), dtype=np.float64)
        if len(means) > DRAWS_AT_ONCE:
            parts = np.array_split(means, -(-len(means) // DRAWS_AT_ONCE))
            fits = [self.fit(part) for part in parts]
            return (
                np.concatenate([squares for squares, _, _ in fits]),
                np.concatenate([own for _, own, _ in fits]),
                np.concatenate([best for _, _, best in fits]),
            )
        coefficients, residuals = least_squares(design, solve, means)
        squares = (residuals**2).sum(axis=-1)
        if self.name == POWERS:
            squares = np.where(self._allowed(coefficients), squares, np.inf)
        chosen, rows = squares.argmin(axis=1), np.arange(len(means))
        return squares[rows, chosen], coefficients[rows, chosen], chosen

    def gains(self, coefficients: Floats, chosen: Integers) -> Floats:
        """Return what twice the model, and twice the data, add [d, 2]."""
        at = np.einsum("dpc,dc->dp", self.at_asked[chosen], coefficients)
        found: Floats = at[:, 1:] - at[:, :1]
        return found

    def left_out_error(self, means: Floats) -> float:
        """Return the mean squared error for each size of model, and of data, that is left out."""
        errors = []
        for sizes in self.cells.sizes:
            for size in np.unique(sizes):
                out = sizes == size
                squares, own, chosen = self.fit(means[None], out)
                if not np.isfinite(squares[0]):
                    return float("inf")
                predicted = self.design[chosen[0]][out] @ own[0]
                errors.append(float(((means[out] - predicted) ** 2).mean()))
        return float(np.mean(errors))

    def _allowed(self, coefficients: Floats) -> Bools:
        rises = (coefficients[..., 1:] >= 0).all(axis=-1)
        found: Bools = rises & (coefficients[..., 0] <= self.top)
        return found


def fit_surface(
    cells: Repeats,
    rng: np.random.Generator,
    *,
    draws: int = 1000,
    confidence: float = 0.95,
    top: float = 1.0,
) -> Surface:
    """Fit the surfaces, choose one, and bound what more would add.

    Parameters
    ----------
    cells
        Of at least `LEAST_SIZES` sizes of model and of data.
    rng
        Of the bootstrap.
    draws, confidence
        Number of draws, and coverage.
    top
        Largest possible score.
    """
    families = [_Family(name, cells, top) for name in PARAMETERS]
    errors = {each.name: each.left_out_error(cells.means) for each in families}
    roots = {name: float(np.sqrt(error)) for name, error in errors.items()}
    refined = {each.name: each.refined() for each in families}
    fits = {name: each.fit(cells.means[None]) for name, each in refined.items()}
    ratios = {
        name: cells.lack_of_fit(PARAMETERS[name], float(fit[0][0])) for name, fit in fits.items()
    }
    left = [each for each in families if ratios[each.name][1] >= REFUTED]
    if not left:
        return Surface(NO_SURFACE, None, None, None, roots)
    best = min(left, key=lambda each: errors[each.name])
    noise = cells.noise(rng, draws)
    _, own, chosen = fits[best.name]
    gain = refined[best.name].gains(own, chosen)[0]
    drawn = [_steps(cells, cells.means + noise)]
    for each in left:
        squares, own, chosen = each.fit(cells.means + ratios[each.name][0] * noise)
        drawn.append(each.gains(own, chosen)[np.isfinite(squares)])
    bounds = [cells.bounds(each, confidence) for each in drawn if len(each)]
    low, high = (np.array(ends) for ends in zip(*bounds, strict=True))
    ends = np.minimum(low.min(axis=0), gain), np.maximum(high.max(axis=0), gain)
    gains = [(float(gain[i]), float(ends[0][i]), float(ends[1][i])) for i in (0, 1)]
    pair = refined[best.name].pair(int(fits[best.name][2][0])) if best.name == POWERS else None
    return Surface(best.name, pair, gains[0], gains[1], roots)


def _steps(cells: Repeats, means: Floats) -> Floats:
    """Return what twice the model, and twice the data, add, going on as between the last two sizes.

    Surfaces whose size of model and of data act on one another are none of those that are fitted.

    Parameters
    ----------
    cells
        The cells.
    means
        Draws of their means, [d, m].

    Returns
    -------
    array
        [d, 2].
    """
    found = []
    for own, other in (cells.sizes, cells.sizes[::-1]):
        edge = np.flatnonzero(other == other.max())
        before, last = edge[np.argsort(own[edge])][-2:]
        share = np.log(TWICE) / np.log(own[last] / own[before])
        found.append(share * (means[:, last] - means[:, before]))
    return np.stack(found, axis=-1)
