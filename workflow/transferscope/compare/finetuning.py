"""The gain of fine-tuning: each fine-tuned backbone minus its best frozen head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from transferscope.compare.tables import Head, Store, matching
from transferscope.compare.uncertainty import Inflation, interval, variances
from transferscope.config.channel_strategies import family_of
from transferscope.config.modes import is_tuned
from transferscope.probes.score_table import FLOOR
from transferscope.runtime.arrays import Floats

# The headline metric [1 + draws] of each head, scheme and fraction; row 0 is the original sample.
Curves = Mapping[tuple[Head, str, float], Floats]
KEYS = ["dataset", "scheme", "backbone", "channels", "head"]
COLUMNS = [
    *KEYS,
    "fraction",
    "n_train_groups",
    "frozen_head",
    "frozen_k",
    "tuned_mean",
    "frozen_mean",
    "difference",
    "ci_low",
    "ci_high",
    "low_of_all",
    "worth_from",
]


def tuned_stores(scores: pd.DataFrame) -> set[Store]:
    """Return all fine-tuned stores."""
    tuned = scores[scores["head"].map(is_tuned)]
    return {
        Store(*pair)
        for pair in zip(tuned["backbone"], tuned["channels"].map(family_of), strict=True)
    }


def gains(
    curves: Mapping[Store, Curves], dataset: str, summary: pd.DataFrame, confidence: float
) -> pd.DataFrame:
    """Compare fine-tuning with the best frozen head of the same store at each fraction.

    Folds and draws of groups are the same on both sides. The best frozen head is the one with the
    highest score at each fraction, which favours the frozen side. Fine-tuning is not repeated in
    halves of the groups, so that errors are those without halves.

    Parameters
    ----------
    curves
        Scores of the fine-tuned stores, including their frozen heads.
    dataset
        Name, for the table.
    summary
        From `summarise`, for the number of training groups.
    confidence
        Coverage of the intervals.

    Returns
    -------
    pandas.DataFrame
        One row per store, mode, scheme and fraction. `worth_from` is the smallest fraction at and
        above which the gain is shown; NaN if there is none. Fractions are tested from the largest
        down to the first that is not shown, each at the full level; for that of several stores and
        modes of a scheme the level is divided (Bonferroni).
    """
    groups = matching(summary, dataset=dataset).groupby(["scheme", "fraction"])
    n_groups = groups["n_train_groups"].mean()
    n_tested = groups["n_groups"].max()
    tuned = {(store, key[0]) for store in curves for key in curves[store] if is_tuned(key[0].kind)}
    rows = []
    for store, found in sorted(curves.items()):
        for head, scheme, fraction in sorted(found):
            if not is_tuned(head.kind):
                continue
            frozen = _best_frozen(found, scheme, fraction)
            if frozen is None:
                continue
            draws = found[head, scheme, fraction] - found[frozen, scheme, fraction]
            inflation = Inflation.without_halves(int(n_tested[scheme, fraction]))
            low, high = interval(draws[0], variances(draws), inflation, confidence)
            strict = 1 - (1 - confidence) / max(len(tuned), 1)
            surely, _ = interval(draws[0], variances(draws), inflation, strict)
            rows.append(
                {
                    "dataset": dataset,
                    "scheme": scheme,
                    **store.columns,
                    "head": head.kind,
                    "fraction": fraction,
                    "n_train_groups": float(n_groups[scheme, fraction]),
                    "frozen_head": frozen.kind,
                    "frozen_k": frozen.k or pd.NA,
                    "tuned_mean": found[head, scheme, fraction][0],
                    "frozen_mean": found[frozen, scheme, fraction][0],
                    "difference": draws[0],
                    "ci_low": float(low),
                    "ci_high": float(high),
                    "low_of_all": float(surely),
                }
            )
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"frozen_k": "Int64"})
    table["worth_from"] = table["worth_from"].astype("float64")
    for _, part in table.groupby(KEYS):
        table.loc[part.index, "worth_from"] = worth_from(part)
    return table


def worth_from(rows: pd.DataFrame) -> float:
    """Return the smallest fraction at and above which the gain is shown, or NaN.

    Parameters
    ----------
    rows
        Rows of one store, mode and scheme, with columns `fraction` and `low_of_all`, the lower
        bounds that hold for all stores and modes.
    """
    falling = rows.sort_values("fraction", ascending=False)
    above = (falling["low_of_all"] > 0).cummin()
    return float(falling.loc[above, "fraction"].min())


def best_frozen(row: Any) -> Head:
    """Return the frozen head that a row of `gains` names."""
    return Head(str(row["frozen_head"]), 0 if pd.isna(row["frozen_k"]) else int(row["frozen_k"]))


def _best_frozen(curves: Curves, scheme: str, fraction: float) -> Head | None:
    means = {
        head: draws[0]
        for (head, s, f), draws in sorted(curves.items())
        if (s, f) == (scheme, fraction)
        and head.kind != FLOOR
        and not is_tuned(head.kind)
        and np.isfinite(draws[0])
    }
    return max(means, key=lambda head: means[head]) if means else None
