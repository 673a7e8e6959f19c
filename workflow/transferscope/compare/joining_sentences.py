"""What joining backbones gains, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from transferscope.compare.tables import Head, head_of, matching
from transferscope.compare.wording import METRIC_NAMES, count, gap, number, quoted, verdict
from transferscope.config.channel_strategies import FEATURES, GIVEN
from transferscope.config.joining import CHOSEN, parts_of
from transferscope.config.results import CompareSettings

READ = (
    "A joined store has the columns of its parts, each part scaled on training tiles so that all "
    "count equally; heads have the folds and seeds of the parts' own. In each fold it is compared "
    "with the part that scored higher on validation tiles. A gain is told only if the joined store "
    "is shown to be better than that, and than each of the parts alone, one of which is truly the "
    "better one. Heads are logistic regression and k-NN, to which a backbone joined with its own "
    "copy is the backbone alone; linear heads and MLPs, trained for a number of epochs, learn more "
    "in them from more columns, whatever these hold."
)


def joining_in_short(
    dataset: str, tables: Mapping[str, pd.DataFrame], settings: CompareSettings
) -> Iterator[str]:
    """Say what each joined store gains over the better of its parts, the highest one first.

    The head is the one that was chosen, on validation tiles, for the dataset, if joined stores
    have it; else logistic regression.

    Parameters
    ----------
    dataset
        Name of the dataset.
    tables
        `joined` and `chosen`.
    settings
        Metric and margin.
    """
    head = _head(dataset, tables)
    if head is None:
        return
    for row in _against_chosen(dataset, head, tables["joined"]):
        yield _gained(row, _of(row, tables["joined"]), settings)


def joining_at_length(
    dataset: str, tables: Mapping[str, pd.DataFrame], settings: CompareSettings
) -> Iterator[str]:
    """Say the same of every head, what the parts score alone, and how it was measured."""
    first, joined = _head(dataset, tables), tables["joined"]
    own = matching(joined, dataset=dataset)
    heads = sorted({head_of(row) for row in own.to_dict("records")}, key=lambda h: (h != first, h))
    for head in heads:
        for row in _against_chosen(dataset, head, joined):
            of_parts = _of(row, joined)
            yield _gained(row, of_parts, settings)
            yield _alone(row, of_parts, settings)
    if heads:
        yield READ


def _head(dataset: str, tables: Mapping[str, pd.DataFrame]) -> Head | None:
    """Return the head that was chosen for the dataset, or else logistic regression."""
    chosen = matching(tables["chosen"], dataset=dataset, scheme="group")
    known = {head_of(row) for row in matching(tables["joined"], dataset=dataset).to_dict("records")}
    wanted = [*map(head_of, chosen.to_dict("records")), Head("logreg")]
    return next((head for head in wanted if head in known), None)


def _against_chosen(dataset: str, head: Head, joined: pd.DataFrame) -> list[dict[str, Any]]:
    rows = matching(joined, head, dataset=dataset, against=CHOSEN)
    ranked = rows.sort_values("first_mean", ascending=False, kind="stable")
    return [dict(zip(ranked.columns, row, strict=True)) for row in ranked.to_numpy()]


def _of(row: Mapping[str, Any], joined: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a joined store and head against each part."""
    keys = ("dataset", "backbone", "channels")
    own = matching(joined, head_of(row), **{key: row[key] for key in keys})
    alone = own[own["against"] != CHOSEN].sort_values("against", kind="stable")
    return [dict(zip(alone.columns, values, strict=True)) for values in alone.to_numpy()]


def _named(row: Mapping[str, Any]) -> str:
    names = " and ".join(map(quoted, parts_of(row["backbone"])))
    return names if row["channels"] in (FEATURES, GIVEN) else f"{names} ({row['channels']})"


def _gained(
    row: Mapping[str, Any], of_parts: list[dict[str, Any]], settings: CompareSettings
) -> str:
    metric = METRIC_NAMES.get(settings.metric, settings.metric)
    chosen = " and ".join(
        f"{quoted(each['part'])} in {each['n_chosen']}" for each in of_parts if each["n_chosen"]
    )
    if row["gain"]:
        told = "a gain, shown against each of them, too"
    elif row["verdict"] == "better":
        told = "shown against that, but not against each of them: no gain is told"
    else:
        told = f"{verdict(row, settings.margin)}: no gain is told"
    return (
        f"{_named(row)} joined, {head_of(row)}: {metric} {number(row['first_mean'])}, {gap(row)} "
        f"against the part that validation tiles choose ({chosen} of "
        f"{count(int(row['n_chosen']), 'fold')}): {told}."
    )


def _alone(
    row: Mapping[str, Any], of_parts: list[dict[str, Any]], settings: CompareSettings
) -> str:
    told = [
        f"{quoted(each['part'])} {number(each['second_mean'])}, joined {gap(each)}, "
        f"{verdict(each, settings.margin)}"
        for each in of_parts
    ]
    return f"{_named(row)}, each alone, {head_of(row)}: {'; '.join(told)}."
