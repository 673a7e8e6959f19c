"""Which stores may be the best, and which are not shown to differ."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from transferscope.compare.contests import Contest, Rules
from transferscope.compare.tables import matching
from transferscope.compare.uncertainty import letters

LEADERBOARD_COLUMNS = [
    "dataset",
    "scheme",
    "head",
    "k",
    "metric",
    "backbone",
    "channels",
    "mean",
    "ci_low",
    "ci_high",
    "may_be_best",
    "at_most_behind",
    "letters",
    "operations",
]


def leaderboard(
    contest: Contest, gaps: pd.DataFrame, rules: Rules, operations: Mapping[str, float]
) -> pd.DataFrame:
    """Rank the stores of a contest.

    Parameters
    ----------
    contest
        The stores.
    gaps
        Their differences, from `differences`.
    rules
        What decides a difference.
    operations
        Store -> floating-point operations of its network per tile.

    Returns
    -------
    pandas.DataFrame
        `LEADERBOARD_COLUMNS`, the highest score on all folds first. The intervals cover all stores
        at once, so they also hold for the one that came out highest. `may_be_best`: no other store
        is shown to be at least as good. `at_most_behind`: by how much the store is at most worse
        than the best, for all stores at once. Stores that share one of the `letters` are not shown
        to differ.
    """
    values, low, high = contest.intervals(rules)
    with_best = contest.with_best(rules)
    stores = [side.store for side in contest.sides]
    folds = [len(side.folds) for side in contest.sides]
    # Stores that could be tested on some folds only come last: their means are of those folds.
    order = sorted(
        range(len(stores)), key=lambda i: (-folds[i], -np.nan_to_num(values[i]), stores[i])
    )
    differ = np.zeros((len(stores), len(stores)), dtype=bool)
    place = {(store.backbone, store.channels): i for i, store in enumerate(stores)}
    for row in matching(gaps, kind="stores").to_dict("records"):
        i, j = (place[row[f"{s}_backbone"], row[f"{s}_channels"]] for s in ("first", "second"))
        differ[i, j] = differ[j, i] = row["p_adjusted"] < 1 - rules.confidence
    table = pd.DataFrame(
        {
            "dataset": "",
            "scheme": contest.scheme,
            **contest.head.columns,
            "metric": "",
            "backbone": [store.backbone for store in stores],
            "channels": [store.channels for store in stores],
            "mean": values,
            "ci_low": low,
            "ci_high": high,
            "may_be_best": with_best.may_be_best,
            "at_most_behind": with_best.at_most_behind,
            "letters": letters(differ, order),
            "operations": [operations.get(str(store), np.nan) for store in stores],
        }
    )
    return table.astype({"k": "Int64"}).iloc[order]
