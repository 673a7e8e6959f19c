"""What is lost out of domain, in sentences, from the tables of `mask_shifts`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from transferscope.compare.masks import MaskTables
from transferscope.compare.tables import Store, matching
from transferscope.compare.wording import count, number, quoted, signed, store_name
from transferscope.segmentation.table_names import DICE, PQ, TESTED_ON

METRICS = {DICE: "Dice", PQ: "PQ"}
# In a sentence.
STORES = 4


def shift_sentences(dataset: str, decoder: str, tables: MaskTables) -> Iterator[str]:
    """Say what one decoder loses on other datasets, and with which initial weights least.

    Parameters
    ----------
    dataset, decoder
        What was trained on, and what.
    tables
        What was found; without shifts nothing is said.
    """
    if tables.shifts is None or tables.shift_pairs is None:
        return
    own = matching(tables.shifts, dataset=dataset, head=decoder)
    for (other, metric), rows in own.groupby([TESTED_ON, "metric"], sort=True):
        full = _at_full(rows).sort_values("loss", kind="stable").to_dict("records")
        shown = "; ".join(_store(row) for row in full[:STORES])
        more = f" ({count(len(full) - STORES, 'more store')} in the table)"
        yield (
            f"Out of domain, on {quoted(str(other))} ({count(int(full[0]['n_groups']), 'group')}), "
            f"the same decoders {decoder} with all training labels: {METRICS[str(metric)]} is "
            f"{shown}{more if len(full) > STORES else ''}; the floor there has "
            f"{number(full[0]['outside_floor'])}."
        )
        if len(full) > 1:
            pairs = matching(
                tables.shift_pairs, dataset=dataset, head=decoder, metric=metric, tested_on=other
            )
            yield _least(full[0], full[1], _at_full(pairs))


def _store(row: Any) -> str:
    return (
        f"{number(row['outside'])} ({number(row['outside_low'])} to {number(row['outside_high'])}) "
        f"with {store_name(row)}, a loss of {signed(row['loss'])} ({signed(row['loss_low'])} to "
        f"{signed(row['loss_high'])})"
    )


def _least(first: Any, second: Any, pairs: pd.DataFrame) -> str:
    """Say whether the smallest loss is shown to be smaller than the next one."""
    names = [Store(str(row["backbone"]), str(row["channels"])) for row in (first, second)]
    text = f"Least is lost with {quoted(names[0])}"
    for sign, (one, two) in ((1, names), (-1, names[::-1])):
        wanted = {f"first_{k}": v for k, v in one.columns.items()}
        wanted |= {f"second_{k}": v for k, v in two.columns.items()}
        found = matching(pairs, **wanted)
        if len(found):
            row = found.iloc[0]
            low, high = sorted((sign * row["loss_low"], sign * row["loss_high"]))
            is_shown = "is" if high < 0 else "is not"
            return (
                f"{text}; that it loses less than {quoted(names[1])} {is_shown} shown: difference "
                f"of the losses {signed(sign * row['loss'])} ({signed(low)} to {signed(high)})."
            )
    return f"{text}."


def _at_full(rows: pd.DataFrame) -> pd.DataFrame:
    return matching(rows, fraction=rows["fraction"].max())
