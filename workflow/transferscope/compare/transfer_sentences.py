"""What heads are worth on another dataset, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from transferscope.compare.tables import head_of, matching
from transferscope.compare.wording import (
    METRIC_NAMES,
    count,
    gap,
    number,
    percent,
    quoted,
    signed,
    store_name,
)
from transferscope.config.results import CompareSettings
from transferscope.config.transfer import ALONE, FEW_SHOT, OWN, ZERO_SHOT, n_labelled, with_labels

READ = (
    "Heads and k-NN were trained on the training groups of the first dataset (zero-shot), on these "
    "and a few labelled groups per class of the second (few-shot), on the few alone, and on all "
    "training groups of the second (own); all were tested on the same groups of the second, and of "
    "classes that both have. Scalers, thresholds and early stopping use training groups only. "
    "Groups of the test were never trained on, neither under the same name in the first dataset. "
    "Intervals hold for other groups like those of both datasets; verdicts are corrected for all "
    "stores and all pairs of datasets. How a third dataset would differ, they do not tell."
)


def title(source: str, dataset: str) -> str:
    """Return the title of the section of a pair."""
    return f"Trained on {quoted(source)}, tested on {quoted(dataset)}"


def pairs_of(tables: Mapping[str, pd.DataFrame]) -> list[tuple[str, str]]:
    """Return all pairs of datasets, what is trained on first; none without such tables."""
    if "transfer" not in tables:
        return []
    named = tables["transfer"][["source", "dataset"]].drop_duplicates()
    return sorted((str(one), str(other)) for one, other in named.to_numpy())


def transfer_in_short(
    pair: tuple[str, str], tables: Mapping[str, pd.DataFrame], settings: CompareSettings
) -> Iterator[str]:
    """Say what heads are worth on another dataset, for the store that is the best at home.

    Parameters
    ----------
    pair
        What is trained on, and what is tested.
    tables
        `transfer`, `transfer_costs`, `transfer_ranks`, `transfer_pairs` and `chosen`.
    settings
        Metric, coverage and margin.
    """
    row = _chosen(pair, tables)
    if row is None:
        return
    yield from _of_store(row, tables, settings)
    yield from _of_ranks(row, tables)


def transfer_at_length(
    pair: tuple[str, str], tables: Mapping[str, pd.DataFrame], settings: CompareSettings
) -> Iterator[str]:
    """Say the same, and the scores of every store, and how all of it was measured."""
    row = _chosen(pair, tables)
    if row is None:
        return
    yield from transfer_in_short(pair, tables, settings)
    named = {"source": pair[0], "dataset": pair[1]}
    others = matching(tables["transfer"], head_of(row), scheme=ZERO_SHOT, **named)
    for _, other in others.iterrows():
        if (other["backbone"], other["channels"]) != (row["backbone"], row["channels"]):
            yield from _of_store(other, tables, settings)
    yield READ
    yield _interval_note(settings, len(pairs_of(tables)))


def _chosen(pair: tuple[str, str], tables: Mapping[str, pd.DataFrame]) -> Any:
    """Return the row of the store that stands for a pair, zero-shot; None: there is none.

    The head is the one that was chosen, on validation tiles, for the dataset that is trained on,
    and the store the highest there, so that nothing of the tested dataset chooses.
    """
    source, dataset = pair
    rows = matching(tables["transfer"], source=source, dataset=dataset, scheme=ZERO_SHOT)
    chosen = matching(tables["chosen"], dataset=source, scheme="group")
    if chosen.empty or rows.empty:
        return None
    best = chosen.iloc[0]
    own = matching(rows, head_of(best))
    same = matching(own, backbone=best["backbone"], channels=best["channels"])
    found = next((table for table in (same, own) if not table.empty), None)
    return None if found is None else found.iloc[0].to_dict()


def _of_store(
    row: Any, tables: Mapping[str, pd.DataFrame], settings: CompareSettings
) -> Iterator[str]:
    """Say what the heads of one store are worth on the other dataset, and what labels add."""
    named = {key: row[key] for key in ("source", "dataset", "backbone", "channels")}
    head = head_of(row)
    costs = matching(tables["transfer_costs"], head, **named)
    cost = _one(costs, OWN, ZERO_SHOT)
    own = matching(tables["transfer"], head, scheme=OWN, **named).iloc[0]
    metric = METRIC_NAMES.get(settings.metric, settings.metric)
    yield (
        f"{store_name(row)}, {head}: {metric} {number(row['mean'])} ({number(row['ci_low'])} to "
        f"{number(row['ci_high'])}){_above_floor(row)}; heads trained on {quoted(row['dataset'])} "
        f"itself reach {number(own['mean'])}. That they are from {quoted(row['source'])} costs "
        f"{gap(cost)}, {_verdict(cost, settings.margin, 'a gain')} "
        f"(trained on {row['n_train_groups']:.0f} groups, and on {own['n_train_groups']:.0f})."
    )
    counts = sorted({n_labelled(name) for name in costs["better_with"]} - {0})
    for k in counts[-1:]:
        few = with_labels(FEW_SHOT, k)
        gain, worth = _one(costs, few, ZERO_SHOT), _one(costs, few, with_labels(ALONE, k))
        yield (
            f"{store_name(row)}: {count(k, 'labelled group')} per class of "
            f"{quoted(row['dataset'])} added to the training bring {gap(gain)}, "
            f"{_verdict(gain, settings.margin, 'a loss')}. With these labels, "
            f"{quoted(row['source'])} is worth {gap(worth)} more than the labels alone, "
            f"{_verdict(worth, settings.margin, 'a harm')}."
        )


def _of_ranks(row: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]) -> Iterator[str]:
    """Say whether the stores rank alike in and out of domain."""
    named = {key: row[key] for key in ("source", "dataset")}
    found = matching(tables["transfer_ranks"], head_of(row), **named)
    if found.empty:
        return
    rank = found.iloc[0]
    inside, outside = quoted(rank["best_inside"]), quoted(rank["best_outside"])
    places = f"the highest on {quoted(row['source'])} itself"
    if rank["best_inside"] == rank["best_outside"]:
        said = f"{inside}, {places}, is the highest on {quoted(row['dataset'])}, too"
    elif rank["best_inside_may_be_best"]:
        said = (
            f"{inside}, {places}, may be the best on {quoted(row['dataset'])}, too, where "
            f"{outside} is the highest (at most {number(rank['best_inside_behind'])} behind)"
        )
    else:
        said = (
            f"{inside}, {places}, is shown not to be the best on {quoted(row['dataset'])}, where "
            f"{outside} is the highest (at most {number(rank['best_inside_behind'])} behind)"
        )
    yield (
        f"Ranking of {count(int(rank['n_stores']), 'store')}, in and out of domain: {said}. Of "
        f"{count(int(rank['n_pairs']), 'pair')} of stores, {rank['n_same']} are shown to differ in "
        f"the same direction in both places, {rank['n_opposite']} in opposite ones, and "
        f"{rank['n_changed']} are shown to differ by another amount; Kendall's tau of the scores "
        f"is {signed(rank['kendall_tau'])}."
    )


def _one(costs: pd.DataFrame, first: str, second: str) -> Any:
    return matching(costs, better_with=first, than=second).iloc[0]


def _above_floor(row: Mapping[str, Any]) -> str:
    return {
        "better": ", shown to be above the floor",
        "undecided": ", not shown to be above the floor",
        "equal": ", practically at the floor",
        "worse": ", shown to be below the floor",
    }.get(str(row["above_floor"]), "")


def _verdict(row: Any, margin: float, opposite: str) -> str:
    n = int(row["n_comparisons"])
    corrected = f", after correction for {count(n, 'comparison')}" if n > 1 else ""
    return {
        "equal": f"practically nothing (shown to be less than {margin:g})",
        "better": f"shown{corrected}",
        "worse": f"shown to be {opposite}{corrected}",
        "undecided": f"undecided{corrected}",
    }[str(row["verdict"])]


def _interval_note(settings: CompareSettings, n_pairs: int) -> str:
    """Say what the intervals cover."""
    return (
        f"Intervals cover {percent(settings.confidence)} for all "
        f"{count(n_pairs, 'pair')} of datasets at once."
    )
