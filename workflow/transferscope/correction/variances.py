"""Moderation of variances and means that few controls estimate badly.

Variances are moderated as in limma (Smyth, 2004, doi:10.2202/1544-6115.1027): they are taken to
vary about a common value by a scaled inverse chi-squared distribution, whose spread follows from
their own. If they vary no more than sampling explains, the common value is used.
"""

from __future__ import annotations

import numpy as np
from scipy.special import polygamma

from transferscope.runtime.arrays import Bools, Floats, Integers

# Least excess of the variance of log variances that counts as more than sampling.
LEAST_EXCESS = 2e-3
# Weight of the mean over all features in the size of batch effects, in batches.
PRIOR_BATCHES = 20
# Variances below this share of the others are a constant's after rounding.
ROUNDING = 1e-12
# Least degrees of freedom with which a batch's variances tell of their spread.
LEAST_DF = 3


def inverse_trigamma(value: float) -> float:
    """Return the number whose trigamma is `value` > 0, by Newton's method.

    Examples
    --------
    >>> round(inverse_trigamma(float(polygamma(1, 2.5))), 9)
    2.5
    """
    found = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(polygamma(1, found))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, found))
        found += step
        if abs(step) < 1e-10 * found:
            break
    return found


def prior_df(excess: float) -> float:
    """Return the prior degrees of freedom of variances, given their excess spread."""
    return 2 * inverse_trigamma(excess) if excess > LEAST_EXCESS else np.inf


def moderated(
    variances: Floats, df: Floats | float, target: Floats | float, prior: float
) -> Floats:
    """Return variances drawn towards a target; an infinite prior returns the target."""
    if np.isinf(prior):
        return np.broadcast_to(np.asarray(target, dtype=np.float64), variances.shape).copy()
    return np.asarray((variances * df + prior * target) / (df + prior))


def moderated_features(variances: Floats, df: float) -> Floats:
    """Moderate the variances of features, [D], which are all positive, about their common value.

    On the scale of logarithms, so that features of very different units keep their own.
    """
    logs = np.log(variances)
    if len(logs) < 2:
        return variances
    of_sampling = float(polygamma(1, df / 2))
    excess = max(float(logs.var(ddof=1)) - of_sampling, 0.0)
    own = excess / (excess + of_sampling)
    return np.asarray(np.exp(own * logs + (1 - own) * logs.mean()))


def moderated_batches(variances: Floats, df: Integers, pooled: Floats) -> tuple[Floats, float]:
    """Moderate the variances of batches, [B, D], about those of all batches, [D].

    Parameters
    ----------
    variances
        Within each batch; ignored where `df` is 0.
    df
        Degrees of freedom of each batch, [B].
    pooled
        Positive variances within batches, of all batches.

    Returns
    -------
    variances : float64 [B, D]
        Moderated variances; a batch without degrees of freedom gets the pooled ones.
    prior : float
        Prior degrees of freedom; infinite if batches do not differ.
    """
    known = df >= LEAST_DF
    prior = np.inf
    if known.sum() > 1:
        relative = variances[known] / pooled
        # A feature that does not vary in some batch tells nothing of how variances vary.
        logs = np.log(relative[:, (relative > ROUNDING).all(axis=0)])
        if logs.size:
            excess = float(logs.var(axis=0, ddof=1).mean() - polygamma(1, df[known] / 2).mean())
            prior = prior_df(excess)
    usable = np.where((df > 0)[:, None], variances, 0.0)
    return moderated(usable, df[:, None].astype(np.float64), pooled, prior), prior


def batch_shares(means: Floats, counts: Integers, pooled: Floats) -> Floats:
    """Return how far the mean of a batch's controls is believed, against the mean of all batches.

    A share is the variance between batches, over itself plus the sampling variance of the mean.
    The variance between batches is estimated for each feature, and drawn towards that of all
    features, so that few batches do not invent an effect.

    Parameters
    ----------
    means
        Mean of the controls of each batch, [B, D]; ignored where `counts` is 0.
    counts
        Number of controls of each batch, [B].
    pooled
        Positive variances within batches, [D].

    Returns
    -------
    float64 [B, D]
        Shares from 0 to 1; 0 for a batch without controls.
    """
    known: Bools = counts > 0
    n_batches = int(known.sum())
    if n_batches < 2:
        return np.zeros_like(means)
    relative = (means[known] - means[known].mean(axis=0)) / np.sqrt(pooled)
    of_sampling = (1 / counts[known]).sum() * (1 - 1 / n_batches)
    raw = ((relative**2).sum(axis=0) - of_sampling) / (n_batches - 1)
    df = n_batches - 1
    between = np.maximum((df * raw + PRIOR_BATCHES * raw.mean()) / (df + PRIOR_BATCHES), 0)
    shares = np.zeros_like(means)
    shares[known] = between / (between + 1 / counts[known][:, None])
    return shares
