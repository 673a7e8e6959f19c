"""Curves of a score over a size, such as images or weights: families, choice, bands.

Four families are fitted by least squares to the mean scores at each size: a constant, log-linear
growth, a line, and a power law with an offset, c - a x^-b with a > 0, 0 < b < 3 and c at most the
largest possible score. Families that the spread of the repeats refutes are out; of the others, the
one with the least leave-one-size-out error is chosen. Where all are out, or where there are two
sizes only, none is drawn: the means are joined, and nothing is predicted.

Bands are by a parametric bootstrap: the mean at each size is drawn from a t distribution with the
pooled deviation and the pooled degrees of freedom of the repeats, and fit and choice are repeated.
Resampling three repeats instead covers the truth in four fifths of the cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from transferscope.compare.repeats import REFUTED, Repeats, least_squares
from transferscope.runtime.arrays import Floats

CONSTANT, LOG_LINEAR, LINE, POWER, JOINED = "constant", "log-linear", "line", "power law", "none"
# Sizes that each family needs, so that leaving one out still determines it.
LEAST_SIZES = {CONSTANT: 2, LOG_LINEAR: 3, LINE: 3, POWER: 5}
PARAMETERS = {CONSTANT: 1, LOG_LINEAR: 2, LINE: 2, POWER: 3}
# Exponents that are tried, below 3, each 7 % above the one before.
EXPONENTS = np.geomspace(0.05, 2.95, 64)
# Of the weight of a size in its own fitted value, what is left.
LEAST_REST = 1e-9
# An asymptote is told from this many sizes on, and over this span.
ASYMPTOTE_SIZES, ASYMPTOTE_SPAN = 5, 30.0
# No curve goes further beyond the largest size than this factor.
FURTHEST = 4.0
# What is predicted: the gain by twice the largest size.
TWICE = 2.0


@dataclass(frozen=True)
class Curve:
    """A fitted curve and its band.

    Parameters
    ----------
    family
        Which family was chosen; `none`: the means are joined.
    places
        Sizes at which the curve is given, [p].
    values, low, high
        The curve and its pointwise interval, [p]; NaN bounds without repeats.
    gain
        What twice the largest size adds, and its bounds; None: not predicted.
    asymptote
        Limit of the power law, and its bounds; None: another family, or too few sizes for it.
    errors
        Family -> root of the mean squared leave-one-size-out error.
    """

    family: str
    places: Floats
    values: Floats
    low: Floats
    high: Floats
    gain: tuple[float, float, float] | None
    asymptote: tuple[float, float, float] | None
    errors: dict[str, float]


class _Family:
    """All curves of a family that are linear in their coefficients: one, or one per exponent.

    Parameters
    ----------
    name
        Of the family.
    sizes, places
        Where scores are known, [m], and where the curve is asked for, [p].
    top
        Largest possible score.
    """

    def __init__(self, name: str, sizes: Floats, places: Floats, top: float) -> None:
        self.name, self.top = name, top
        self.design = self._design(sizes, sizes)  # [k, m, c]
        self.at_places = self._design(places, sizes)  # [k, p, c]
        self.solve = np.asarray(np.linalg.pinv(self.design), dtype=np.float64)  # [k, c, m]
        hat = np.einsum("kmc,kcn->kmn", self.design, self.solve)
        rest = 1 - np.einsum("kmm->km", hat)  # [k, m]
        # Without such a size, the curve is not determined.
        self.needed = rest < LEAST_REST
        self.rest = np.where(self.needed, 1.0, rest)

    def _design(self, x: Floats, sizes: Floats) -> Floats:
        one = np.ones_like(x)
        if self.name == CONSTANT:
            return np.stack([one], axis=-1)[None]
        if self.name == LOG_LINEAR:
            return np.stack([one, np.log(x / sizes[0])], axis=-1)[None]
        if self.name == LINE:
            return np.stack([one, x / sizes[-1]], axis=-1)[None]
        powers = -((x[None] / sizes[0]) ** -EXPONENTS[:, None])
        return np.stack([np.broadcast_to(one, powers.shape), powers], axis=-1)

    def fit(
        self, means: Floats, *, leave_out: bool = True
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """Fit draws of the means, [d, m].

        Parameters
        ----------
        means
            The draws.
        leave_out
            Whether leave-one-out errors are wanted; else they are zero.

        Returns
        -------
        values, errors, residuals, limits
            The curve at the places [d, p], leave-one-out squared error [d], residual sum of
            squares [d], and the first coefficient [d], which is the limit of a power law.
        """
        coefficients, residuals = least_squares(self.design, self.solve, means)
        squares = (residuals**2).sum(axis=-1)
        left_out = residuals / self.rest
        if self.name != POWER:
            values = np.einsum("pc,dc->dp", self.at_places[0], coefficients[:, 0])
            error = (left_out[:, 0] ** 2).mean(axis=-1) + (np.inf if self.needed.any() else 0.0)
            return values, error, squares[:, 0], coefficients[:, 0, 0]
        error = self._power_errors(coefficients, residuals) if leave_out else squares[:, 0] * 0
        squares = np.where(self._allowed(coefficients), squares, np.inf)
        chosen = squares.argmin(axis=1)
        rows = np.arange(len(means))
        own = coefficients[rows, chosen]
        values = np.einsum("dpc,dc->dp", self.at_places[chosen], own)
        least = squares[rows, chosen]
        return values, np.where(np.isfinite(least), error, np.inf), least, own[:, 0]

    def _power_errors(self, coefficients: Floats, residuals: Floats) -> Floats:
        """Return leave-one-out errors [d]: without each size, another exponent may be the best."""
        left_out = residuals / self.rest
        squares = (residuals**2).sum(axis=-1)
        # Without one size, by the identity for leaving out an observation.
        without = squares[..., None] - residuals * left_out
        shifted = coefficients[:, :, None] - np.einsum("kcm,dkm->dkmc", self.solve, left_out)
        allowed = self._allowed(shifted) & ~self.needed
        without = np.where(allowed, without, np.inf)
        best = without.argmin(axis=1)
        error = (np.take_along_axis(left_out, best[:, None], axis=1)[:, 0] ** 2).mean(axis=-1)
        known = np.isfinite(without.min(axis=1)).all(axis=-1)
        found: Floats = np.where(known, error, np.inf)
        return found

    def _allowed(self, coefficients: Floats) -> npt.NDArray[np.bool_]:
        """Return which curves rise, to a limit that a score can have."""
        allowed: npt.NDArray[np.bool_] = coefficients[..., 1] > 0
        return allowed & (coefficients[..., 0] <= self.top)


def fit_curve(
    repeats: Repeats,
    rng: np.random.Generator,
    *,
    draws: int = 1000,
    confidence: float = 0.95,
    top: float = 1.0,
    n_places: int = 41,
) -> Curve:
    """Fit the families, choose one, and bound it.

    Parameters
    ----------
    repeats
        Scores at two sizes or more.
    rng
        Of the bootstrap.
    draws, confidence
        Number of draws, and coverage of the band.
    top
        Largest possible score.
    n_places
        Places of the curve between the smallest and the largest size; the sizes are added.
    """
    sizes = repeats.sizes
    reach = min(FURTHEST, TWICE) * sizes[-1]
    between = np.geomspace(sizes[0], sizes[-1], n_places)
    places = np.unique(np.concatenate([between, sizes]))
    asked = np.append(places, reach)
    families = [
        _Family(name, sizes, asked, top)
        for name, least in LEAST_SIZES.items()
        if len(sizes) >= least and len(sizes) > 2
    ]
    noise = repeats.noise(rng, draws)
    errors = _chosen(families, repeats.means[None]).errors
    families = [family for family in families if _lack_of_fit(repeats, family)[1] >= REFUTED]
    if not families:
        low, high = repeats.bounds(repeats.means + noise, confidence)
        return Curve(JOINED, sizes, repeats.means, low, high, None, None, errors)
    observed = _chosen(families, repeats.means[None])
    ratio, _ = repeats.lack_of_fit(PARAMETERS[observed.family], float(observed.squares[0]))
    found = _chosen(families, repeats.means + ratio * noise)
    low, high = repeats.bounds(found.values[:, :-1], confidence)
    values = observed.values[0, :-1]
    asymptote = None
    is_power = observed.family == POWER
    if is_power and len(sizes) >= ASYMPTOTE_SIZES and repeats.span >= ASYMPTOTE_SPAN:
        limits = found.limits[np.isfinite(found.limits)]
        asymptote = _three(observed.limits[0], limits, confidence, repeats)
    return Curve(
        observed.family,
        places,
        values,
        np.minimum(low, values),
        np.maximum(high, values),
        _gain(families, repeats, observed, noise, confidence),
        asymptote,
        errors,
    )


def _gain(
    families: Sequence[_Family],
    repeats: Repeats,
    observed: _Choice,
    noise: Floats,
    confidence: float,
) -> tuple[float, float, float]:
    """Return the gain by twice the largest size, bounded by all curves that are not refuted.

    Families that agree where there are scores may differ beyond them; and so may a curve of none
    of them, which is why going on as between the last two sizes is one of the curves.
    """
    last = -2  # of the places, which are rising; the last one is beyond the largest size
    gain = float(observed.values[0, -1] - observed.values[0, last])
    lows, highs = [gain], [gain]
    for family in families:
        ratio, _ = _lack_of_fit(repeats, family)
        values, _, squares, _ = family.fit(repeats.means + ratio * noise, leave_out=False)
        drawn = (values[:, -1] - values[:, last])[np.isfinite(squares)]
        _, low, high = _three(gain, drawn, confidence, repeats)
        lows, highs = [*lows, low], [*highs, high]
    drawn = repeats.means + noise
    share = np.log(TWICE) / np.log(repeats.sizes[-1] / repeats.sizes[-2])
    _, low, high = _three(gain, share * (drawn[:, -1] - drawn[:, -2]), confidence, repeats)
    lows, highs = [*lows, low], [*highs, high]
    unknown = not repeats.freedom
    bounds = (float("nan"),) * 2 if unknown else (float(np.nanmin(lows)), float(np.nanmax(highs)))
    return gain, *bounds


@dataclass(frozen=True)
class _Choice:
    """The curves of the families that were chosen, of each draw."""

    family: str
    values: Floats
    squares: Floats
    limits: Floats
    errors: dict[str, float]


def _chosen(families: Sequence[_Family], means: Floats) -> _Choice:
    """Fit draws of the means [d, m], and choose a family for each."""
    if not families:
        nothing = np.empty((len(means), 0))
        return _Choice(JOINED, nothing, nothing, nothing, {})
    fits = [family.fit(means) for family in families]
    errors = np.stack([error for _, error, _, _ in fits])
    best = errors.argmin(axis=0)
    rows = np.arange(len(means))
    values = np.stack([values for values, *_ in fits])[best, rows]
    squares = np.stack([squares for *_, squares, _ in fits])[best, rows]
    limits = np.stack([limits for *_, limits in fits])[best, rows]
    is_power = np.array([family.name == POWER for family in families])[best]
    named = {f.name: float(np.sqrt(e[0])) for f, e in zip(families, errors, strict=True)}
    first = families[int(best[0])].name
    return _Choice(first, values, squares, np.where(is_power, limits, np.nan), named)


def _lack_of_fit(repeats: Repeats, family: _Family) -> tuple[float, float]:
    """Return by how much the deviation is raised for a family, and the level of its lack of fit."""
    _, _, squares, _ = family.fit(repeats.means[None], leave_out=False)
    return repeats.lack_of_fit(PARAMETERS[family.name], float(squares[0]))


def _three(
    value: float, drawn: Floats, confidence: float, repeats: Repeats
) -> tuple[float, float, float]:
    """Return a value with its bounds."""
    low, high = repeats.bounds(drawn[:, None], confidence)
    # As minima and maxima, which keep what is not known.
    return float(value), float(np.minimum(low[0], value)), float(np.maximum(high[0], value))
