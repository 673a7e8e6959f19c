"""The summary: one row per store, head, scheme, fraction, metric and class, with its interval."""

from __future__ import annotations

import pandas as pd

from transferscope.compare.bootstrap import interval
from transferscope.compare.tables import HEAD, SUMMARY_KEYS, Head, Store, matching
from transferscope.compare.tally import CLASS_METRIC, PLAIN_METRICS, Tally
from transferscope.config.channel_strategies import family_of
from transferscope.probes.score_table import SEEN_IN_TRAINING, STORE

SUMMARY_COLUMNS = [
    *SUMMARY_KEYS,
    "mean",
    "std",
    "ci_low",
    "ci_high",
    "n_scores",
    "n_groups",
    "n_train",
    "n_train_groups",
    "n_test",
    SEEN_IN_TRAINING,
]
CLASS_COLUMNS = [
    *STORE,
    *HEAD,
    "scheme",
    "class",
    "n_positive",
    "n_predicted",
    "n_positive_groups",
    "f1",
    "ci_low",
    "ci_high",
]
INTERVAL_KEYS = [c for c in SUMMARY_KEYS if c != "task"]


def intervals_of(tally: Tally, dataset: str, store: Store, confidence: float) -> pd.DataFrame:
    """Return the bootstrap interval of every metric of the predictions of one store.

    Returns
    -------
    pandas.DataFrame
        `INTERVAL_KEYS`, `point` (the statistic of the original sample), `ci_low`, `ci_high`, and
        `n_groups`, the number of test groups.
    """
    metrics = [*((m, "") for m in PLAIN_METRICS), *((CLASS_METRIC, c) for c in tally.classes)]
    names, classes = zip(*metrics, strict=True)
    parts = []
    for (head, scheme, fraction), sums in sorted(tally.sums.items(), key=lambda item: item[0]):
        draws = tally.draws(head, scheme, fraction)
        low, high = interval(draws, confidence, 0, 1)
        columns = {
            "dataset": dataset,
            **store.columns,
            **head.columns,
            "scheme": scheme,
            "fraction": fraction,
            "metric": names,
            "class": classes,
            "point": draws[0],
            "ci_low": low,
            "ci_high": high,
            "n_groups": len(sums.groups),
        }
        parts.append(pd.DataFrame(columns).astype({"k": "Int64"}))
    return pd.concat(parts, ignore_index=True)


def summarise(scores: pd.DataFrame, intervals: pd.DataFrame) -> pd.DataFrame:
    """Average the scores over folds and repeats, and add the intervals.

    Parameters
    ----------
    scores
        All scores, from `read_scores`; those of random orders are averaged.
    intervals
        From `intervals_of`, of all prediction tables.

    Returns
    -------
    pandas.DataFrame
        `SUMMARY_COLUMNS`; `std` is over folds, repeats and orders (NaN for a single score),
        `n_scores` is the number of defined scores, `n_train`, `n_train_groups` and `n_test` are
        means per fold. Intervals are NaN without predictions.
    """
    named = scores.assign(channels=scores["channels"].map(family_of))
    grouped = named.groupby(SUMMARY_KEYS, dropna=False, sort=True)
    table = grouped.agg(
        mean=("value", "mean"),
        std=("value", "std"),
        n_scores=("value", "count"),
        n_train=("n_train", "mean"),
        n_train_groups=("n_train_groups", "mean"),
        n_test=("n_test", "mean"),
        **{SEEN_IN_TRAINING: (SEEN_IN_TRAINING, "first")},
    ).reset_index()
    table = table.merge(intervals, on=INTERVAL_KEYS, how="left", validate="one_to_one")
    return table.astype({"n_groups": "Int64"})[[*SUMMARY_COLUMNS, "point"]]


def class_table(tally: Tally, dataset: str, store: Store, intervals: pd.DataFrame) -> pd.DataFrame:
    """Return F1 and counts of each class at the full fraction.

    Returns
    -------
    pandas.DataFrame
        One row per head, scheme and class: `f1`, `ci_low`, `ci_high`, `n_positive` (tiles),
        `n_predicted` (tiles, mean over repeats) and `n_positive_groups`.
    """
    parts = []
    for (head, scheme), counts in sorted(tally.class_counts.items()):
        repeats = tally.n_repeats(head, scheme)
        columns = {
            "dataset": dataset,
            **store.columns,
            **head.columns,
            "scheme": scheme,
            "class": tally.classes,
            "n_positive": counts.true / repeats,
            "n_predicted": counts.predicted / repeats,
            "n_positive_groups": counts.groups.sum(axis=0),
        }
        parts.append(pd.DataFrame(columns).astype({"k": "Int64"}))
    if not parts:
        return pd.DataFrame(columns=CLASS_COLUMNS)
    f1 = matching(intervals, metric=CLASS_METRIC, fraction=tally.full_fraction)
    f1 = f1.rename(columns={"point": "f1"})
    keys = [c for c in INTERVAL_KEYS if c not in ("fraction", "metric")]
    kept = f1[[*keys, "f1", "ci_low", "ci_high"]]
    return pd.concat(parts, ignore_index=True).merge(kept, on=keys, how="left")


def head_of(row: pd.Series) -> Head:
    """Return the head that a row of any table names."""
    return Head(str(row["head"]), 0 if pd.isna(row["k"]) else int(row["k"]))
