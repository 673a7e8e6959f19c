"""Paired differences of two stores, on the same folds, bootstrap draws and half-samples.

Each draw weights the groups of both sides equally, so that shared difficulty cancels, and the
interval of a difference is narrower than two separate intervals suggest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from transferscope.compare.contests import Contest, Rules, Side, shared_scores, stacked
from transferscope.compare.uncertainty import (
    Assessed,
    Inflation,
    assess,
    groups_needed,
    variances,
    weight_of_scores,
)
from transferscope.runtime.arrays import Floats

KINDS = ["stores", "handcrafted", "floor", "strategy", "correction", "scheme"]
# Both sides are stores of the family of all pairs, whose errors and corrections they share.
PAIRS_OF_STORES = ("stores", "handcrafted", "strategy", "correction")
Verdict = Literal["better", "worse", "equal", "undecided"]
# Results of a comparison of any two sides.
FOUND = [
    "first_mean",
    "second_mean",
    "difference",
    "standard_error",
    "df",
    "ci_low",
    "ci_high",
    "folds_won",
    "n_folds",
    "n_groups",
    "p_value",
    "p_adjusted",
    "n_comparisons",
    "verdict",
    "detectable",
    "groups_for_02",
    "groups_for_05",
]
COLUMNS = [
    "kind",
    "dataset",
    "scheme",
    "head",
    "k",
    "metric",
    "first_backbone",
    "first_channels",
    "second_backbone",
    "second_channels",
    *FOUND,
]


def differences(contest: Contest, rules: Rules) -> pd.DataFrame:
    """Compare the stores of a contest with each other and with the baselines.

    Parameters
    ----------
    contest
        The stores.
    rules
        What decides a difference.

    Returns
    -------
    pandas.DataFrame
        `COLUMNS`, one row per comparison. Values of `kind`: `stores`: any two stores, the better
        one first; `handcrafted`: a store minus hand-crafted features; `floor`: a store minus the
        floor, which uses only the training labels; `strategy`: `map` minus another strategy of the
        same backbone; `correction`: a store that is corrected for batches minus the same without;
        `scheme`: one store by image minus by group. All pairs of stores are one
        family: a pair has the same `p_adjusted` and `verdict` in every kind. `verdict`, of the
        first side: `equal`: the difference is shown to be below the margin; `better` or `worse`: it
        is shown, after correction for `n_comparisons`; else `undecided`. `detectable` is the
        smallest true difference that 80 % of such studies show, and `groups_for_02` the number of
        groups for one of .02.
    """
    parts = []
    families: dict[str, list[tuple[str, Side, Side]]] = {"stores": [], "floor": [], "scheme": []}
    for kind in KINDS:
        family = "stores" if kind in PAIRS_OF_STORES else kind
        families[family] += [(kind, *pair) for pair in contest.pairs(kind)]
    for family, compared in families.items():
        if not compared:
            continue
        pairs = [(first, second) for _, first, second in compared]
        # Each pair of stores counts once, in whichever kinds it is.
        counted = sum(kind == family for kind, *_ in compared)
        weigh = contest.inflation if family == "stores" else None
        found = compare_pairs(
            pairs, contest.n_groups, rules, weigh, counted, paired=family != "scheme"
        )
        names = [_names(kind, contest, *pair) for kind, *pair in compared]
        parts.append(pd.concat([pd.DataFrame(names), found], axis=1))
    if not parts:
        return pd.DataFrame(columns=COLUMNS)
    table = pd.concat(parts, ignore_index=True).astype({"k": "Int64"}).reindex(columns=COLUMNS)
    return table.sort_values(COLUMNS[:10], kind="stable", ignore_index=True)


def compare_pairs(
    pairs: Sequence[tuple[Side, Side]],
    n_groups: int,
    rules: Rules,
    weigh: Callable[[Floats, Floats], Inflation] | None = None,
    n_comparisons: int | None = None,
    paired: bool = True,
) -> pd.DataFrame:
    """Compare the two sides of each pair of one family under the same draws.

    Parameters
    ----------
    pairs
        Sides to compare, first minus second.
    n_groups
        Number of groups that were drawn.
    rules
        What decides a difference.
    weigh
        Returns the inflation of the variances, given the differences in the draws and in halves;
        None: each pair is about one store.
    n_comparisons
        Number of different pairs; None: all differ.
    paired
        Whether both sides have the same folds.

    Returns
    -------
    pandas.DataFrame
        Columns `FOUND`, one row per pair.
    """
    draws, halves = stacked(pairs, paired)
    if weigh is None:
        n_halved = int(np.isfinite(halves).any(axis=(1, 2)).sum())
        weight = weight_of_scores(max(n_halved, 1))
        inflation = Inflation.of(halves, variances(draws), n_groups, weight)
    else:
        inflation = weigh(draws, halves)
    found = assess(draws, inflation, rules.confidence, rules.margin, rules.noise)
    won, folds = zip(*(_folds_won(*pair, paired=paired) for pair in pairs), strict=True)
    means = np.array([_means(*pair, paired=paired) for pair in pairs])
    return pd.DataFrame(
        {
            "first_mean": means[:, 0],
            "second_mean": means[:, 1],
            "difference": draws[0],
            "standard_error": found.errors,
            "df": inflation.df,
            "ci_low": found.low,
            "ci_high": found.high,
            "folds_won": won,
            "n_folds": folds,
            "n_groups": n_groups,
            "p_value": found.p,
            "p_adjusted": found.p_adjusted,
            "n_comparisons": len(pairs) if n_comparisons is None else n_comparisons,
            "verdict": _verdicts(draws[0], found, 1 - rules.confidence),
            "detectable": found.detectable,
            "groups_for_02": groups_needed(n_groups, found.detectable, 0.02),
            "groups_for_05": groups_needed(n_groups, found.detectable, 0.05),
        }
    )


def _verdicts(values: Floats, found: Assessed, level: float) -> list[Verdict]:
    verdicts: list[Verdict] = []
    for value, equal, p in zip(values, found.equal, found.p_adjusted, strict=True):
        if equal:
            verdicts.append("equal")
        elif p < level:
            verdicts.append("better" if value > 0 else "worse")
        else:
            verdicts.append("undecided")
    return verdicts


def _means(first: Side, second: Side, paired: bool) -> tuple[float, float]:
    """Return the scores of both sides, on the folds that both have if they are paired."""
    one, other = shared_scores(first, second) if paired else (first.scores, second.scores)
    return float(one[0]), float(other[0])


def _folds_won(first: Side, second: Side, paired: bool) -> tuple[float, int]:
    """Return how many folds the first side won, a tie being half a win, and of how many."""
    if not paired:
        return np.nan, len(first.folds)
    shared = sorted(set(first.folds) & set(second.folds))
    gaps = np.array([first.folds[key][0] - second.folds[key][0] for key in shared])
    gaps = gaps[np.isfinite(gaps)]
    return float((gaps > 0).sum() + 0.5 * (gaps == 0).sum()), len(gaps)


def _names(kind: str, contest: Contest, first: Side, second: Side) -> dict[str, Any]:
    return {
        "kind": kind,
        "scheme": contest.scheme,
        "head": contest.head.kind,
        "k": contest.head.k or pd.NA,
        "first_backbone": first.store.backbone,
        "first_channels": first.store.channels,
        "second_backbone": second.store.backbone,
        "second_channels": second.store.channels,
    }
