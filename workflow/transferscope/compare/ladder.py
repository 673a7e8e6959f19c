"""What it costs that tests are of new groups, new batches, new sites: the ladder of split schemes.

A step by a column of the sheet is measured against its control, the same split with the column
shuffled, so that training sets of equal size are compared. The costs of two columns are compared as
they are, each against its own control.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from transferscope.compare.contests import Rules, Side
from transferscope.compare.differences import FOUND, compare_pairs
from transferscope.compare.tables import Head, Store, head_of, matching
from transferscope.compare.wording import count, gap, quoted, signed, store_name
from transferscope.config.schemes import GROUP, IMAGE, control_of, is_column
from transferscope.probes.score_table import FLOOR
from transferscope.runtime.arrays import Floats

# Without folds won: the two sides of a step have different folds.
RESULTS = [name for name in FOUND if name not in ("folds_won", "n_folds")]
COLUMNS = [
    "dataset",
    "head",
    "k",
    "metric",
    "backbone",
    "channels",
    "easier",
    "harder",
    *RESULTS,
]
Sides = Mapping[tuple[Head, str], Mapping[Store, Side]]


def columns_of(schemes: Sequence[str], named: Sequence[str]) -> list[str]:
    """Return the columns whose controls were made, in the order in which the study names them."""
    made = [scheme for scheme in schemes if control_of(scheme) in schemes]
    return sorted(made, key=lambda name: (named.index(name) if name in named else len(named), name))


def ladder(
    dataset: str,
    metric: str,
    sides: Sides,
    columns: Sequence[str],
    n_groups: Mapping[str, int],
    rules: Rules,
) -> pd.DataFrame:
    """Compare each store with itself in the next harder split.

    Parameters
    ----------
    dataset, metric
        What the scores are of.
    sides
        Head and scheme -> store -> its score.
    columns
        From `columns_of`.
    n_groups
        Scheme -> number of groups.
    rules
        What decides a difference.

    Returns
    -------
    pandas.DataFrame
        `COLUMNS`, one row per store, head and step. `difference` is what the step costs: the score
        of the easier split minus that of the harder one; `first_mean` and `second_mean` are these
        scores. Of a column after `group`, the easier split is its control; of two columns, both
        are costs against controls, and the difference is what the second costs more.
    """
    heads = sorted({head for head, _ in sides if head.kind != FLOOR})
    parts = []
    for head in heads:
        for easier, harder in steps(columns):
            pairs = _pairs(sides, head, easier, harder)
            if not pairs:
                continue
            found = compare_pairs(pairs, n_groups[harder], rules, paired=False)
            stores = pd.DataFrame([first.store.columns for first, _ in pairs])
            names = {"dataset": dataset, **head.columns, "metric": metric}
            step = {"easier": easier, "harder": harder}
            parts.append(pd.concat([stores, found], axis=1).assign(**names, **step))
    if not parts:
        return pd.DataFrame(columns=COLUMNS)
    table = pd.concat(parts, ignore_index=True).astype({"k": "Int64"})
    return table[COLUMNS]


def steps(columns: Sequence[str]) -> list[tuple[str, str]]:
    """Return the steps from an easier to a harder split.

    Examples
    --------
    >>> steps(["batch", "site"])
    [('image', 'group'), ('group', 'batch'), ('group', 'site'), ('batch', 'site')]
    """
    return [(IMAGE, GROUP), *((GROUP, column) for column in columns), *pairwise(columns)]


def _pairs(sides: Sides, head: Head, easier: str, harder: str) -> list[tuple[Side, Side]]:
    """Return both sides of a step, of each store that has them."""
    first: Mapping[Store, Side]
    second: Mapping[Store, Side]
    if is_column(easier):
        first, second = (_costs(sides, head, column) for column in (harder, easier))
    else:
        start = control_of(harder) if is_column(harder) else easier
        first, second = (sides.get((head, scheme), {}) for scheme in (start, harder))
    return [(side, second[store]) for store, side in sorted(first.items()) if store in second]


def _costs(sides: Sides, head: Head, column: str) -> dict[Store, Side]:
    """Return what a column costs each store, as the score of a side."""
    return {
        store: _minus(control, side)
        for store, control in sides.get((head, control_of(column)), {}).items()
        if (side := sides.get((head, column), {}).get(store)) is not None
    }


def _minus(first: Side, second: Side) -> Side:
    draws: Floats = first.scores - second.scores
    return replace(first, scores=draws, halves=first.halves - second.halves)


def ladder_in_short(table: pd.DataFrame, chosen: pd.DataFrame, margin: float) -> Iterator[str]:
    """Say what each step costs the highest store.

    Parameters
    ----------
    table
        From `ladder`, of one dataset.
    chosen
        The best store of each scheme of the dataset, easiest last.
    margin
        Costs below it are of no practical importance.
    """
    by_group = matching(chosen, scheme=GROUP)
    best = (chosen if by_group.empty else by_group).iloc[0]
    rows = matching(table, head_of(best))
    own = matching(rows, backbone=best["backbone"], channels=best["channels"])
    parts = [
        f"{_named(row)} {gap(row)}, {_verdict(row, margin)}"
        for row in own.to_dict("records")
        if is_column(row["harder"])
    ]
    if parts:
        yield f"What the highest store ({store_name(best)}) loses: {'; '.join(parts)}."
    for (easier, harder), of_step in rows.groupby(["easier", "harder"], sort=False):
        if len(of_step) > 1 and is_column(str(harder)) and easier == GROUP:
            yield (
                f"Over all {len(of_step)} stores, a new {quoted(harder)} costs "
                f"{signed(of_step['difference'].mean())} on average; the smallest cost is "
                f"{signed(of_step['difference'].min())}, the largest "
                f"{signed(of_step['difference'].max())}; shown for {_n_shown(of_step)}."
            )


def ladder_at_length(table: pd.DataFrame, chosen: pd.DataFrame, margin: float) -> Iterator[str]:
    """Say the same, what each step costs every store, and how it was measured."""
    yield from ladder_in_short(table, chosen, margin)
    head = head_of(chosen.iloc[0])
    for row in matching(table, head).to_dict("records"):
        yield f"{store_name(row)}, {_named(row)}: {gap(row)}, {_verdict(row, margin)}."
    columns = [name for name in table["harder"].unique() if is_column(name)]
    named = ", ".join(map(quoted, columns))
    yield (
        f"A cost is the score of the easier split minus that of the harder one. That of {named} is "
        "against the same split with the column shuffled between groups of the same class, which "
        "trains on as many groups. Intervals hold for other groups like these with the same values "
        "of the column: what one more batch or site would cost, a few of them do not tell."
    )


def _named(row: Any) -> str:
    easier, harder = row["easier"], row["harder"]
    if easier == IMAGE:
        return "new groups, against new images of known groups"
    if easier == GROUP:
        return f"a new {quoted(harder)}"
    return f"a new {quoted(harder)} more than a new {quoted(easier)}"


def _verdict(row: Any, margin: float) -> str:
    n = int(row["n_comparisons"])
    corrected = f", after correction for {count(n, 'store')}" if n > 1 else ""
    return {
        "equal": f"practically nothing (shown to be less than {margin:g})",
        "better": f"shown{corrected}",
        "worse": f"shown to be a gain{corrected}",
        "undecided": f"undecided{corrected}",
    }[str(row["verdict"])]


def _n_shown(rows: pd.DataFrame) -> str:
    return f"{int(np.sum(rows['verdict'] == 'better'))} of {len(rows)}"
