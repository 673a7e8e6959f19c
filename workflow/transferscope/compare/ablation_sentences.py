"""What heads lose without a channel, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from transferscope.compare.tables import head_of, matching
from transferscope.compare.wording import METRIC_NAMES, count, gap, number, quoted, store_name
from transferscope.config.ablation import PERMUTED, ZEROED
from transferscope.config.results import CompareSettings

DONE = {
    ZEROED: "one channel black",
    PERMUTED: "one channel that of a tile of another group",
}
# Classes that are named in one sentence.
MOST_NAMED = 12
READ = (
    "The heads are those that were trained on untouched tiles of the training groups; only the "
    "test tiles lack a channel, which is either black or that of a tile of another group. A loss "
    "is the score of the untouched tiles minus that of the same tiles without the channel. A "
    "channel carries a class if its loss is shown, and shown to be larger than that of any other "
    "channel. What a head does not use it does not lose: without a channel, other heads may find "
    "the class in the others. Two channels that show the same may replace each other. A black "
    "channel is a tile that no head was trained on; an exchanged one is not, and is told first."
)


def ablation_in_short(
    dataset: str, tables: Mapping[str, pd.DataFrame], settings: CompareSettings
) -> Iterator[str]:
    """Say which channel carries each class, for the highest store that was ablated.

    Parameters
    ----------
    dataset
        Name of the dataset.
    tables
        `ablation`, `ablation_carriers`, `leaderboard` and `chosen`.
    settings
        Metric and margin.
    """
    for store in _stores(dataset, tables)[:1]:
        yield _carried(store, tables)


def ablation_at_length(
    dataset: str, tables: Mapping[str, pd.DataFrame], settings: CompareSettings
) -> Iterator[str]:
    """Say the same of every store and kind, what each channel costs, and how it was measured."""
    stores = _stores(dataset, tables)
    for store in stores:
        yield _carried(store, tables)
    for store in stores:
        yield _costs(store, tables, settings)
    if stores:
        yield READ


def _stores(dataset: str, tables: Mapping[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """Return store, kind and head, the highest store first, exchanged channels before black ones.

    The head is the one that was chosen, on validation tiles, for the dataset.
    """
    chosen = matching(tables["chosen"], dataset=dataset, scheme="group")
    losses = matching(tables["ablation"], dataset=dataset)
    if chosen.empty or losses.empty:
        return []
    head = head_of(chosen.iloc[0])
    own = matching(losses, head, **{"class": ""})
    named = own[["backbone", "channels", "kind", "first_mean"]].drop_duplicates(
        ["backbone", "channels", "kind"]
    )
    ranked = named.sort_values(["first_mean", "kind"], ascending=[False, True], kind="stable")
    ranked = ranked.assign(dataset=dataset, **head.columns)
    return [dict(zip(ranked.columns, row, strict=True)) for row in ranked.to_numpy()]


def _of(store: Mapping[str, Any], table: pd.DataFrame) -> pd.DataFrame:
    keys = ("dataset", "backbone", "channels", "kind")
    return matching(table, head_of(store), **{key: store[key] for key in keys})


def _carried(store: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]) -> str:
    rows = _of(store, tables["ablation_carriers"])
    shown = rows[rows["carries"].astype(bool)]
    parts = []
    for channel, own in shown.groupby("channel", sort=True):
        own = own.sort_values("loss", ascending=False, kind="stable")
        names = [f"{quoted(r['class'])} ({number(r['loss'])})" for r in own.to_dict("records")]
        rest = len(names) - MOST_NAMED
        told = ", ".join(names[:MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")
        parts.append(f"{quoted(channel)} carries {told}")
    undecided = rows[~rows["carries"].astype(bool)]["class"].tolist()
    if undecided:
        named = ", ".join(quoted(name) for name in undecided[:MOST_NAMED])
        rest = len(undecided) - MOST_NAMED
        more = f" and {rest} more" if rest > 0 else ""
        parts.append(f"for {named}{more} no single channel is shown to")
    corrected = f"after correction for channels and {count(len(rows), 'class')}"
    return (
        f"What the classes hang on, {store_name(store)}, {head_of(store)}, "
        f"{DONE[store['kind']]} (loss of F1, {corrected}): {'; '.join(parts) or 'nothing known'}."
    )


def _costs(
    store: Mapping[str, Any], tables: Mapping[str, pd.DataFrame], settings: CompareSettings
) -> str:
    rows = matching(_of(store, tables["ablation"]), **{"class": ""})
    metric = METRIC_NAMES.get(settings.metric, settings.metric)
    ranked = rows.sort_values("difference", ascending=False, kind="stable")
    told = [
        f"{quoted(row['channel'])} {gap(row)}, {_verdict(row, settings.margin)}"
        for row in ranked.to_dict("records")
    ]
    return (
        f"What each channel is worth, {store_name(store)}, {DONE[store['kind']]}, of {metric} "
        f"{number(store['first_mean'])}: {'; '.join(told)}."
    )


def _verdict(row: Any, margin: float) -> str:
    return {
        "equal": f"practically nothing (shown to be less than {margin:g})",
        "better": "shown",
        "worse": "shown to be a gain",
        "undecided": "undecided",
    }[str(row["verdict"])]
