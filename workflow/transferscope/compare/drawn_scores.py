"""Scores of all stores of a dataset in every draw of its groups, read from prediction tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from transferscope.compare.bootstrap import draw_weights
from transferscope.compare.contests import Contest, Side
from transferscope.compare.halves import HalfScores
from transferscope.compare.summary import class_counts, estimates_of
from transferscope.compare.tables import REMAKE, Head, Store, matching
from transferscope.compare.tally import Tally, groups_of, tally
from transferscope.config.channel_strategies import MAP_RANDOM, family_of
from transferscope.config.results import CompareSettings
from transferscope.config.schemes import is_headline
from transferscope.errors import Problem, UserError
from transferscope.probes.score_table import FLOOR, FLOOR_METRICS, STORE
from transferscope.runtime.arrays import Floats, Floats32
from transferscope.runtime.progress import progress_bar

PREDICTIONS_SUFFIX = ".predictions.parquet"


@dataclass(frozen=True)
class ScorePaths:
    """Tables of several stores: scores, predictions, and scores in halves."""

    scores: Sequence[Path]
    predictions: Sequence[Path]
    halves: Sequence[Path]


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
    estimates: list[pd.DataFrame] = field(default_factory=list)
    classes: list[pd.DataFrame] = field(default_factory=list)
    folds: dict[Store, dict[tuple[Head, str], dict[tuple[int, int], Floats]]] = field(
        default_factory=dict
    )
    sources: dict[tuple[Store, Head, str], list[Path]] = field(default_factory=dict)
    curves: dict[Store, dict[tuple[Head, str, float], Floats]] = field(default_factory=dict)


def identify(
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


def bootstrapped(
    scores: pd.DataFrame, predictions: dict[str, list[Predictions]], settings: CompareSettings
) -> dict[str, Bootstrapped]:
    """Return the scores of all prediction tables, by dataset, in every draw of its groups.

    Parameters
    ----------
    scores
        All score tables, from `read_scores`.
    predictions
        From `identify`.
    settings
        Headline metric, number of draws and seed.
    """
    result = {}
    total = sum(map(len, predictions.values()))
    with progress_bar("Drawing groups", total, "tables") as bar:
        for dataset, tables in sorted(predictions.items()):
            paths = [path for table in tables for path in table.paths]
            groups = sorted(set().union(*map(groups_of, paths)))
            weights = draw_weights(len(groups), settings.bootstrap, settings.seed, dataset)
            result[dataset] = Bootstrapped(groups, weights)
            own = matching(scores, dataset=dataset)
            for table in tables:
                counted = _reduce(table, result[dataset], settings, own)
                curves = result[dataset].curves.setdefault(table.store, {})
                curves |= counted.curves
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
    into.estimates.append(estimates_of(counted, table.dataset, table.store))
    into.classes.append(class_counts(counted, table.dataset, table.store))
    folds = into.folds.setdefault(table.store, {})
    for key, values in counted.folds.items():
        folds.setdefault(key, values)
        into.sources.setdefault((table.store, *key), table.paths)
    return counted


def n_groups_of(found: Bootstrapped) -> dict[str, int]:
    """Return the number of groups of each split scheme."""
    largest = pd.concat(found.estimates).groupby("scheme")["n_groups"].max()
    return {str(scheme): int(n) for scheme, n in largest.items()}


def sides_of(
    dataset: str, found: Bootstrapped, halves: HalfScores, metric: str
) -> dict[tuple[Head, str], dict[Store, Side]]:
    """Return the score of each store of a dataset, for each head and split scheme."""
    fraction = float(pd.concat(found.estimates)["fraction"].max())
    sides: dict[tuple[Head, str], dict[Store, Side]] = {}
    for store in sorted(found.folds):
        for (head, scheme), folds in found.folds[store].items():
            key = (dataset, store, head, scheme, fraction, metric, "")
            scores = found.curves[store][head, scheme, fraction]
            side = Side(store, scores, folds, halves.of([key])[0])
            sides.setdefault((head, scheme), {})[store] = side
    return sides


def contests_of(
    indexed: Mapping[tuple[Head, str], Mapping[Store, Side]],
    n_groups: Mapping[str, int],
    metric: str,
) -> list[Contest]:
    """Return the stores of a dataset, for each head and split scheme."""
    return [
        Contest(
            head,
            scheme,
            list(each.values()),
            floors=indexed.get((Head(FLOOR), scheme), {}) if metric in FLOOR_METRICS else {},
            by_group=indexed.get((head, "group"), {}) if scheme == "image" else {},
            n_groups=n_groups[scheme],
        )
        for (head, scheme), each in sorted(indexed.items(), key=lambda item: item[0])
        if head.kind != FLOOR and is_headline(scheme)
    ]
