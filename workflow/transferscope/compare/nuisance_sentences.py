"""What stores know besides biology, in sentences, from the tables of `compare_nuisances`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from transferscope.compare.nuisance import NuisanceTables
from transferscope.compare.tables import matching
from transferscope.compare.wording import count, number, percent, quoted, signed, store_name
from transferscope.config.probed import uncorrected
from transferscope.config.results import CompareSettings
from transferscope.probes.nuisance_scores import NUMBER

# Measures named in a sentence of the summary.
MOST_NUMBERS = 4
READ = (
    "All are predicted from tiles of other groups, on the folds by group: names, such as a batch, "
    "by logistic regression (balanced accuracy, whose floor is one over the number of values), "
    "numbers by ridge regression (R2 against the mean of the training groups, whose floor is 0). "
    "*Shown* is what is above its floor after correction (Holm) for all targets and stores of the "
    "dataset. What is predicted need not be a fault: an embedding that shows cells knows how many "
    "there are. It is one where it goes along with the classes."
)
READ_INDEX = (
    "The robustness index is SO / (SO + OS): of the nearest neighbours in other groups, SO are of "
    "the same class and another batch, OS of another class and the same batch, each divided by how "
    "many such tiles there are; 0.5 is what random neighbours have. With batches shuffled between "
    "groups of a class it is what these embeddings would have without any effect of batches; "
    "*shown* to matter is a batch whose index is below that, after correction (Holm) for all "
    "stores. A gain by a correction is called shown only where the batch was shown to matter "
    "before: to subtract the means of batches raises the index slightly, whatever they are."
)


def nuisances_in_short(
    dataset: str, chosen: pd.DataFrame, tables: NuisanceTables, settings: CompareSettings
) -> Iterator[str]:
    """Say what the highest store of a dataset knows besides biology.

    Parameters
    ----------
    dataset
        Name of the dataset.
    chosen
        Its best store of each split scheme.
    tables
        What was found.
    settings
        Coverage.
    """
    predicted = matching(tables.nuisance, dataset=dataset)
    if len(chosen):
        best = chosen.iloc[0]
        store = {name: best[name] for name in ("backbone", "channels")}
        own = matching(predicted, **store)
        scored = own[own["value"].notna()]
        columns, numbers = scored[scored["kind"] != NUMBER], scored[scored["kind"] == NUMBER]
        if len(columns):
            told = "; ".join(_column(row) for row in columns.to_dict("records"))
            yield f"Besides biology, the highest store ({store_name(best)}) knows {told}."
        if len(numbers):
            ordered = numbers.sort_values("value", ascending=False, kind="stable")
            told = "; ".join(_number(row) for row in ordered.head(MOST_NUMBERS).to_dict("records"))
            n_shown = int((numbers["shown"] == True).sum())  # noqa: E712
            yield (
                f"R2 of numbers, from other groups: {told}. Shown to be predicted: {n_shown} of "
                f"{len(numbers)}."
            )
    yield from _impossible(predicted)
    indices = matching(tables.robustness, dataset=dataset)
    for column, rows in indices.groupby("column", sort=False):
        yield from _index_in_short(str(column), rows, chosen, settings)


def nuisances_at_length(
    dataset: str, chosen: pd.DataFrame, tables: NuisanceTables, settings: CompareSettings
) -> Iterator[str]:
    """Say the same, of every store, and how to read it."""
    yield from nuisances_in_short(dataset, chosen, tables, settings)
    predicted = matching(tables.nuisance, dataset=dataset)
    scored = predicted[predicted["value"].notna()]
    for target, rows in scored.groupby("target", sort=False):
        ordered = rows.sort_values("value", ascending=False, kind="stable").to_dict("records")
        told = "; ".join(f"{store_name(row)} {_value(row)}" for row in ordered)
        floor = number(float(ordered[0]["floor"]))
        yield f"{quoted(target)}, floor {floor}: {told}."
    if len(scored):
        yield READ
    indices = matching(tables.robustness, dataset=dataset)
    found = indices[indices["robustness_index"].notna()]
    for column, rows in found.groupby("column", sort=False):
        in_order = rows.sort_values("robustness_index", ascending=False, kind="stable")
        told = "; ".join(f"{store_name(row)} {_index(row)}" for row in in_order.to_dict("records"))
        yield f"Robustness index against {quoted(column)}: {told}."
    if len(found):
        yield READ_INDEX


def _column(row: Any) -> str:
    left_out = int(row["n_left_out"])
    some = f", {count(left_out, 'value')} in one fold left out" if left_out else ""
    return (
        f"{quoted(row['target'])}: balanced accuracy {_value(row)}, floor "
        f"{number(row['floor'])}, {'shown' if row['shown'] else 'not shown'}{some}"
    )


def _number(row: Any) -> str:
    return f"{quoted(row['target'])} {_value(row)}"


def _value(row: Any) -> str:
    return f"{number(row['value'])} ({number(row['ci_low'])} to {number(row['ci_high'])})"


def _index(row: Any) -> str:
    shown = "the batch is shown to matter" if row["shown"] else "not shown to matter"
    return (
        f"{number(row['robustness_index'])} ({number(row['ci_low'])} to {number(row['ci_high'])}; "
        f"shuffled {number(row['shuffled'])}, {shown})"
    )


def _impossible(predicted: pd.DataFrame) -> Iterator[str]:
    """Say what cannot be predicted, once for all stores."""
    for (target, reason), _ in predicted[predicted["reason"] != ""].groupby(
        ["target", "reason"], sort=False
    ):
        yield f"{quoted(target)} cannot be predicted: {reason}."


def _index_in_short(
    column: str, rows: pd.DataFrame, chosen: pd.DataFrame, settings: CompareSettings
) -> Iterator[str]:
    for reason in rows.loc[rows["reason"] != "", "reason"].unique():
        yield f"No robustness index against {quoted(column)}: {reason}."
    found = rows[rows["robustness_index"].notna()]
    if found.empty or chosen.empty:
        return
    best = chosen.iloc[0]
    own = matching(found, backbone=best["backbone"], channels=best["channels"])
    for row in own.to_dict("records"):
        matters = (
            f"{quoted(column)} is shown to matter"
            if row["shown"]
            else f"{quoted(column)} is not shown to matter"
        )
        yield (
            f"Neighbours of {store_name(best)}: the robustness index against {quoted(column)} is "
            f"{number(row['robustness_index'])} ({percent(settings.confidence)} interval "
            f"{number(row['ci_low'])} to {number(row['ci_high'])}; 0.5: neighbours share class and "
            f"{quoted(column)} alike), and {number(row['shuffled'])} with {quoted(column)} "
            f"shuffled: {matters}."
        )
    base = uncorrected(str(best["backbone"]))
    corrected = found[found["gain"].notna() & (found["channels"] == best["channels"])]
    corrected = corrected[corrected["backbone"].map(uncorrected) == base]
    told = [
        f"{store_name(row)} {signed(row['gain'])} ({signed(row['gain_low'])} to "
        f"{signed(row['gain_high'])}, {'shown' if row['gain_shown'] else 'not shown'})"
        for row in corrected.to_dict("records")
    ]
    if told:
        yield f"What corrections change of it: {'; '.join(told)}."
