"""Selection of one head for all stores of a dataset, and of the best store with it."""

from __future__ import annotations

import pandas as pd

from transferscope.compare.tables import HEAD, matching
from transferscope.config.modes import is_tuned
from transferscope.config.schemes import is_headline, scheme_order
from transferscope.probes.score_table import FLOOR, VALIDATION_SCORE

# By what a head was chosen -> what is said of it.
CHOSEN_BY = {
    VALIDATION_SCORE: "validation tiles, by group if that split was made",
    "mean": "test tiles, because scores on validation tiles are missing, so that it is optimistic",
}
CHOSEN_COLUMNS = ["dataset", "scheme", "head", "k", "backbone", "channels", "n_stores", "chosen_by"]


def at_full_fraction(summary: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the rows of one metric at the largest fraction of each dataset."""
    rows = matching(summary, metric=metric)
    largest = rows.groupby("dataset")["fraction"].transform("max")
    return rows[rows["fraction"] == largest]


def choose(summary: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Choose one head per dataset, and with it the best store per split scheme.

    The head is not chosen per store, so that all stores are treated equally and every comparison is
    between equal heads, on frozen backbones. It is chosen by scores on validation rows, in the
    scheme `group` if that was made, so that neither test rows nor a split with groups on both sides
    decide. Where no head has validation scores, as in tables of older versions, test scores decide.

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
        with that head, `chosen_by` a key of `CHOSEN_BY`. Datasets with no head except the floor
        have no row.
    """
    rows = at_full_fraction(summary, metric)
    rows = rows[rows["scheme"].map(is_headline).astype(bool)]
    frozen = ~rows["head"].map(is_tuned) & (rows["head"] != FLOOR)
    rows = rows[frozen & rows["mean"].notna()]
    parts = [_choose_one(table) for _, table in rows.groupby("dataset", sort=True)]
    if not parts:
        return pd.DataFrame(columns=CHOSEN_COLUMNS)
    return pd.concat(parts, ignore_index=True)[CHOSEN_COLUMNS]


def _choose_one(rows: pd.DataFrame) -> pd.DataFrame:
    sizes = rows.groupby(HEAD, dropna=False)["mean"].transform("size")
    widest = rows[sizes == sizes.max()]
    by_group = widest[widest["scheme"] == "group"]
    deciding = widest if by_group.empty else by_group
    known = deciding.dropna(subset=[VALIDATION_SCORE])
    deciding, by = (deciding, "mean") if known.empty else (known, VALIDATION_SCORE)
    heads = deciding.groupby(HEAD, dropna=False, sort=True)[by].mean().reset_index()
    head = heads.sort_values(by, ascending=False, kind="stable").iloc[:1][HEAD]
    same = rows.merge(head, on=HEAD).assign(chosen_by=by)
    same["n_stores"] = same.groupby("scheme")["scheme"].transform("size")
    ranked = same.sort_values(
        ["scheme", "n_folds", "mean", "backbone", "channels"],
        ascending=[True, False, False, True, True],
        kind="stable",
    )
    best = ranked.drop_duplicates("scheme")
    return best.sort_values("scheme", key=lambda names: names.map(scheme_order))
