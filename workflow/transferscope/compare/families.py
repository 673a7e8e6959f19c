"""Families of backbones that were trained elsewhere: score against weights and computation.

Members differ in size, and each has its weights once: there is no spread of repeated trainings to
fit a curve by. Points have intervals over groups, and changes are paired differences.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from transferscope.compare.paired import COLUMNS as PAIRED
from transferscope.compare.paired import as_gap, between
from transferscope.compare.selection import at_full_fraction
from transferscope.compare.tables import HEAD, Store, head_of, matching
from transferscope.compare.wording import estimate, gap, operations, quoted, verdict
from transferscope.config.jobs import FamilyMember
from transferscope.config.probed import backbone_of
from transferscope.config.results import CompareSettings

# What is the same for all points of a line.
LINE = ["dataset", "scheme", "family", "representation", "channels"]
COLUMNS = [
    "dataset",
    "scheme",
    *HEAD,
    "family",
    "representation",
    "channels",
    "backbone",
    "parameters",
    "operations",
    "mean",
    "ci_low",
    "ci_high",
    *PAIRED,
]
# In the summary, which stays on one page.
LINES_IN_SHORT = 4


def family_table(
    summary: pd.DataFrame,
    chosen: pd.DataFrame,
    gaps: pd.DataFrame,
    members: Mapping[str, FamilyMember],
    costs: Mapping[str, Mapping[str, float]],
    metric: str,
) -> pd.DataFrame:
    """Return the scores of the members of each family, the smallest first.

    Parameters
    ----------
    summary, chosen, gaps
        The tables `summary`, `chosen` and `differences` of `compare`.
    members
        Backbone -> its family, and its number of weights.
    costs
        Dataset -> store -> floating-point operations per tile.
    metric
        The headline metric.

    Returns
    -------
    pandas.DataFrame
        `COLUMNS`, with the head that stands for all stores, all training labels. `representation`
        is the output and the correction that all points of a line share, such as ``@mean+tvn``.
        `difference` is from the smallest member, paired over groups; missing for that itself.
    """
    full, parts = at_full_fraction(summary, metric), []
    for one in chosen.to_dict("records"):
        of_split = {"dataset": one["dataset"], "scheme": one["scheme"]}
        rows = matching(full, head_of(one), **of_split)
        pairs = matching(gaps, head_of(one), kind="stores", **of_split)
        names = rows["backbone"].map(backbone_of)
        rows = rows.assign(card=names)[names.isin(list(members))]
        stores = [Store(row["backbone"], row["channels"]) for row in rows.to_dict("records")]
        known = costs.get(one["dataset"], {})
        rows = rows.assign(
            family=[members[card].family for card in rows["card"]],
            parameters=[members[card].parameters or np.nan for card in rows["card"]],
            operations=[known.get(str(store), np.nan) for store in stores],
            representation=[
                store.backbone.removeprefix(card)
                for store, card in zip(stores, rows["card"], strict=True)
            ],
        )
        for _, line in rows.groupby(LINE, sort=True):
            if line["card"].nunique() > 1:
                parts.append(_of_line(line, pairs))
    if not parts:
        return pd.DataFrame(columns=COLUMNS)
    return pd.concat(parts, ignore_index=True)[COLUMNS]


def _of_line(line: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    line = line.sort_values(["parameters", "card"], kind="stable").reset_index(drop=True)
    found = [between(row, line.iloc[0], pairs) for row in line.to_dict("records")]
    return pd.concat([line.assign(backbone=line["card"]), pd.DataFrame(found)], axis=1)


def families_in_sentences(
    table: pd.DataFrame, dataset: str, settings: CompareSettings, most: int | None = None
) -> Iterator[str]:
    """Say of each family what its largest member is worth, over its smallest.

    Parameters
    ----------
    table
        From `family_table`.
    dataset
        A dataset.
    settings
        Coverage and margin.
    most
        How many families and channel strategies are told of; None: all.
    """
    own = matching(table, dataset=dataset)
    own = matching(own, scheme="group") if "group" in set(own["scheme"]) else own
    lines = [line for _, line in own.groupby(LINE, sort=False)]
    for line in lines[:most]:
        first, last = line.iloc[0], line.iloc[-1]
        how = f"{quoted(first['family'])} with {quoted(first['channels'])}"
        if first["representation"]:
            how += f" ({quoted(first['representation'])})"
        change = (
            "their difference is not known"
            if np.isnan(last["difference"])
            else f"{gap(as_gap(last))}, {verdict(last, settings.margin)}"
        )
        yield (
            f"{how}: from {_size(first)} to {_size(last)}, the score goes from "
            f"{estimate(first, settings.confidence)} to {estimate(last, settings.confidence)}; the "
            f"difference: {change}."
        )
    if len(lines) > len(lines[:most]):
        yield "More families and channel strategies: see `compare/families.csv`."


def _size(row: pd.Series) -> str:
    weights, cost = row["parameters"], row["operations"]
    known = [] if np.isnan(weights) else [f"{weights / 1e6:.2g} M weights"]
    known += [] if np.isnan(cost) else [operations(cost)]
    return f"{quoted(row['backbone'])} ({', '.join(known) or 'of unknown size'})"
