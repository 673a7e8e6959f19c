"""Input and output of all probes of an embedding store: data, scores and predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from transferscope.cards import DatasetCard
from transferscope.config.jobs import Leakage
from transferscope.config.probed import Probed
from transferscope.config.schemes import is_column, is_control
from transferscope.config.vocabulary import Metric
from transferscope.errors import user_error
from transferscope.probes.average_precision import average_precision
from transferscope.probes.calibration import CALIBRATION, calibration
from transferscope.probes.labels import LabelledTiles
from transferscope.probes.metrics import (
    COUNTED,
    count,
    mean_of_defined,
    metrics_of,
    metrics_of_counts,
)
from transferscope.probes.score_table import (
    HALF,
    HALF_COLUMNS,
    NUMBER_FORMAT,
    SCORE_COLUMNS,
    SEEN_IN_TRAINING,
    SIZES,
    VALIDATION_SCORE,
)
from transferscope.probes.splits import LABELS, TEST, TRAIN, VALIDATION, origin_of, read_splits
from transferscope.runtime.arrays import Bools, Floats, Floats32, Integers, Values
from transferscope.stores.embedding_store import EmbeddingStore
from transferscope.stores.origin import check_origin, check_store, check_tiles
from transferscope.stores.parquet import parquet_parts, read_tile_table, write_parquet

Sink = Callable[[pd.DataFrame], None]
# Predictions buffered before writing: enough for a Parquet row group, little for memory.
PART_ROWS = 65_536


@dataclass(frozen=True)
class Division:
    """Rows of the embedding matrix for one scheme, seed, fold and fraction, int64 and ascending.

    `train_shares`, float64 [n_train]: a training row is in fraction f if its share is below f.
    `half` is the number of the half of the groups, if it is not of all: 2 * pair + side.
    `views`: `test` holds the test rows once per version of their tiles, one version after the
    other; the results of each are those of a scheme of its name.
    """

    scheme: str
    seed: int
    fold: int
    fraction: float
    train: Integers
    validation: Integers
    test: Integers
    train_shares: Floats
    half: int | None = None
    views: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[object, ...]:
        """Identifies the division, except for its seed."""
        of_half = () if self.half is None else (self.half,)
        return (self.scheme, self.fold, self.fraction, *of_half)


def read_divisions(splits: pd.DataFrame, fractions: Sequence[float]) -> list[Division]:
    """Return all divisions of a split table, ordered by scheme, seed, fold and fraction."""
    ordered = splits.sort_values(["scheme", "seed", "fold", "row"], kind="stable")
    divisions = []
    for (scheme, *_), part in ordered.groupby(["scheme", "seed", "fold"], sort=True):
        # A control is compared with all labels only.
        made = [max(fractions)] if is_control(str(scheme)) else sorted(fractions)
        divisions += [_division(part, fraction) for fraction in made]
    return divisions


def without_controls(divisions: Sequence[Division]) -> list[Division]:
    """Return the divisions that are no controls of a column."""
    return [division for division in divisions if not is_control(division.scheme)]


def evaluated_part(splits: pd.DataFrame, leakage: Leakage) -> pd.DataFrame:
    """Return the part of a split table on which a backbone may be evaluated."""
    only = leakage.only
    if only is None:
        return splits
    same = (splits["scheme"] == only.scheme) & (splits["seed"] == only.seed)
    return splits[same & (splits["fold"] == only.fold)]


def _division(part: pd.DataFrame, fraction: float) -> Division:
    first, rows = part.iloc[0], part["row"].to_numpy()
    roles, share = part["role"].to_numpy(), part["share"].to_numpy()
    inside = {role: (roles == role) & (share < fraction) for role in (TRAIN, VALIDATION, TEST)}
    return Division(
        scheme=str(first["scheme"]),
        seed=int(first["seed"]),
        fold=int(first["fold"]),
        fraction=float(fraction),
        train=rows[inside[TRAIN]],
        validation=rows[inside[VALIDATION]],
        test=rows[inside[TEST]],
        train_shares=share[inside[TRAIN]],
    )


@dataclass(frozen=True)
class ProbeData:
    """The input of a probe.

    Parameters
    ----------
    embeddings
        [N, D] float32.
    tiles
        Labels (over the classes of the splits), groups and names of the N tiles.
    divisions
        All training, validation and test sets.
    metrics
        Which scores to compute.
    identity
        Values of the columns `IDENTITY`.
    leakage
        What the backbone saw of the dataset in training.
    number_format
        From `EmbeddingStore.number_format`: what the store's number format does to neighbours.
    store
        Manifest and metadata of the embedding store; None: there is none.
    parts
        Number of columns of each of several stores that are joined; empty: it is one store.
    """

    embeddings: Floats32
    tiles: LabelledTiles
    divisions: list[Division]
    metrics: Sequence[Metric]
    identity: Mapping[str, str]
    leakage: Leakage = field(default_factory=Leakage)
    number_format: Mapping[str, Any] | None = None
    store: tuple[Path, Mapping[str, Any]] | None = None
    parts: tuple[int, ...] = ()

    @classmethod
    def of(
        cls,
        embeddings: Floats32,
        tile_table: pd.DataFrame,
        splits: pd.DataFrame,
        fractions: Sequence[float],
        metrics: Sequence[Metric],
        identity: Mapping[str, str],
        leakage: Leakage | None = None,
    ) -> ProbeData:
        """Join an embedding matrix with its tile table and the table of `make_splits`.

        A backbone trained without the test groups of one division is evaluated only on that one.
        """
        leakage = leakage or Leakage()
        classes, task = splits.attrs["classes"], splits.attrs["task"]
        columns = [name for name in splits["scheme"].unique() if is_column(name)]
        columns = [name for name in columns if not is_control(name)]
        return cls(
            embeddings=np.ascontiguousarray(embeddings, dtype=np.float32),
            tiles=LabelledTiles.from_table(tile_table, classes, task, columns),
            divisions=read_divisions(evaluated_part(splits, leakage), fractions),
            metrics=metrics,
            identity={**identity, "task": task},
            leakage=leakage,
        )

    @classmethod
    def read(
        cls,
        manifest: Path,
        representation: str,
        channels: str,
        tile_table: Path,
        splits: Path,
        card: DatasetCard,
        fractions: Sequence[float],
        metrics: Sequence[Metric],
        leakage: Leakage | None = None,
    ) -> ProbeData:
        """Read a store with its tile table and splits.

        Parameters
        ----------
        manifest
            Manifest of the embedding store.
        representation
            As in `Probed`.
        channels
            Name of the channel strategy.
        tile_table, splits
            Parquet tables of the tiles and of `make_splits`.
        card
            The dataset's card.
        fractions, metrics
            The study's `splits.fractions` and `metrics`.
        leakage
            What the backbone saw of the dataset in training; None: nothing.

        Raises
        ------
        UserError
            If a file is missing or damaged, if store, tables and card do not belong together, or if
            an embedding is not finite.
        """
        store = EmbeddingStore(manifest)
        table = read_tile_table(tile_table)
        check_tiles(tile_table, table, store, card.name)
        probed, named = Probed(card.name, representation, channels), {"dataset": card.name}
        check_store(manifest, store.attributes, probed)
        made = read_splits(splits, table)
        check_origin(splits, made.attrs, {**named, LABELS: origin_of(table)[LABELS]})
        embeddings = store.read(probed.output, channels)
        _check_finite(embeddings, store)
        identity = {"dataset": card.name, "backbone": representation, "channels": channels}
        data = cls.of(embeddings, table, made, fractions, metrics, identity, leakage)
        form = store.number_format(probed.output, channels)
        return replace(data, number_format=form, store=(manifest, store.attributes))

    @property
    def is_multi_label(self) -> bool:
        """Whether a tile may have several labels."""
        return self.tiles.task == "multi-label"


def _check_finite(embeddings: Floats32, store: EmbeddingStore) -> None:
    bad = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if len(bad):
        what = f"{len(bad)} embeddings are not finite, first of tile {store.tile_ids[bad[0]]}"
        fix = "Delete the store and embed again with `compute.precision: fp32`."
        raise user_error(store.path, what, fix)


@dataclass(frozen=True)
class OnValidation:
    """What a head says of validation rows: heads are chosen by it, so that no test row takes part.

    Parameters
    ----------
    rows
        Validation rows, int64 [n].
    predicted, scores
        [n, C].
    """

    rows: Integers
    predicted: Bools
    scores: Values


@dataclass(frozen=True)
class Tested:
    """What one head predicted: the arguments of `ResultTables.add`."""

    head: str
    k: int | None
    division: Division
    predicted: Bools
    scores: Floats32
    validation: OnValidation | None


@dataclass
class ResultTables:
    """Collects the scores and predictions of heads on the test rows of all divisions.

    Parameters
    ----------
    data
        Data of the heads.
    sink
        Receives the predictions in parts; None: they are kept.
    """

    data: ProbeData
    sink: Sink | None = None
    # Only where there is no sink; else predictions are not kept.
    tested: list[Tested] = field(default_factory=list)
    _scores: list[dict[str, Any]] = field(default_factory=list)
    _predictions: list[dict[str, Any]] = field(default_factory=list)
    _n_waiting: int = 0
    # Counts over the folds of one repeat in one half: by head, k, scheme, fraction, half and seed.
    _pooled: dict[tuple[Any, ...], Values] = field(default_factory=dict)

    def add(
        self,
        head: str,
        k: int | None,
        division: Division,
        predicted: Bools,
        scores: Floats32,
        validation: OnValidation | None = None,
    ) -> None:
        """Add one head's predictions.

        Parameters
        ----------
        head, k
            Kind of the head, and its number of neighbours, if any.
        division
            Its training and test rows.
        predicted, scores
            Of the division's test rows, [n_test, C].
        validation
            The same of its validation rows; None: unknown.
        """
        if division.views:
            for number, view in enumerate(division.views):
                n_rows = len(division.test) // len(division.views)
                own = slice(number * n_rows, (number + 1) * n_rows)
                one = replace(division, scheme=view, test=division.test[own], views=())
                self.add(head, k, one, predicted[own], scores[own], validation)
            return
        if self.sink is None:
            self.tested.append(Tested(head, k, division, predicted, scores, validation))
        truth = self.data.tiles.matrix[division.test]
        n_groups = len(set(self.data.tiles.groups[division.train]))
        shared = {"head": head, "k": k, **division_columns(division)}
        numbers = (len(division.train), n_groups, len(division.validation), len(division.test))
        sizes = dict(zip(SIZES, numbers, strict=True))
        seen = {SEEN_IN_TRAINING: self.data.leakage.seen_in_training}
        found = self._values(truth, predicted, scores)
        known = dict.fromkeys((row[:2] for row in found), np.nan)
        if validation is not None and len(validation.rows):
            true = self.data.tiles.matrix[validation.rows]
            on_validation = self._values(true, validation.predicted, validation.scores)
            known |= {row[:2]: row[2] for row in on_validation}
        for metric, name, value in found:
            named = {"metric": metric, "class": name, "value": value}
            named[VALIDATION_SCORE] = known[metric, name]
            half = {HALF: division.half}
            self._scores.append({**self.data.identity, **shared, **named, **sizes, **seen, **half})
        if division.half is not None:
            key = (head, k, division.scheme, division.fraction, division.half, division.seed)
            self._pooled[key] = count(truth, predicted) + self._pooled.get(key, 0)
        arrays = {"row": division.test, "true": truth, "predicted": predicted, "score": scores}
        self._predictions.append({**shared, **arrays})
        self._n_waiting += len(division.test)
        if self.sink is not None and self._n_waiting >= PART_ROWS:
            self.flush()

    def flush(self) -> None:
        """Pass the buffered predictions to the sink."""
        if self.sink is not None:
            self.sink(self.predictions())
            self._predictions.clear()
            self._n_waiting = 0

    def on_validation(self, tested: Tested, metric: Metric) -> float:
        """Return a metric of a head on its validation rows; NaN if unknown."""
        known = tested.validation
        if known is None or not len(known.rows):
            return np.nan
        truth = self.data.tiles.matrix[known.rows]
        found = self._values(truth, known.predicted, known.scores)
        return {name: value for name, _, value in found}.get(metric, np.nan)

    def _values(
        self,
        truth: Bools,
        predicted: Bools,
        scores: Values,
    ) -> list[tuple[str, str, float]]:
        found: dict[str, Any] = {**metrics_of(truth, predicted)}
        if "macro_average_precision" in self.data.metrics:
            found["macro_average_precision"] = mean_of_defined(average_precision(truth, scores))
        if set(CALIBRATION) & set(self.data.metrics):
            found |= calibration(truth, scores)
        return self._named(found)

    def _named(self, found: Mapping[str, Any]) -> list[tuple[str, str, float]]:
        """Return metric, class and value of those metrics of the study that were found."""
        values: list[tuple[str, str, float]] = []
        for metric in self.data.metrics:
            if metric not in found:
                continue
            names = self.data.tiles.classes if metric == "class_f1" else [""]
            of_metric = zip(names, np.atleast_1d(found[metric]), strict=True)
            values += [(metric, name, float(value)) for name, value in of_metric]
        return values

    def scores(self) -> pd.DataFrame:
        """Return the tidy table of all scores, columns `SCORE_COLUMNS`."""
        table = pd.DataFrame(self._scores, columns=SCORE_COLUMNS)
        types = dict.fromkeys(SCORE_COLUMNS, "str") | {"k": "Int64"}
        types |= dict.fromkeys(["fold", "seed", *SIZES], "int64")
        return table.astype(
            types | dict.fromkeys(["fraction", "value", VALIDATION_SCORE], "float64")
        )

    def half_scores(self) -> pd.DataFrame:
        """Return the scores of halves, columns `HALF_COLUMNS`, averaged over seeds.

        As in the comparison, metrics that depend on counts are of all folds together, and others
        are averaged over folds.
        """
        rows = [row for row in self._scores if row["metric"] not in COUNTED]
        for key, counts in self._pooled.items():
            names = dict(zip(["head", "k", "scheme", "fraction", HALF, "seed"], key, strict=True))
            for metric, name, value in self._named(metrics_of_counts(counts)):
                found = {"metric": metric, "class": name, "value": value}
                rows.append({**self.data.identity, **names, **found})
        table = pd.DataFrame(rows, columns=HALF_COLUMNS)
        types = dict.fromkeys(HALF_COLUMNS, "str") | {"k": "Int64", HALF: "int64"}
        table = table.astype(types | dict.fromkeys(["fraction", "value"], "float64"))
        keys = [column for column in HALF_COLUMNS if column != "value"]
        return table.groupby(keys, dropna=False)["value"].mean().reset_index()[HALF_COLUMNS]

    def predictions(self) -> pd.DataFrame:
        """Return the buffered predictions: one row per head, division and test tile."""
        parts = self._predictions
        lengths = [len(part["row"]) for part in parts]
        types = dict.fromkeys(["head", "k", "scheme"], object)
        types |= {"seed": np.int64, "fold": np.int64, "fraction": np.float64}
        columns: dict[str, Any] = {
            name: np.repeat(np.array([part[name] for part in parts], dtype=dtype), lengths)
            for name, dtype in types.items()
        }
        rows = _concatenated(parts, "row", np.int64)
        columns |= {
            "row": rows,
            "tile_id": self.data.tiles.tile_ids[rows],
            "group": self.data.tiles.groups[rows],
        }
        for column in range(len(self.data.tiles.classes)):
            for name, dtype in (("true", np.bool_), ("predicted", np.bool_), ("score", np.float32)):
                columns[f"{name}_{column}"] = _concatenated(parts, name, dtype, column)
        texts = dict.fromkeys(["head", "scheme", "tile_id", "group"], "str")
        return pd.DataFrame(columns).astype({**texts, "k": "Int64"})


def write_tables(
    data: ProbeData, scores: Path, predictions: Path, run: Callable[[Sink], ResultTables]
) -> None:
    """Run a probe and write both of its tables atomically.

    Parameters
    ----------
    data
        Data of the probe.
    scores, predictions
        Paths of the tables.
    run
        Runs the probe with a sink for the predictions.
    """
    described: dict[str, Any] = {"classes": data.tiles.classes, "task": data.tiles.task}
    with parquet_parts(predictions, described) as sink:
        results = run(sink)
        results.flush()
    if data.number_format is not None:
        described[NUMBER_FORMAT] = data.number_format
    write_parquet(results.scores(), scores, described)


def write_halves(
    data: ProbeData,
    divisions: Sequence[Division],
    path: Path,
    run: Callable[[ProbeData, Sink], ResultTables],
) -> None:
    """Run a probe in halves of the groups and write its scores atomically.

    Parameters
    ----------
    data
        Data of the probe.
    divisions
        Divisions of all halves; if there is none, the table is empty.
    path
        Path of the table.
    run
        Runs the probe on data, with a sink for the predictions, which are not kept.
    """
    described = {"classes": data.tiles.classes, "task": data.tiles.task}
    write_parquet(scores_in_halves(data, divisions, run), path, described)


def scores_in_halves(
    data: ProbeData, divisions: Sequence[Division], run: Callable[[ProbeData, Sink], ResultTables]
) -> pd.DataFrame:
    """Run a probe in halves of the groups; the arguments are those of `write_halves`.

    Returns
    -------
    pandas.DataFrame
        Columns `HALF_COLUMNS`.
    """
    halved = replace(data, divisions=list(divisions))
    results = run(halved, _ignore) if divisions else ResultTables(halved)
    return results.half_scores()


def _ignore(_predictions: pd.DataFrame) -> None:
    """Receive predictions of which only the scores are kept."""


def division_columns(division: Division) -> dict[str, Any]:
    """Return the columns that identify a division."""
    return {name: getattr(division, name) for name in ("scheme", "seed", "fold", "fraction")}


def _concatenated(
    parts: list[dict[str, Any]], name: str, dtype: npt.DTypeLike, column: int | None = None
) -> Values:
    """Concatenate one array, or one column of a matrix, over all parts."""
    chosen = [part[name] if column is None else part[name][:, column] for part in parts]
    return np.concatenate(chosen, dtype=dtype) if chosen else np.empty(0, dtype=dtype)
