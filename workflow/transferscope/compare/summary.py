"""The summary: one row per store, head, scheme, fraction, metric and class, with its interval."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from transferscope.compare.halves import HalfScores, key_of
from transferscope.compare.tables import HEAD, SUMMARY_KEYS, Store, matching
from transferscope.compare.tally import CLASS_METRIC, PLAIN_METRICS, Tally
from transferscope.compare.uncertainty import (
    Inflation,
    interval,
    variances,
    weight_of_scores,
)
from transferscope.config.channel_strategies import family_of
from transferscope.config.schemes import groups_per_class, with_all_groups
from transferscope.probes.score_table import FLOOR, SEEN_IN_TRAINING, STORE, VALIDATION_SCORE

SUMMARY_COLUMNS = [
    *SUMMARY_KEYS,
    "mean",
    "std",
    "ci_low",
    "ci_high",
    VALIDATION_SCORE,
    "n_scores",
    "n_folds",
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
# Estimates at different fractions, or numbers of groups per class, whose standard errors exceed the
# bootstrap's by one factor each.
SAME_CURVE = ["dataset", *HEAD, "metric"]
# Dataset and scheme of few groups per class -> their share of the training groups.
Shares = Mapping[tuple[str, str], float]


def estimates_of(tally: Tally, dataset: str, store: Store) -> pd.DataFrame:
    """Return every metric of the predictions of one store with its bootstrapped variance.

    Returns
    -------
    pandas.DataFrame
        `INTERVAL_KEYS`, `point` (the statistic of the original sample), `variance` (over the
        draws), and `n_groups`, the number of test groups.
    """
    metrics = [*((m, "") for m in PLAIN_METRICS), *((CLASS_METRIC, c) for c in tally.classes)]
    names, classes = zip(*metrics, strict=True)
    parts = []
    for head, scheme, fraction in sorted(tally.sums):
        draws = tally.draws(head, scheme, fraction)
        columns = {
            "dataset": dataset,
            **store.columns,
            **head.columns,
            "scheme": scheme,
            "fraction": fraction,
            "metric": names,
            "class": classes,
            "point": draws[0],
            "variance": variances(draws),
            "n_groups": len(tally.groups[head, scheme, fraction]),
        }
        parts.append(pd.DataFrame(columns).astype({"k": "Int64"}))
    return pd.concat(parts, ignore_index=True)


def shares_of(scores: pd.DataFrame) -> dict[tuple[str, str], float]:
    """Return the share of the training groups that k groups of each class are.

    Parameters
    ----------
    scores
        All scores, from `read_scores`.
    """
    largest = scores[scores["fraction"] == scores.groupby("dataset")["fraction"].transform("max")]
    means = largest.groupby(["dataset", "scheme"])["n_train_groups"].mean().reset_index()
    sizes = {(str(dataset), str(scheme)): float(n) for dataset, scheme, n in means.to_numpy()}
    return {
        (dataset, scheme): n / sizes[dataset, with_all_groups(scheme)]
        for (dataset, scheme), n in sizes.items()
        if groups_per_class(scheme)
    }


def with_intervals(
    estimates: pd.DataFrame,
    halves: HalfScores,
    confidence: float,
    shares: Shares | None = None,
) -> pd.DataFrame:
    """Add intervals to estimates.

    Parameters
    ----------
    estimates
        From `estimates_of`, of all stores.
    halves
        Scores in halves of the groups, from which the part of the training groups is estimated:
        one factor per dataset, head, scheme, fraction and metric, over all stores and classes. A
        fraction, or number of groups per class, that was not trained in halves has that of the
        largest fraction, raised by `at_fraction`. The floor has none: nothing is trained.
    confidence
        Coverage of the intervals.
    shares
        From `shares_of`, where schemes are of few groups per class.

    Returns
    -------
    pandas.DataFrame
        The same rows with `ci_low` and `ci_high`: NaN if a value is undefined in the sample or in
        more than half of the draws.
    """
    parts = []
    whole = estimates["scheme"].map(with_all_groups)
    by_curve = [*(estimates[name] for name in SAME_CURVE), whole]
    for _, curves in estimates.groupby(by_curve, dropna=False, sort=False):
        of_largest: Inflation | None = None
        largest = float(curves["fraction"].max())
        for share, rows in _by_share(curves, shares or {}, largest):
            n_groups = int(rows["n_groups"].max())
            inflation = _inflation(rows, halves)
            if inflation is None and of_largest is not None:
                inflation = of_largest.at_fraction(share)
            if inflation is None:
                inflation = Inflation.without_halves(n_groups)
            if rows["head"].iloc[0] == FLOOR:
                inflation = Inflation.untrained(n_groups)
            if of_largest is None:
                # One factor for all rows: those of smaller fractions may be others.
                of_largest = Inflation(float(np.median(inflation.factor)), inflation.df)
            points, bootstrapped = rows["point"].to_numpy(), rows["variance"].to_numpy()
            low, high = interval(points, bootstrapped, inflation, confidence, 0, 1)
            parts.append(rows.assign(ci_low=low, ci_high=high))
    return pd.concat(parts) if parts else estimates.assign(ci_low=np.nan, ci_high=np.nan)


def _by_share(
    curves: pd.DataFrame, shares: Shares, largest: float
) -> list[tuple[float, pd.DataFrame]]:
    """Return share of the training groups and rows of each place of a curve, the largest first."""
    found = []
    for (dataset, scheme, _), rows in curves.groupby(["dataset", "scheme", "fraction"]):
        share = shares.get((str(dataset), str(scheme)), float(rows["fraction"].iloc[0]) / largest)
        # Of equal shares, all groups come before all of each class.
        found.append((share, groups_per_class(str(scheme)) > 0, rows))
    found.sort(key=lambda one: (-one[0], one[1]))
    return [(share, rows) for share, _, rows in found]


def _inflation(rows: pd.DataFrame, halves: HalfScores) -> Inflation | None:
    """Return the inflation of the variances of some rows; None without scores in halves."""
    in_halves = halves.of([key_of(row) for row in rows.to_dict("records")])
    if not np.isfinite(in_halves).any():
        return None
    in_any = np.asarray(np.isfinite(in_halves).any(axis=(1, 2)))
    halved = {(row["backbone"], row["channels"]) for row in rows[in_any].to_dict("records")}
    weight = weight_of_scores(len(halved))
    n_groups = int(rows["n_groups"].max())
    return Inflation.of(in_halves, rows["variance"].to_numpy(), n_groups, weight)


def summarise(scores: pd.DataFrame, intervals: pd.DataFrame) -> pd.DataFrame:
    """Summarise the scores of all folds and repeats, and add the intervals.

    Parameters
    ----------
    scores
        All scores, from `read_scores`; those of random orders are averaged.
    intervals
        From `with_intervals`, of all prediction tables.

    Returns
    -------
    pandas.DataFrame
        `SUMMARY_COLUMNS`; `mean` is over repeats and orders of the score of all folds together, and
        over folds without predictions and for calibration; `std` is over folds, repeats and orders
        (NaN for a single score),
        `validation` is the mean score on validation rows (NaN if unknown),
        `n_scores` is the number of defined scores, `n_train`, `n_train_groups` and `n_test` are
        means per fold. Intervals are NaN without predictions.
    """
    named = scores.assign(
        channels=scores["channels"].map(family_of),
        place=scores["seed"].astype(str) + "/" + scores["fold"].astype(str),
    )
    grouped = named.groupby(SUMMARY_KEYS, dropna=False, sort=True)
    table = grouped.agg(
        mean=("value", "mean"),
        std=("value", "std"),
        **{VALIDATION_SCORE: (VALIDATION_SCORE, "mean")},
        n_scores=("value", "count"),
        n_folds=("place", "nunique"),
        n_train=("n_train", "mean"),
        n_train_groups=("n_train_groups", "mean"),
        n_test=("n_test", "mean"),
        **{SEEN_IN_TRAINING: (SEEN_IN_TRAINING, "first")},
    ).reset_index()
    table = table.merge(intervals, on=INTERVAL_KEYS, how="left", validate="one_to_one")
    table["mean"] = table["point"].fillna(table["mean"])
    return table.astype({"n_groups": "Int64"})[[*SUMMARY_COLUMNS, "point"]]


def class_counts(tally: Tally, dataset: str, store: Store) -> pd.DataFrame:
    """Return the counts of each class at the full fraction.

    Returns
    -------
    pandas.DataFrame
        One row per head, scheme and class: `n_positive` (tiles), `n_predicted` (tiles, mean over
        repeats), `n_positive_groups` and `fraction`.
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
            "fraction": tally.full_fraction,
        }
        parts.append(pd.DataFrame(columns).astype({"k": "Int64"}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def class_table(counts: pd.DataFrame, intervals: pd.DataFrame) -> pd.DataFrame:
    """Add F1 with its interval to the counts of classes.

    Parameters
    ----------
    counts
        From `class_counts`.
    intervals
        From `with_intervals`.

    Returns
    -------
    pandas.DataFrame
        `CLASS_COLUMNS`.
    """
    if counts.empty:
        return pd.DataFrame(columns=CLASS_COLUMNS)
    f1 = matching(intervals, metric=CLASS_METRIC).rename(columns={"point": "f1"})
    keys = [c for c in INTERVAL_KEYS if c != "metric"]
    kept = f1[[*keys, "f1", "ci_low", "ci_high"]]
    return counts.merge(kept, on=keys, how="left")[CLASS_COLUMNS]
