"""Selection of one head for all stores of a dataset, and of the best store with it."""

from __future__ import annotations

import pandas as pd

from transferscope.compare.tables import HEAD, matching
from transferscope.config.modes import is_tuned
from transferscope.probes.score_table import FLOOR

RULE = (
    "One head stands for all stores of a dataset: of the heads that were run on the most stores "
    "and split schemes, the one with the highest mean over these at the full fraction."
)
CHOSEN_COLUMNS = ["dataset", "scheme", "head", "k", "backbone", "channels", "n_stores"]


def at_full_fraction(summary: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the rows of one metric at the largest fraction of each dataset."""
    rows = matching(summary, metric=metric)
    largest = rows.groupby("dataset")["fraction"].transform("max")
    return rows[rows["fraction"] == largest]


def choose(summary: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Choose one head per dataset, and with it the best store per split scheme.

    The head is not chosen per store, so that all stores are treated equally and every comparison is
    between equal heads, on frozen backbones.

    Parameters
    ----------
    summary
        From `summarise`.
    metric
        The headline metric.

    Returns
    -------
    pandas.DataFrame
        `CHOSEN_COLUMNS`, one row per dataset and split scheme; `n_stores` is the number of stores
        with that head. Datasets with no head except the floor have no row.
    """
    rows = at_full_fraction(summary, metric)
    frozen = ~rows["head"].map(is_tuned) & (rows["head"] != FLOOR)
    rows = rows[frozen & rows["mean"].notna()]
    parts = [_choose_one(table) for _, table in rows.groupby("dataset", sort=True)]
    if not parts:
        return pd.DataFrame(columns=CHOSEN_COLUMNS)
    return pd.concat(parts, ignore_index=True)[CHOSEN_COLUMNS]


def _choose_one(rows: pd.DataFrame) -> pd.DataFrame:
    heads = rows.groupby(HEAD, dropna=False, sort=True)["mean"].agg(["size", "mean"]).reset_index()
    widest = heads[heads["size"] == heads["size"].max()]
    head = widest.sort_values("mean", ascending=False, kind="stable").iloc[:1][HEAD]
    same = rows.merge(head, on=HEAD)
    same["n_stores"] = same.groupby("scheme")["scheme"].transform("size")
    ranked = same.sort_values(
        ["scheme", "mean", "backbone", "channels"],
        ascending=[True, False, True, True],
        kind="stable",
    )
    return ranked.drop_duplicates("scheme")
