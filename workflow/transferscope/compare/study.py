"""The comparison of a study: reads all scores and predictions, writes all tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from transferscope.compare.bootstrap import draw_weights
from transferscope.compare.confusion import CONFUSION_COLUMNS, confusion
from transferscope.compare.differences import COLUMNS, differences
from transferscope.compare.finetuning import COLUMNS as TUNED_COLUMNS
from transferscope.compare.finetuning import gains, tuned_stores
from transferscope.compare.page import as_page
from transferscope.compare.selection import at_full_fraction, choose
from transferscope.compare.sentences import describe
from transferscope.compare.summary import (
    CLASS_COLUMNS,
    INTERVAL_KEYS,
    class_table,
    head_of,
    intervals_of,
    summarise,
)
from transferscope.compare.tables import (
    REMAKE,
    Head,
    Store,
    matching,
    read_scores,
    rounded,
    write_csv,
)
from transferscope.compare.tally import CLASS_METRIC, PLAIN_METRICS, Tally, groups_of, tally
from transferscope.config.channel_strategies import MAP_RANDOM, family_of
from transferscope.config.results import CompareSettings
from transferscope.errors import Problem, UserError, user_error
from transferscope.probes.score_table import STORE
from transferscope.runtime.arrays import Floats, Floats32
from transferscope.runtime.atomic_files import write_atomically
from transferscope.runtime.progress import progress_bar
from transferscope.stores.parquet import write_parquet

PREDICTIONS_SUFFIX = ".predictions.parquet"
STORE_KEYS = ["dataset", "scheme", "backbone", "channels", "head", "k"]
CONFUSION_KEYS = [*STORE_KEYS, *CONFUSION_COLUMNS]


@dataclass(frozen=True)
class Predictions:
    """The prediction tables of one probe of one store.

    Parameters
    ----------
    paths
        One table, or one per random order of the channels.
    dataset, store
        What they belong to.
    """

    paths: list[Path]
    dataset: str
    store: Store


@dataclass
class Bootstrapped:
    """Bootstrap results of all prediction tables of one dataset."""

    groups: list[str]
    weights: Floats32
    intervals: list[pd.DataFrame] = field(default_factory=list)
    classes: list[pd.DataFrame] = field(default_factory=list)
    folds: dict[Store, dict[tuple[Head, str], dict[tuple[int, int], Floats]]] = field(
        default_factory=dict
    )
    sources: dict[tuple[Store, Head, str], list[Path]] = field(default_factory=dict)
    curves: dict[Store, dict[tuple[Head, str, float], Floats]] = field(default_factory=dict)


def compare(
    score_paths: Sequence[Path],
    prediction_paths: Sequence[Path],
    settings: CompareSettings,
    folder: Path,
    summary_csv: Path,
    summary_md: Path,
) -> None:
    """Compare all stores of a study.

    Writes `scores`, `differences` (also as CSV), `chosen`, `confusion`, `per_class` and
    `finetuning` (Parquet) into `folder`, and the summary as a table and in sentences.

    Parameters
    ----------
    score_paths
        Score tables of all probes and stores.
    prediction_paths
        Prediction tables, each next to its score table.
    settings
        Headline metric, number of draws, coverage and seed.
    folder
        Output folder of the tables.
    summary_csv, summary_md
        Output files of the summary.

    Raises
    ------
    UserError
        Naming all unusable tables.
    """
    scores = read_scores(score_paths)
    _check_headline(scores, settings.metric)
    predictions = _identify(score_paths, prediction_paths)
    bootstrapped = _bootstrap(scores, predictions, settings)
    summary = _summary(scores, bootstrapped)
    chosen = choose(summary, settings.metric)
    classes = [table for found in bootstrapped.values() for table in found.classes]
    gained = [
        gains(found.curves, dataset, summary, settings.confidence)
        for dataset, found in bootstrapped.items()
    ]
    tables = {
        "scores": scores,
        "differences": _differences(bootstrapped, settings),
        # With the parameters of the intervals, for the figures.
        "chosen": chosen.assign(
            metric=settings.metric, confidence=settings.confidence, draws=settings.bootstrap
        ),
        "confusion": _confusions(bootstrapped, chosen, summary, settings),
        "per_class": _concatenate(classes, CLASS_COLUMNS),
        "finetuning": _concatenate(gained, TUNED_COLUMNS),
    }
    for name, table in tables.items():
        table = table if name == "scores" else rounded(table)
        write_parquet(table, folder / f"{name}.parquet", {})
    write_csv(tables["differences"], folder / "differences.csv")
    write_csv(summary.drop(columns="point"), summary_csv)
    text = describe(summary, tables, settings)
    write_atomically(summary_md, text)
    write_atomically(summary_md.with_suffix(".html"), as_page(text, "What the comparison shows"))


def _check_headline(scores: pd.DataFrame, metric: str) -> None:
    if metric == CLASS_METRIC:
        what = "class_f1 is one value per class, not one per store"
        raise user_error("compare.metric", what, "Choose macro_f1, their mean.")
    if metric not in set(scores["metric"]):
        what = f"{metric} is in no score table"
        raise user_error("compare.metric", what, "Add it to `metrics`.")


def _identify(
    score_paths: Sequence[Path], prediction_paths: Sequence[Path]
) -> dict[str, list[Predictions]]:
    """Match prediction tables with the score tables next to them, and merge random orders."""
    scores_of = {path.with_name(path.stem + PREDICTIONS_SUFFIX): path for path in score_paths}
    problems = []
    tables: dict[tuple[str, Store, Path], list[Path]] = {}
    for path in sorted(set(prediction_paths)):
        if path not in scores_of:
            what = "the score table next to it is not among those to compare"
            problems.append(Problem(str(path), what, "Give both, or neither."))
            continue
        try:
            table = pq.read_table(scores_of[path], columns=STORE).slice(0, 1).to_pylist()
        except (OSError, pa.ArrowException) as error:
            problems.append(Problem(str(scores_of[path]), f"cannot be read: {error}", REMAKE))
            continue
        for row in table:
            store = Store(row["backbone"], family_of(row["channels"]))
            # The random orders of one probe are in one folder; other tables are separate.
            place = path.parent if store.channels == MAP_RANDOM else path
            tables.setdefault((row["dataset"], store, place), []).append(path)
    if problems:
        raise UserError(problems)
    found: dict[str, list[Predictions]] = {}
    for (dataset, store, _), paths in tables.items():
        found.setdefault(dataset, []).append(Predictions(paths, dataset, store))
    return found


def _bootstrap(
    scores: pd.DataFrame, predictions: dict[str, list[Predictions]], settings: CompareSettings
) -> dict[str, Bootstrapped]:
    result = {}
    total = sum(map(len, predictions.values()))
    with progress_bar("Drawing groups", total, "tables") as bar:
        for dataset, tables in sorted(predictions.items()):
            paths = [path for table in tables for path in table.paths]
            groups = sorted(set().union(*map(groups_of, paths)))
            weights = draw_weights(len(groups), settings.bootstrap, settings.seed, dataset)
            result[dataset] = Bootstrapped(groups, weights)
            own = matching(scores, dataset=dataset)
            tuned = tuned_stores(own)
            for table in tables:
                counted = _reduce(table, result[dataset], settings, own)
                if table.store in tuned:
                    curves = result[dataset].curves.setdefault(table.store, {})
                    column = PLAIN_METRICS.index(counted.headline)
                    curves |= {key: counted.draws(*key)[:, column] for key in counted.sums}
                bar.update()
    return result


def _reduce(
    table: Predictions, into: Bootstrapped, settings: CompareSettings, scores: pd.DataFrame
) -> Tally:
    counted = tally(
        table.paths,
        into.groups,
        into.weights,
        settings,
        float(scores["fraction"].max()),
        bool((scores["metric"] == "macro_average_precision").any()),
    )
    intervals = intervals_of(counted, table.dataset, table.store, settings.confidence)
    into.intervals.append(intervals)
    into.classes.append(class_table(counted, table.dataset, table.store, intervals))
    folds = into.folds.setdefault(table.store, {})
    for key, values in counted.folds.items():
        folds.setdefault(key, values)
        into.sources.setdefault((table.store, *key), table.paths)
    return counted


def _summary(scores: pd.DataFrame, bootstrapped: dict[str, Bootstrapped]) -> pd.DataFrame:
    parts = [table for found in bootstrapped.values() for table in found.intervals]
    intervals = _concatenate(parts, [])
    if intervals.empty:
        extra = ["point", "ci_low", "ci_high", "n_groups"]
        intervals = scores[INTERVAL_KEYS].iloc[:0].assign(**dict.fromkeys(extra, np.nan))
    return summarise(scores, intervals.drop_duplicates(INTERVAL_KEYS))


def _differences(bootstrapped: dict[str, Bootstrapped], settings: CompareSettings) -> pd.DataFrame:
    parts = []
    for dataset, found in bootstrapped.items():
        largest = pd.concat(found.intervals).groupby("scheme")["n_groups"].max()
        n_groups = {str(scheme): int(n) for scheme, n in largest.items()}
        parts.append(
            differences(found.folds, dataset, settings.metric, n_groups, settings.confidence)
        )
    return _concatenate(parts, COLUMNS)


def _confusions(
    bootstrapped: dict[str, Bootstrapped],
    chosen: pd.DataFrame,
    summary: pd.DataFrame,
    settings: CompareSettings,
) -> pd.DataFrame:
    """Return the confusion matrix of the best store of each dataset and scheme."""
    full = at_full_fraction(summary, settings.metric).groupby("dataset")["fraction"].max()
    parts = []
    for _, row in chosen.iterrows():
        found = bootstrapped.get(row["dataset"])
        store, head, scheme = Store(row["backbone"], row["channels"]), head_of(row), row["scheme"]
        if found is None or (store, head, scheme) not in found.sources:
            continue
        paths, fraction = found.sources[store, head, scheme], float(full[row["dataset"]])
        table = confusion(
            paths, found.groups, found.weights, head, scheme, fraction, settings.confidence
        )
        named = table.assign(**{key: row[key] for key in STORE_KEYS})
        parts.append(named[CONFUSION_KEYS].astype({"k": "Int64"}))
    return _concatenate(parts, CONFUSION_KEYS)


def _concatenate(tables: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    filled = [table for table in tables if not table.empty]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=columns)
