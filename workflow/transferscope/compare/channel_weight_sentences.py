"""What weights of channels are worth, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from transferscope.compare.tables import matching
from transferscope.compare.wording import METRIC_NAMES, gap, number, quoted, store_name, verdict
from transferscope.config.results import CompareSettings

READ = (
    "Weights multiply the standardised features of a channel before logistic regression; they are "
    "a softmax of how well each channel alone does on the validation tiles of the training folds, "
    "as sharp as these tiles favour, and equal where nothing else is better there. Intervals of "
    "weights are over groups. A weight says how much the penalty spares a channel, not how much "
    "the class depends on it: what two channels show alike may be read from either."
)


def weights_in_short(
    dataset: str, tables: Mapping[str, pd.DataFrame], settings: CompareSettings
) -> Iterator[str]:
    """Say what weights are and are worth, for the store with the highest score with weights.

    Parameters
    ----------
    dataset
        Name of the dataset.
    tables
        `channel_gains` and `channel_weights`.
    settings
        Metric and margin.
    """
    for row in _ranked(dataset, tables)[:1]:
        yield _told(row, tables, settings)


def weights_at_length(
    dataset: str, tables: Mapping[str, pd.DataFrame], settings: CompareSettings
) -> Iterator[str]:
    """Say the same of every store, and how it was measured."""
    rows = _ranked(dataset, tables)
    for row in rows:
        yield _told(row, tables, settings)
    if rows:
        yield READ


def _ranked(dataset: str, tables: Mapping[str, pd.DataFrame]) -> list[dict[str, Any]]:
    own = matching(tables["channel_gains"], dataset=dataset, **{"class": ""})
    order = ["first_mean", "backbone"]
    ranked = own.sort_values(order, ascending=[False, True], kind="stable")
    return [{str(key): value for key, value in row.items()} for row in ranked.to_dict("records")]


def _told(
    row: Mapping[str, Any], tables: Mapping[str, pd.DataFrame], settings: CompareSettings
) -> str:
    named = {key: row[key] for key in ("dataset", "backbone", "channels")}
    own = matching(tables["channel_weights"], **named)
    ranked = own.sort_values("weight", ascending=False, kind="stable").to_dict("records")
    weights = ", ".join(f"{quoted(one['channel'])} {_weight(one)}" for one in ranked)
    metric = METRIC_NAMES.get(settings.metric, settings.metric)
    return (
        f"Channels weighted inside the training folds, {store_name(row)}: {weights}. "
        f"{metric[:1].upper()}{metric[1:]} {number(row['first_mean'])} rather than "
        f"{number(row['second_mean'])} with equal weights, {gap(row)}: "
        f"{verdict(row, settings.margin)}."
    )


def _weight(row: Mapping[Any, Any]) -> str:
    if np.isnan(row["ci_low"]):
        return f"{row['weight']:.2f}"
    return f"{row['weight']:.2f} [{row['ci_low']:.2f}, {row['ci_high']:.2f}]"
