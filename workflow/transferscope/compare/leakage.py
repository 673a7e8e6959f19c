"""What backbones trained in the study saw of the datasets on which they are evaluated."""

from __future__ import annotations

import pandas as pd

from transferscope.compare.tables import matching
from transferscope.config.channel_strategies import MAP_RANDOM

SEEN = {
    "images": "images of {dataset}, those of test groups included, but no labels",
    "images and groups": "images of {dataset} and the names of their groups, test groups included",
}


def training_notes(summary: pd.DataFrame, dataset: str) -> list[str]:
    """Return notes on backbones that were trained on a dataset.

    Parameters
    ----------
    summary
        From `summarise`.
    dataset
        Name of the dataset.
    """
    rows = matching(summary, dataset=dataset)
    notes = []
    for seen, text in SEEN.items():
        if names := _names(matching(rows, seen_in_training=seen)):
            notes.append(f"In training, {names} saw {text.format(dataset=dataset)}.")
    if names := _names(_on_fewer_folds(rows)):
        notes.append(
            f"In training, {names} saw {dataset} without the test groups of one fold, and is "
            "evaluated on that fold alone; differences to others are on the same fold."
        )
    return notes


def _on_fewer_folds(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of stores that were evaluated on fewer folds than others."""
    rows = rows[(rows["channels"] != MAP_RANDOM) & (rows["scheme"] == "group")]
    same = rows.groupby(["head", "k", "fraction", "metric", "class"], dropna=False)
    return rows[rows["n_scores"] < same["n_scores"].transform("max")]


def _names(rows: pd.DataFrame) -> str:
    return " and ".join(sorted(set(rows["backbone"])))
