"""Scores in halves of the groups, as the probes write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from transferscope.compare.tables import REMAKE, Head, Store, head_of
from transferscope.config.channel_strategies import family_of
from transferscope.errors import Problem, UserError
from transferscope.probes.score_table import HALF, HALF_COLUMNS
from transferscope.probes.variants import VARIANT, Variant
from transferscope.runtime.arrays import Floats

# Dataset, store, head, scheme, fraction, metric and class.
Key = tuple[str, Store, Head, str, float, str, str]


@dataclass(frozen=True)
class HalfScores:
    """Scores in halves of the groups, [J, 2] each, means over repeats and random orders.

    Parameters
    ----------
    values
        By dataset, store, head, scheme, fraction, metric and class (empty: of all classes).
    """

    values: dict[Key, Floats] = field(default_factory=dict)

    @cached_property
    def n_pairs(self) -> dict[str, int]:
        """Number of pairs of halves of each dataset."""
        found: dict[str, int] = {}
        for key, scores in self.values.items():
            found[key[0]] = max(found.get(key[0], 0), len(scores))
        return found

    def of(self, keys: Sequence[Key]) -> Floats:
        """Return the scores of keys of one dataset, [len(keys), J, 2]; NaN where unknown."""
        unknown = np.full((self.n_pairs.get(keys[0][0], 0) if keys else 0, 2), np.nan)
        found = [self.values.get(key, unknown) for key in keys]
        return np.stack(found) if found else np.empty((0, 0, 2))


def key_of(row: Mapping[Any, Any]) -> Key:
    """Return the key of a row of estimates."""
    store = Store(row["backbone"], row["channels"])
    named = row["scheme"], row["fraction"], row["metric"], row["class"]
    return (row["dataset"], store, head_of(row), *named)


def read_halves(paths: Sequence[Path]) -> HalfScores:
    """Read the scores in halves of all probes and stores; random orders are averaged.

    Raises
    ------
    UserError
        Naming all tables that cannot be read or lack a column.
    """
    return _half_scores(_read(paths, HALF_COLUMNS))


def read_halves_of_levels(paths: Sequence[Path]) -> dict[Variant, HalfScores]:
    """Read the scores in halves of stores at all levels, by variant; as `read_halves`."""
    tables = _read(paths, [*VARIANT, *HALF_COLUMNS])
    if not tables:
        return {}
    table = pd.concat(tables, ignore_index=True)
    return {
        Variant.of(*map(str, names)): _half_scores([own.drop(columns=VARIANT)])
        for names, own in table.groupby(VARIANT, sort=False)
    }


def _read(paths: Sequence[Path], columns: list[str]) -> list[pd.DataFrame]:
    """Read the tables that are not empty."""
    tables, problems = [], []
    for path in paths:
        try:
            tables.append(pd.read_parquet(path, columns=columns))
        except (OSError, KeyError, pa.ArrowException) as error:
            problems.append(Problem(str(path), f"cannot be read: {error}", REMAKE))
    if problems:
        raise UserError(problems)
    return [table.astype({"k": "Int64"}) for table in tables if not table.empty]


def _half_scores(tables: Sequence[pd.DataFrame]) -> HalfScores:
    if not tables:
        return HalfScores()
    table = pd.concat(tables, ignore_index=True)
    table["channels"] = table["channels"].map(family_of)
    table["k"] = table["k"].fillna(0).astype("int64")
    keys = [column for column in HALF_COLUMNS if column not in (HALF, "value")]
    # The floor uses no embedding: several tables have the same values of it.
    wide = table.pivot_table(
        values="value", index=keys, columns=HALF, aggfunc="mean", observed=True
    )
    if wide.empty:
        return HalfScores()
    scores = wide.to_numpy(dtype=np.float64)
    n_pairs = (int(max(wide.columns)) + 2) // 2
    whole = np.full((len(wide), 2 * n_pairs), np.nan)
    whole[:, wide.columns.to_numpy(dtype=np.int64)] = scores
    found: dict[Key, Floats] = {}
    for names, row in zip(wide.index, whole, strict=True):
        found[key_of(dict(zip(keys, names, strict=True)))] = row.reshape(n_pairs, 2)
    return HalfScores(found)
