"""The map that recalls most, of which details are shown."""

from __future__ import annotations

import pandas as pd

from transferscope.relations.table_names import ALL_PAIRS, LABELS_ONLY, RANDOM, SCORED, TWO_SIDED


def best_map(recall: pd.DataFrame, source: str | None = None) -> tuple[str, str] | None:
    """Return name and correction of the map with the highest two-sided recall.

    Parameters
    ----------
    recall
        Recall, as `relations.recall` returns it.
    source
        Of which pairs; None: the mean over the sources.

    Returns
    -------
    tuple or None
        The first of equal ones; None if no map was scored.
    """
    rows = recall[(recall["measure"] == TWO_SIDED) & (recall["status"] == SCORED)]
    rows = rows[(rows["null"] == ALL_PAIRS) & ~rows["map"].isin([RANDOM, LABELS_ONLY])]
    rows = rows[rows["threshold"] == rows["threshold"].head(1).max()]
    if source is not None:
        rows = rows[rows["source"] == source]
    if rows.empty:
        return None
    means = rows.groupby(["map", "correction"], sort=False)["value"].mean()
    name, correction = means.idxmax()
    return str(name), str(correction)
