"""Centre and scale on the negative controls of each batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transferscope.correction.rows import Rows
from transferscope.correction.variances import (
    ROUNDING,
    batch_shares,
    moderated_batches,
    moderated_features,
)
from transferscope.runtime.arrays import Bools, Floats

# Share of the controls above which one value that they have in common leaves a feature no scale.
MOST_EQUAL = 0.5
# Relative difference of values that differ by rounding alone.
EQUAL = 1e-7
TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class Standardised:
    """Standardised rows, and what was done.

    Parameters
    ----------
    values
        [N, D].
    trust
        Mean share of a batch's own mean in its centre: 0 where batches do not differ.
    prior
        Prior degrees of freedom of the batches' variances; infinite if they do not differ.
    n_unscaled
        Number of features of which most controls have one value.
    """

    values: Floats
    trust: float
    prior: float
    n_unscaled: int


def centred(values: Floats, rows: Rows) -> Floats:
    """Subtract the mean of all rows of each batch, [N, D]."""
    return np.asarray(values - rows.batch_means(values, of_controls=False)[rows.codes])


def standardised(values: Floats, rows: Rows) -> Standardised:
    """Centre and scale each batch on its controls, as far as they can tell it from the others.

    Means and variances of the controls of one batch are moderated by those of all batches: with few
    controls, or none, the latter count; with many, those of the batch. Features that have one value
    in most controls, such as those of structures that are rare there, would be divided by the
    spread of a few controls and outweigh all others: they are scaled by their standard deviation
    over all rows.
    """
    counts = rows.n_controls
    means = rows.batch_means(values, of_controls=True)
    overall = np.nanmean(means, axis=0)
    means = np.where(np.isnan(means), overall, means)
    df = np.maximum(counts - 1, 0)
    sums = np.zeros_like(means)
    for batch in range(len(counts)):
        own = values[rows.controls & rows.of_batch(batch)] - means[batch]
        sums[batch] = (own**2).sum(axis=0)
    total, spread = sums.sum(axis=0), values.var(axis=0)
    within_batches = total <= ROUNDING * max(int(df.sum()), 1) * np.maximum(spread, TINY)
    unscaled = within_batches | _mostly_equal(values[rows.controls])
    pooled = _pooled(total, int(df.sum()), spread, unscaled)
    variances, prior = np.tile(pooled, (len(counts), 1)), np.inf
    if not unscaled.all():
        known = sums[:, ~unscaled] / np.maximum(df, 1)[:, None]
        variances[:, ~unscaled], prior = moderated_batches(known, df, pooled[~unscaled])
    shares = batch_shares(means, counts, pooled)
    centres = overall + shares * (means - overall)
    scaled = (values - centres[rows.codes]) / np.sqrt(variances)[rows.codes]
    trust = float(shares[counts > 0].mean()) if (counts > 0).any() else 0.0
    return Standardised(scaled, trust, prior, int(unscaled.sum()))


def _mostly_equal(controls: Floats) -> Bools:
    """Return whether most controls have one value of a feature, bool [D], of controls [n, D].

    Values that differ by rounding alone are equal.
    """
    n = len(controls)
    ordered = np.sort(controls, axis=0)
    # Of n sorted values, equal ones that are more than a share lie that far apart.
    apart = min(int(MOST_EQUAL * n), n - 1)
    gaps = ordered[apart:] - ordered[: n - apart]
    return np.asarray((gaps <= EQUAL * np.abs(ordered[apart:])).any(axis=0))


def published_standardised(values: Floats, rows: Rows) -> Floats:
    """Subtract the mean of each batch's controls, and divide by their standard deviation (ddof 0).

    As published by EFAAR_benchmarking ("CS"), with scikit-learn's convention that a feature without
    variance is not scaled. Every batch has a control.
    """
    result = np.empty_like(values)
    for batch in range(len(rows.names)):
        own = rows.of_batch(batch)
        result[own] = on_controls(values[own], rows.controls[own])
    return result


def on_controls(values: Floats, controls: Bools) -> Floats:
    """Centre and scale all rows on the controls together, with ddof 0."""
    centre, scale = values[controls].mean(axis=0), values[controls].std(axis=0)
    return np.asarray((values - centre) / np.where(scale > 0, scale, 1))


def _pooled(sums: Floats, df: int, spread: Floats, unscaled: Bools) -> Floats:
    """Return positive variances within batches, [D]; over all rows for unscaled features."""
    found = sums / max(df, 1)
    if df > 0 and not unscaled.all():
        found[~unscaled] = moderated_features(found[~unscaled], df)
    found[unscaled] = np.where(spread[unscaled] > 0, spread[unscaled], 1)
    return found
