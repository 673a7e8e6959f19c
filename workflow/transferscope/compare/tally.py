"""Bootstrap of the predictions of one store, one fold at a time.

Predictions of a large study do not fit into memory. Each file is therefore read fold by fold, and
each fold is reduced to counts per draw. Counts are summed over the folds of a repeat before metrics
are computed from them: the mean of F1 over folds is biased and varies more where a class is rare in
a fold (Forman and Scholz 2010, doi:10.1145/1882471.1882479). Average precision ranks the tiles of
one trained head, and is averaged over folds.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from transferscope.compare.bootstrap import draw_weights
from transferscope.compare.tables import REMAKE, Head, classes_of
from transferscope.config.channel_strategies import MAP_RANDOM
from transferscope.config.results import CompareSettings
from transferscope.errors import user_error
from transferscope.probes.average_precision import weighted_average_precision
from transferscope.probes.metrics import count_by_group, mean_of_defined, metrics_of_counts, ratio
from transferscope.runtime.arrays import Bools, Floats, Floats32, Integers, Values

PLAIN_METRICS = ["macro_f1", "micro_f1", "macro_average_precision", "accuracy"]
CLASS_METRIC = "class_f1"
UNIT = ["head", "k", "scheme", "seed", "fold", "fraction"]
FOLD = ["scheme", "seed", "fold"]
KINDS = ("true", "predicted", "score")
BATCH_ROWS = 65_536


@dataclass(frozen=True)
class Unit:
    """Predictions of one head, trained on one fraction, for the test rows of one fold.

    Parameters
    ----------
    head, scheme, seed, fold, fraction
        Head and fold.
    true, predicted
        Label indicators, [tiles, classes].
    score
        Scores, [tiles, classes].
    group
        Index of each tile's group, [tiles].
    """

    head: Head
    scheme: str
    seed: int
    fold: int
    fraction: float
    true: Bools
    predicted: Bools
    score: Floats32
    group: Integers

    @property
    def key(self) -> tuple[Head, str, float]:
        """Head, scheme and fraction."""
        return self.head, self.scheme, self.fraction


def groups_of(path: Path) -> set[str]:
    """Return the names of all groups of a prediction table.

    Raises
    ------
    UserError
        If the file cannot be read.
    """
    found: set[str] = set()
    try:
        for batch in pq.ParquetFile(path).iter_batches(columns=["group"], batch_size=BATCH_ROWS):
            found.update(map(str, pc.unique(batch.column("group")).to_pylist()))
    except (OSError, pa.ArrowException) as error:
        raise user_error(path, f"cannot be read: {error}", REMAKE) from None
    return found


def read_units(path: Path, groups: Sequence[str]) -> Iterator[list[Unit]]:
    """Yield the units of each fold, one list per fold; only one fold is in memory at a time.

    Parameters
    ----------
    path
        Prediction table.
    groups
        All groups of the dataset, in the order of the weights.
    """
    n_classes = len(classes_of(path))
    index = pd.Index(groups)
    columns = [*UNIT, "group", *(f"{kind}_{j}" for j in range(n_classes) for kind in KINDS)]
    with pq.ParquetFile(path) as file:
        # Several folds are in one row group, which a small table has only one of.
        read = functools.lru_cache(maxsize=1)(
            functools.partial(file.read_row_group, columns=columns)
        )
        for fold in _folds_of(file):
            yield list(_units_of(_rows_of(file, read, fold, columns), n_classes, index))


def _folds_of(file: pq.ParquetFile) -> list[tuple[str, int, int]]:
    """Return every scheme, seed and fold of a prediction table, in order."""
    found: set[tuple[str, int, int]] = set()
    for batch in file.iter_batches(columns=FOLD, batch_size=BATCH_ROWS):
        rows = pa.table(batch).group_by(FOLD).aggregate([]).select(FOLD).to_pydict()
        found.update(zip(*rows.values(), strict=True))
    return sorted(found)


def _rows_of(
    file: pq.ParquetFile,
    read: Callable[[int], pa.Table],
    fold: tuple[str, int, int],
    columns: Sequence[str],
) -> pa.Table:
    """Return the rows of one fold, reading one row group at a time."""
    wanted = dict(zip(FOLD, fold, strict=True))
    parts = [file.schema_arrow.empty_table().select(columns)]
    for number in range(file.num_row_groups):
        if _may_hold(file.metadata.row_group(number), wanted):
            part = read(number)
            equal = [pc.equal(part[name], value) for name, value in wanted.items()]
            parts.append(part.filter(functools.reduce(pc.and_, equal)))
    return pa.concat_tables(parts)


def _may_hold(row_group: pq.RowGroupMetaData, wanted: Mapping[str, Any]) -> bool:
    """Return whether a row group may have rows with the wanted values, by its statistics."""
    for position in range(row_group.num_columns):
        column = row_group.column(position)
        value, statistics = wanted.get(column.path_in_schema), column.statistics
        known = value is not None and statistics is not None and statistics.has_min_max
        if known and not statistics.min <= value <= statistics.max:
            return False
    return True


def _units_of(table: pa.Table, n_classes: int, groups: pd.Index) -> Iterator[Unit]:
    keys = table.select(UNIT).to_pandas()
    keys["k"] = keys["k"].fillna(0).astype(int)
    codes = groups.get_indexer(pd.Index(table["group"].to_pandas())).astype(np.int64)
    stacked = {
        kind: np.stack([table[f"{kind}_{j}"].to_numpy() for j in range(n_classes)], axis=1)
        for kind in KINDS
    }
    for key, rows in sorted(keys.groupby(UNIT, sort=True).indices.items()):
        head, k, scheme, seed, fold, fraction = key
        arrays: dict[str, Any] = {kind: values[rows] for kind, values in stacked.items()}
        yield Unit(
            Head(head, int(k)), scheme, int(seed), int(fold), fraction, **arrays, group=codes[rows]
        )


@dataclass
class _Sums:
    """Sums over repeats and orders of the metrics of each draw, [1 + draws, ...]."""

    total: Floats
    defined: Floats

    @classmethod
    def like(cls, values: Floats) -> _Sums:
        return cls(np.zeros_like(values), np.zeros_like(values))

    def add(self, values: Floats, times: Floats) -> None:
        """Add the values of one repeat, weighted by how often each draw has this channel order."""
        often = times.reshape(-1, *[1] * (values.ndim - 1))
        self.total += often * np.nan_to_num(values)
        self.defined += often * np.isfinite(values)

    def mean(self) -> Floats:
        return ratio(self.total, self.defined)


@dataclass(frozen=True)
class ClassCounts:
    """True and predicted tiles of each class, over all folds and repeats.

    Parameters
    ----------
    true, predicted
        Tiles, [classes].
    groups
        Whether a group has the class, [groups, classes].
    """

    true: Floats
    predicted: Floats
    groups: Bools

    def add(self, unit: Unit) -> None:
        """Count one fold."""
        self.true[:] += unit.true.sum(axis=0)
        self.predicted[:] += unit.predicted.sum(axis=0)
        np.logical_or.at(self.groups, unit.group, unit.true)


@dataclass
class Tally:
    """Bootstrap sums over the predictions of one store.

    Parameters
    ----------
    classes
        Class names.
    headline
        Metric whose value in each fold is kept, for paired differences.
    full_fraction
        Fraction at which these values are kept.
    with_precision
        Whether to compute average precision, which is the most expensive metric.
    n_orders
        Number of prediction tables, one per random order of the channels.
    """

    classes: list[str]
    headline: str
    full_fraction: float
    with_precision: bool
    n_orders: int
    sums: dict[tuple[Head, str, float], _Sums] = field(default_factory=dict)
    groups: dict[tuple[Head, str, float], set[int]] = field(default_factory=dict)
    fold_sums: dict[tuple[Head, str], dict[tuple[int, int], _Sums]] = field(default_factory=dict)
    class_counts: dict[tuple[Head, str], ClassCounts] = field(default_factory=dict)

    def draws(self, head: Head, scheme: str, fraction: float) -> Floats:
        """Mean over repeats of each metric, pooled over folds, in each draw.

        Returns
        -------
        float64 [1 + draws, metrics]
            `PLAIN_METRICS`, then the F1 of each class; row 0 is the original sample.
        """
        return self.sums[head, scheme, fraction].mean()

    @property
    def curves(self) -> dict[tuple[Head, str, float], Floats]:
        """Head, scheme and fraction -> headline metric [1 + draws]."""
        column = PLAIN_METRICS.index(self.headline)
        return {key: self.draws(*key)[:, column] for key in self.sums}

    @property
    def folds(self) -> dict[tuple[Head, str], dict[tuple[int, int], Floats]]:
        """Head and scheme -> repeat and fold -> headline metric [1 + draws], mean over orders."""
        return {
            key: {fold: sums.mean() for fold, sums in folds.items()}
            for key, folds in self.fold_sums.items()
        }

    def n_repeats(self, head: Head, scheme: str) -> int:
        """Return the number of predictions per tile: repeats of the splits times orders."""
        return self.n_orders * len({seed for seed, _ in self.fold_sums[head, scheme]})

    def add(self, folds: Iterable[list[Unit]], weights: Floats32, times: Floats) -> None:
        """Reduce the folds of one repeat of a scheme.

        Parameters
        ----------
        folds
            All units of each fold.
        weights
            [1 + draws, groups], from `draw_weights`.
        times
            How often each draw has this channel order, [1 + draws].
        """
        pooled: dict[tuple[Head, str, float], Values] = {}
        precisions: dict[tuple[Head, str, float], list[Floats]] = {}
        for units in folds:
            present = np.unique(np.concatenate([u.group for u in units]))
            inside = np.asfortranarray(weights[:, present])
            summed = _summed(units, present, inside)
            for position, unit in enumerate(units):
                counts, precision = summed[:, position], self._precision(unit, present, inside)
                pooled[unit.key] = counts + pooled.get(unit.key, 0.0)
                precisions.setdefault(unit.key, []).append(precision)
                self.groups.setdefault(unit.key, set()).update(present.tolist())
                if unit.fraction == self.full_fraction:
                    self._keep_fold(unit, counts, precision, times)
                    self._count_classes(unit, weights.shape[1])
        for key, counts in pooled.items():
            values = metrics_of_counts(counts)
            values["macro_average_precision"] = mean_of_defined(np.stack(precisions[key]), axis=0)
            table = np.column_stack([*(values[m] for m in PLAIN_METRICS), values[CLASS_METRIC]])
            self.sums.setdefault(key, _Sums.like(table)).add(table, times)

    def _precision(self, unit: Unit, present: Integers, weights: Floats32) -> Floats:
        if not self.with_precision:
            return np.full(len(weights), np.nan)
        local = np.searchsorted(present, unit.group)
        of_classes = weighted_average_precision(unit.true, unit.score, local, weights)
        return mean_of_defined(of_classes, axis=1)

    def _keep_fold(self, unit: Unit, counts: Values, precision: Floats, times: Floats) -> None:
        """Keep the headline metric of one fold."""
        is_precision = self.headline == "macro_average_precision"
        value = precision if is_precision else metrics_of_counts(counts)[self.headline]
        kept = self.fold_sums.setdefault((unit.head, unit.scheme), {})
        kept.setdefault((unit.seed, unit.fold), _Sums.like(value)).add(value, times)

    def _count_classes(self, unit: Unit, n_groups: int) -> None:
        n = len(self.classes)
        empty = ClassCounts(np.zeros(n), np.zeros(n), np.zeros((n_groups, n), dtype=bool))
        self.class_counts.setdefault((unit.head, unit.scheme), empty).add(unit)


def _summed(units: Sequence[Unit], present: Integers, weights: Floats32) -> Values:
    """Return the counts of the units of one fold in each draw, [1 + draws, units, features]."""
    counts = np.stack(
        [
            count_by_group(u.true, u.predicted, np.searchsorted(present, u.group), len(present))
            for u in units
        ],
        axis=1,
    )
    summed = weights @ counts.reshape(len(present), -1)
    return summed.reshape(len(weights), len(units), counts.shape[-1])


def tally(
    paths: Sequence[Path],
    groups: Sequence[str],
    weights: Floats32,
    settings: CompareSettings,
    full_fraction: float,
    with_precision: bool,
) -> Tally:
    """Reduce the prediction tables of one store, fold by fold.

    Parameters
    ----------
    paths
        Prediction tables: one, or one per random order of the channels, which are averaged.
    groups
        All groups of the dataset, in the order of the weights.
    weights
        [1 + draws, groups], from `draw_weights`.
    settings
        Headline metric, number of draws and seed.
    full_fraction, with_precision
        As in `Tally`.
    """
    classes = classes_of(paths[0])
    result = Tally(classes, settings.metric, full_fraction, with_precision, len(paths))
    # Orders are drawn as well, so that intervals include their variance.
    orders = draw_weights(len(paths), settings.bootstrap, settings.seed, MAP_RANDOM)
    for path, times in zip(paths, orders.T.astype(np.float64), strict=True):
        folds = read_units(path, groups)
        for _, of_repeat in itertools.groupby(folds, lambda fold: (fold[0].scheme, fold[0].seed)):
            result.add(of_repeat, weights, times)
    return result
