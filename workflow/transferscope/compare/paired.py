"""The difference of two stores, as the table of all pairs has it, from either side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from transferscope.compare.tables import matching

COLUMNS = ["difference", "difference_low", "difference_high", "verdict", "n_comparisons"]
# Verdicts of a pair whose sides are exchanged.
EXCHANGED = {"better": "worse", "worse": "better"}


def between(one: Any, other: Any, pairs: pd.DataFrame) -> dict[str, Any]:
    """Return a store minus another one.

    Parameters
    ----------
    one, other
        Rows with `backbone` and `channels`.
    pairs
        Rows of `differences` of all pairs of stores, of one head and split scheme.

    Returns
    -------
    dict
        `COLUMNS`: NaN, no verdict and no comparison for a store and itself, and for stores that
        were not compared.
    """
    for sign, (first, second) in ((1, (one, other)), (-1, (other, one))):
        found = matching(
            pairs,
            first_backbone=first["backbone"],
            first_channels=first["channels"],
            second_backbone=second["backbone"],
            second_channels=second["channels"],
        )
        if len(found):
            row = found.iloc[0]
            low, high = sorted((sign * row["ci_low"], sign * row["ci_high"]))
            seen = row["verdict"] if sign > 0 else EXCHANGED.get(row["verdict"], row["verdict"])
            values = (sign * row["difference"], low, high, seen, int(row["n_comparisons"]))
            return dict(zip(COLUMNS, values, strict=True))
    return dict(zip(COLUMNS, (np.nan, np.nan, np.nan, "", 0), strict=True))


def as_gap(row: Any) -> dict[str, Any]:
    """Return a row with `COLUMNS` as `wording.gap` and `wording.verdict` take it."""
    renamed = {"ci_low": row["difference_low"], "ci_high": row["difference_high"]}
    return {**row, **renamed}
