"""What k labelled groups of each class are worth against all training groups, on the same tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pandas as pd

from transferscope.compare.contests import Rules, Side
from transferscope.compare.differences import FOUND, compare_pairs
from transferscope.compare.tables import Head, Store, head_of, matching
from transferscope.compare.uncertainty import Inflation, interval, variances
from transferscope.compare.wording import count, gap, number, scheme_name, store_name
from transferscope.config.schemes import groups_per_class, scheme_order, with_all_groups
from transferscope.probes.score_table import FLOOR
from transferscope.runtime.arrays import Floats

COLUMNS = [
    "dataset",
    "scheme",
    "head",
    "k",
    "metric",
    "backbone",
    "channels",
    "groups_per_class",
    "n_train_groups",
    "n_train_groups_of_all",
    "share",
    "share_low",
    "share_high",
    *FOUND,
]


def few_groups(
    dataset: str,
    metric: str,
    sides: Mapping[tuple[Head, str], Mapping[Store, Side]],
    summary: pd.DataFrame,
    n_groups: Mapping[str, int],
    rules: Rules,
) -> pd.DataFrame:
    """Compare heads of few groups per class with those of all training groups, by store.

    Nothing of few groups is trained in halves: the errors are those without, raised for the share
    of the training groups as those of fractions are.

    Parameters
    ----------
    dataset, metric
        What the scores are of.
    sides
        Head and scheme -> store -> its score.
    summary
        From `summarise`, for the numbers of training groups.
    n_groups
        Scheme -> number of groups.
    rules
        What decides a difference.

    Returns
    -------
    pandas.DataFrame
        `COLUMNS`, one row per store, head, scheme and number of groups per class. `difference` is
        the score with few groups (`first_mean`) minus that with all (`second_mean`); `share` is
        the first divided by the second, NaN where that is 0. `n_train_groups` are means per fold:
        fewer than `groups_per_class` times the classes where a class has fewer.
    """
    parts = []
    for (head, scheme), stores in sorted(sides.items(), key=lambda item: item[0]):
        k, whole = groups_per_class(scheme), with_all_groups(scheme)
        full = sides.get((head, whole), {})
        pairs = [(side, full[store]) for store, side in sorted(stores.items()) if store in full]
        if not k or head.kind == FLOOR or not pairs:
            continue
        sizes = [_n_train_groups(summary, dataset, metric, head, each) for each in (scheme, whole)]
        inflation = Inflation.without_halves(n_groups[scheme]).at_fraction(sizes[0] / sizes[1])
        found = compare_pairs(pairs, n_groups[scheme], rules, _always(inflation))
        share = np.stack([_ratio(*pair) for pair in pairs], axis=1)
        low, high = interval(share[0], variances(share), inflation, rules.confidence, 0)
        about = {
            "dataset": dataset,
            "scheme": whole,
            **head.columns,
            "metric": metric,
            "groups_per_class": k,
            "n_train_groups": sizes[0],
            "n_train_groups_of_all": sizes[1],
            "share": share[0],
            "share_low": low,
            "share_high": high,
        }
        named = pd.DataFrame([side.store.columns for side, _ in pairs])
        parts.append(pd.concat([named, found], axis=1).assign(**about))
    if not parts:
        return pd.DataFrame(columns=COLUMNS)
    table = pd.concat(parts, ignore_index=True).astype({"k": "Int64"})[COLUMNS]
    keys = [*COLUMNS[:4], *COLUMNS[5:8]]
    return table.sort_values(keys, kind="stable", ignore_index=True)


def _always(inflation: Inflation) -> Callable[[Floats, Floats], Inflation]:
    return lambda _draws, _halves: inflation


def _n_train_groups(
    summary: pd.DataFrame, dataset: str, metric: str, head: Head, scheme: str
) -> float:
    rows = matching(summary, head, dataset=dataset, metric=metric, scheme=scheme)
    return float(rows.loc[rows["fraction"] == rows["fraction"].max(), "n_train_groups"].mean())


def _ratio(few: Side, full: Side) -> Floats:
    unknown = np.full_like(full.scores, np.nan, dtype=np.float64)
    return np.divide(few.scores, full.scores, out=unknown, where=full.scores > 0)


def few_groups_in_sentences(rows: pd.DataFrame, chosen: pd.DataFrame) -> Iterator[str]:
    """Say what few groups per class are worth to the highest store of each split.

    Parameters
    ----------
    rows
        From `few_groups`, of one dataset.
    chosen
        The best store of each scheme of the dataset.
    """
    for _, best in chosen.sort_values("scheme", key=lambda s: s.map(scheme_order)).iterrows():
        named = {key: best[key] for key in ("scheme", "backbone", "channels")}
        for row in matching(rows, head_of(best), **named).to_dict("records"):
            reached = f"reaches {number(row['first_mean'])}"
            if not np.isnan(row["share"]):
                reached += (
                    f", {row['share']:.0%} ({row['share_low']:.0%} to {row['share_high']:.0%}) of "
                    "its full score"
                )
            n = int(row["n_comparisons"])
            corrected = f", after correction for {count(n, 'store')}" if n > 1 else ""
            yield (
                f"By {scheme_name(best['scheme'])}, with "
                f"{count(int(row['groups_per_class']), 'group')} per class "
                f"({row['n_train_groups']:.0f} of {row['n_train_groups_of_all']:.0f} training "
                f"groups), {store_name(best)} {reached} ({number(row['second_mean'])}): a "
                f"difference of {gap(row)}, {VERDICTS[row['verdict']]}{corrected}."
            )


# Verdict on the score with few groups minus that with all -> words.
VERDICTS = {
    "equal": "practically nothing",
    "worse": "a loss that is shown",
    "better": "a gain that is shown",
    "undecided": "undecided",
}
