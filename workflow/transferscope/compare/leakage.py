"""What backbones saw, in training, of the datasets on which they are evaluated."""

from __future__ import annotations

import pandas as pd

from transferscope.compare.tables import matching
from transferscope.config.channel_strategies import MAP_RANDOM
from transferscope.config.jobs import Comparison
from transferscope.config.results import CompareSettings

SEEN = {
    "images": "images of {dataset}, those of test groups included, but no labels",
    "images and groups": "images of {dataset} and the names of their groups, test groups included",
    "in another dataset": (
        "images of other datasets in which groups have the names of test groups of {dataset}"
    ),
}


def training_notes(
    summary: pd.DataFrame, dataset: str, settings: CompareSettings | None = None
) -> list[str]:
    """Return notes on backbones that have seen a dataset, or its groups, in training.

    Parameters
    ----------
    summary
        From `summarise`.
    dataset
        Name of the dataset.
    settings
        Of the comparison: a `Comparison` knows what published weights may have seen.
    """
    rows = matching(summary, dataset=dataset)
    notes = []
    for seen, text in SEEN.items():
        if names := _names(matching(rows, seen_in_training=seen)):
            notes.append(f"In training, {names} saw {text.format(dataset=dataset)}.")
    if names := _names(_on_fewer_folds(rows)):
        notes.append(
            f"The training of {names} left out the test groups of one fold of {dataset}, by name "
            f"in every dataset; scores of {names} and differences to others are on that fold alone."
        )
    known = settings.may_have_seen if isinstance(settings, Comparison) else {}
    if names := _names(rows[rows["backbone"].isin(known.get(dataset, []))]):
        notes.append(
            f"The published weights of {names} were trained on a collection that may hold images "
            f"or groups of {dataset}: they may have seen those that are tested."
        )
    return notes


def _on_fewer_folds(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of stores that were evaluated on fewer folds than others."""
    rows = rows[(rows["channels"] != MAP_RANDOM) & (rows["scheme"] == "group")]
    same = rows.groupby(["head", "k", "fraction", "metric", "class"], dropna=False)
    return rows[rows["n_scores"] < same["n_scores"].transform("max")]


def _names(rows: pd.DataFrame) -> str:
    return " and ".join(sorted(set(rows["backbone"])))
