"""Paired differences of two stores, on the same folds and bootstrap draws.

Each draw weights the groups of both sides equally, so that shared difficulty cancels, and the
interval of a difference is narrower than two separate intervals suggest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

from transferscope.compare.bootstrap import interval
from transferscope.compare.tables import Head, Store
from transferscope.probes.metrics import mean_of_defined
from transferscope.probes.score_table import FLOOR
from transferscope.runtime.arrays import Floats

FoldDraws = Mapping[tuple[int, int], Floats]
StoreFolds = Mapping[Store, Mapping[tuple[Head, str], FoldDraws]]
FAMILY = ["kind", "dataset", "scheme", "head", "k"]
KINDS = ["stores", "handcrafted", "floor", "strategy", "scheme"]
# Results of a comparison of any two sides.
FOUND = [
    "first_mean",
    "second_mean",
    "difference",
    "ci_low",
    "ci_high",
    "share_folds_won",
    "n_folds",
    "n_groups",
    "p_value",
    "p_holm",
    "significant",
]
COLUMNS = [
    *FAMILY,
    "metric",
    "first_backbone",
    "first_channels",
    "second_backbone",
    "second_channels",
    *FOUND,
]


@dataclass(frozen=True)
class Side:
    """One side of a difference."""

    store: Store
    folds: FoldDraws


def differences(
    folds: StoreFolds, dataset: str, metric: str, n_groups: Mapping[str, int], confidence: float
) -> pd.DataFrame:
    """Compare the stores of one dataset with each other and with the baselines.

    Parameters
    ----------
    folds
        The headline metric of each store, head, scheme and fold, [1 + draws]; row 0 is the
        original sample.
    dataset, metric
        Names, for the table.
    n_groups
        Number of groups of each split scheme.
    confidence
        Coverage of the intervals.

    Returns
    -------
    pandas.DataFrame
        One row per comparison. Values of `kind`: `stores`: any two stores, the better one first;
        `handcrafted`: a store minus hand-crafted features; `floor`: a store minus the floor, which
        uses only the training labels; `strategy`: `map` minus another strategy of the same
        backbone; `scheme`: one store by image minus by group. `p_value` is from a t test of the
        difference over its bootstrapped standard error, with groups - 1 degrees of freedom, because
        the number of draws cannot resolve the small values that a correction needs; `p_holm` is
        corrected over all comparisons of the same kind, scheme and head. `significant`: the
        interval excludes zero and `p_holm` is below 1 - confidence.
    """
    rows = []
    for (head, scheme), sides in _by_head(folds).items():
        for kind, first, second in _pairs(sides, folds, head, scheme):
            names = {"kind": kind, "dataset": dataset, "scheme": scheme, "metric": metric}
            groups = n_groups[scheme]
            found = difference(first, second, groups, confidence, paired=kind != "scheme")
            rows.append({**names, **_names(head, first, second), **found, "n_groups": groups})
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"k": "Int64"})
    if table.empty:
        return table
    table = corrected(table, FAMILY, confidence)
    return table.sort_values(COLUMNS[:10], kind="stable", ignore_index=True)


def corrected(table: pd.DataFrame, family: Sequence[str], confidence: float) -> pd.DataFrame:
    """Add `p_holm` and `significant` to a table of differences.

    Parameters
    ----------
    table
        Columns `p_value`, `ci_low`, `ci_high` and those of `family`; at least one row.
    family
        Columns that define the families: p-values are corrected within each.
    confidence
        Coverage of the intervals.
    """
    families = table.groupby(list(family), dropna=False)["p_value"]
    p_holm = families.transform(lambda p: holm(p.to_numpy()))
    excludes_zero = (table["ci_low"] > 0) | (table["ci_high"] < 0)
    return table.assign(p_holm=p_holm, significant=excludes_zero & (p_holm < 1 - confidence))


def holm(p_values: Floats) -> Floats:
    """Correct p-values for multiple comparisons by Holm's step-down method (Holm 1979).

    Parameters
    ----------
    p_values
        [comparisons]; NaN stays NaN and is not counted.
    """
    corrected = np.full(len(p_values), np.nan)
    defined = ~np.isnan(p_values)
    if defined.any():
        corrected[defined] = multipletests(p_values[defined], method="holm")[1]
    return corrected


def _by_head(folds: StoreFolds) -> dict[tuple[Head, str], list[Side]]:
    sides: dict[tuple[Head, str], list[Side]] = {}
    for store in sorted(folds):
        for key, values in folds[store].items():
            sides.setdefault(key, []).append(Side(store, values))
    return dict(sorted(sides.items()))


def _pairs(
    sides: list[Side], folds: StoreFolds, head: Head, scheme: str
) -> Iterator[tuple[str, Side, Side]]:
    if head.kind == FLOOR:
        return
    for one, other in combinations(sides, 2):
        first, second = sorted((one, other), key=lambda side: -_mean(side.folds)[0])
        yield "stores", first, second
    by_store = {side.store: side for side in sides}
    for side in sides:
        for other in sides:
            if other.store.is_handcrafted and not side.store.is_handcrafted:
                yield "handcrafted", side, other
        floor = folds[side.store].get((Head(FLOOR), scheme))
        if floor is not None:
            yield "floor", side, Side(Store(FLOOR, ""), floor)
        natural = by_store.get(Store(side.store.backbone, "map"))
        if natural is not None and natural is not side:
            yield "strategy", natural, side
        by_group = folds[side.store].get((head, "group"))
        if scheme == "image" and by_group is not None:
            yield "scheme", side, Side(side.store, by_group)


def _mean(folds: FoldDraws) -> Floats:
    return mean_of_defined(np.stack([folds[key] for key in sorted(folds)]), axis=0)


def difference(
    first: Side, second: Side, n_groups: int, confidence: float, paired: bool = True
) -> dict[str, Any]:
    """Return the difference of two sides under the same draws, its interval and p-value.

    Parameters
    ----------
    first, second
        The two sides.
    n_groups
        Number of groups that were drawn.
    confidence
        Coverage of the interval.
    paired
        Whether both sides have the same folds.
    """
    if paired:
        shared = sorted(set(first.folds) & set(second.folds))
        sides = [{key: side.folds[key] for key in shared} for side in (first, second)]
        won = _share_won([f[0] - s[0] for f, s in ((sides[0][k], sides[1][k]) for k in shared)])
    else:
        sides, won = [dict(first.folds), dict(second.folds)], np.nan
    if not sides[0] or not sides[1]:
        return {}
    means = [_mean(side) for side in sides]
    draws = means[0] - means[1]
    low, high = interval(draws, confidence)
    return {
        "first_mean": means[0][0],
        "second_mean": means[1][0],
        "difference": draws[0],
        "ci_low": float(low),
        "ci_high": float(high),
        "share_folds_won": won,
        "n_folds": len(sides[0]),
        "p_value": _p_value(draws, n_groups),
    }


def _share_won(gaps: list[float]) -> float:
    """Return the share of folds won by the first side; a tie is half a win."""
    defined = [gap for gap in gaps if not np.isnan(gap)]
    if not defined:
        return float("nan")
    return float(np.mean([0.5 if gap == 0 else float(gap > 0) for gap in defined]))


def _p_value(draws: Floats, n_groups: int) -> float:
    spread = float(np.nanstd(draws[1:], ddof=1)) if np.isfinite(draws[1:]).sum() > 1 else 0.0
    if n_groups < 2 or np.isnan(draws[0]):
        return float("nan")
    if spread < 1e-12:
        return 1.0
    return float(2 * stats.t.sf(abs(draws[0]) / spread, n_groups - 1))


def _names(head: Head, first: Side, second: Side) -> dict[str, Any]:
    return {
        "head": head.kind,
        "k": head.k or pd.NA,
        "first_backbone": first.store.backbone,
        "first_channels": first.store.channels,
        "second_backbone": second.store.backbone,
        "second_channels": second.store.channels,
    }
