"""Differences of two stores over several datasets, by a random-effects meta-analysis."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from transferscope.compare.tables import HEAD, matching, rounded
from transferscope.runtime.arrays import Floats

SIDES = ["first_backbone", "first_channels", "second_backbone", "second_channels"]
PAIR = ["scheme", *HEAD, *SIDES]
ACROSS_COLUMNS = [
    *PAIR,
    "n_datasets",
    "difference",
    "ci_low",
    "ci_high",
    "new_low",
    "new_high",
    "between_sd",
]
# Datasets from which on a new one can be predicted.
LEAST_FOR_NEW = 3
LEAST_ERROR = 1e-3


def across_datasets(gaps: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Average each difference of two stores over datasets.

    The mean has random effects for the datasets (DerSimonian and Laird, iterated: Paule and Mandel
    1982) and an interval after Hartung, Knapp, Sidik and Jonkman, never narrower than without
    their adjustment; that of a new dataset is after Higgins et al. 2009
    (doi:10.1111/j.1467-985X.2008.00552.x).

    Parameters
    ----------
    gaps
        From `differences`, of all datasets.
    confidence
        Coverage of the intervals.

    Returns
    -------
    pandas.DataFrame
        `ACROSS_COLUMNS`, one row per pair of stores that several datasets have: mean difference
        with its interval, the interval for a new dataset (NaN below `LEAST_FOR_NEW` datasets), and
        the standard deviation between datasets. The first store is the better one on average.
    """
    pairs = matching(gaps, kind="stores").dropna(subset=["standard_error"])
    if pairs["dataset"].nunique() < 2:
        return pd.DataFrame(columns=ACROSS_COLUMNS)
    named = _in_one_direction(pairs)
    rows = []
    for names, found in named.groupby(PAIR, dropna=False, sort=True):
        if len(found) < 2:
            continue
        effects, errors = found["difference"].to_numpy(), found["standard_error"].to_numpy()
        if not (errors > 0).any():
            continue
        # Copies of one store never differ; such a dataset counts, but not infinitely much.
        errors = errors.clip(min=LEAST_ERROR)
        row = dict(zip(PAIR, names, strict=True)) | {"n_datasets": len(found)}
        rows.append(row | _combined(effects, errors, confidence))
    table = pd.DataFrame(rows, columns=ACROSS_COLUMNS).astype({"k": "Int64"})
    return rounded(_better_first(table))


def _combined(effects: Floats, errors: Floats, confidence: float) -> dict[str, float]:
    from statsmodels.stats.meta_analysis import combine_effects

    # Equal effects have no share of explained variance, which is not used here.
    with np.errstate(divide="ignore", invalid="ignore"):
        found = combine_effects(effects, np.square(errors), method_re="iterated")
    n, mean = len(effects), float(found.mean_effect_re)
    error = max(float(found.sd_eff_w_re_hksj), float(found.sd_eff_w_re))
    between = math.sqrt(max(float(found.tau2), 0.0))
    reach = stdtrit(n - 1, (1 + confidence) / 2) * error
    new = math.nan
    if n >= LEAST_FOR_NEW:
        new = stdtrit(n - 2, (1 + confidence) / 2) * math.hypot(between, error)
    return {
        "difference": mean,
        "ci_low": mean - reach,
        "ci_high": mean + reach,
        "new_low": mean - new,
        "new_high": mean + new,
        "between_sd": between,
    }


def _in_one_direction(pairs: pd.DataFrame) -> pd.DataFrame:
    """Name the stores of each pair in alphabetic order, so that datasets agree."""
    return _turned(pairs, pairs[SIDES[:2]].agg(tuple, axis=1) > pairs[SIDES[2:]].agg(tuple, axis=1))


def _better_first(table: pd.DataFrame) -> pd.DataFrame:
    return _turned(table, table["difference"] < 0)


def _turned(table: pd.DataFrame, turn: pd.Series[bool]) -> pd.DataFrame:
    """Exchange the stores of some rows."""
    table = table.copy()
    table.loc[turn, SIDES] = table.loc[turn, [*SIDES[2:], *SIDES[:2]]].to_numpy()
    table.loc[turn, "difference"] *= -1
    for low, high in (("ci_low", "ci_high"), ("new_low", "new_high")):
        if low in table:
            table.loc[turn, [low, high]] = -table.loc[turn, [high, low]].to_numpy()
    return table
