"""Backbones in order of size: families of networks, and the scales that a network sees tiles at.

Members of a family differ in their number of weights, those of a sweep in the size of their input
or its pixels. Each has its weights once: there is no spread of repeated trainings to fit a curve
by. Points have intervals over groups, and changes are paired differences.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from transferscope.compare.paired import COLUMNS as PAIRED
from transferscope.compare.paired import as_gap, between
from transferscope.compare.selection import at_full_fraction
from transferscope.compare.tables import HEAD, Store, head_of, matching
from transferscope.compare.wording import (
    capitalised,
    estimate,
    gap,
    number,
    operations,
    quoted,
    verdict,
)
from transferscope.config.jobs import FamilyMember
from transferscope.config.probed import backbone_of
from transferscope.config.results import CompareSettings

# What is the same for all points of a line.
LINE = ["dataset", "scheme", "axis", "family", "representation", "channels"]
COLUMNS = [
    "dataset",
    "scheme",
    *HEAD,
    "axis",
    "family",
    "representation",
    "channels",
    "backbone",
    "size",
    "operations",
    "mean",
    "ci_low",
    "ci_high",
    *PAIRED,
]
# The axis along which tiles are seen in more detail; pixels of a smaller size are finer.
INPUT_SIZE = "input_size"
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
        Backbone -> its family or sweep, and its size.
    costs
        Dataset -> store -> floating-point operations per tile.
    metric
        The headline metric.

    Returns
    -------
    pandas.DataFrame
        `COLUMNS`, with the head that stands for all stores, all training labels. `representation`
        is the output and the correction that all points of a line share, such as ``@mean+tvn``.
        `difference` is paired over groups: of a family from the smallest member, of a sweep from
        the finest scale; missing for that itself.
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
            axis=[members[card].axis for card in rows["card"]],
            family=[members[card].family for card in rows["card"]],
            size=[members[card].size or np.nan for card in rows["card"]],
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
    line = line.sort_values(["size", "card"], kind="stable").reset_index(drop=True)
    against = line.iloc[-1 if line["axis"].iloc[0] == INPUT_SIZE else 0]
    found = [between(row, against, pairs) for row in line.to_dict("records")]
    return pd.concat([line.assign(backbone=line["card"]), pd.DataFrame(found)], axis=1)


def families_in_sentences(
    table: pd.DataFrame, dataset: str, settings: CompareSettings, most: int | None = None
) -> Iterator[str]:
    """Say what the largest member of each family is worth, and which scale of a sweep is needed.

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
        first = line.iloc[0]
        how = f"{quoted(first['family'])} with {quoted(first['channels'])}"
        if first["representation"]:
            how += f" ({quoted(first['representation'])})"
        said = _of_family if first["axis"] == "parameters" else _of_sweep
        yield f"{how}: {said(line, settings)}"
    if len(lines) > len(lines[:most]):
        yield "More of these: see `compare/families.csv`."


def _of_family(line: pd.DataFrame, settings: CompareSettings) -> str:
    first, last = line.iloc[0], line.iloc[-1]
    return (
        f"from {_size(first)} to {_size(last)}, the score goes from "
        f"{estimate(first, settings.confidence)} to {estimate(last, settings.confidence)}; the "
        f"difference: {_change(last, settings)}."
    )


def _of_sweep(line: pd.DataFrame, settings: CompareSettings) -> str:
    """Say how far tiles can be reduced: the coarsest scale up to which nothing is lost."""
    is_size = line["axis"].iloc[0] == INPUT_SIZE
    # From the finest scale, with which the others are compared, to the coarsest.
    line = line.iloc[::-1] if is_size else line
    finest, coarser = line.iloc[0], line.iloc[1:]
    scores = [f"{number(row['mean'])} at {_scale(row)}" for _, row in line.iterrows()]
    start = f"the score is {', '.join(scores[:-1])} and {scores[-1]}"
    enough = coarser[coarser["verdict"].isin(["equal", "better"]).cummin()]
    if len(enough):
        least = enough.iloc[-1]
        return (
            f"{start}. {capitalised(_scale(least))} is enough: the difference from "
            f"{_scale(finest)} is {_change(least, settings)}."
        )
    worse = coarser[coarser["verdict"] == "worse"]
    nearest = worse.iloc[0] if len(worse) else coarser.iloc[-1]
    shown = "A loss is shown at" if len(worse) else "No loss is shown, and no equality, down to"
    return (
        f"{start}. {shown} {_scale(nearest)}: the difference from {_scale(finest)} is "
        f"{_change(nearest, settings)}."
    )


def _change(row: pd.Series, settings: CompareSettings) -> str:
    if np.isnan(row["difference"]):
        return "not known"
    return f"{gap(as_gap(row))}, {verdict(row, settings.margin)}"


def _scale(row: pd.Series) -> str:
    return f"{row['size']:g} {'px' if row['axis'] == INPUT_SIZE else 'um/px'}"


def _size(row: pd.Series) -> str:
    weights, cost = row["size"], row["operations"]
    known = [] if np.isnan(weights) else [f"{weights / 1e6:.2g} M weights"]
    known += [] if np.isnan(cost) else [operations(cost)]
    return f"{quoted(row['backbone'])} ({', '.join(known) or 'of unknown size'})"
