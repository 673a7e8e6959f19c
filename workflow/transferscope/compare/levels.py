"""Comparison of levels (single tiles, fields, groups) on the same folds and draws."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from transferscope.compare.bootstrap import draw_weights
from transferscope.compare.differences import FOUND, Side, corrected, difference
from transferscope.compare.summary import intervals_of
from transferscope.compare.tables import Store, matching, rounded, write_csv
from transferscope.compare.tally import Tally, groups_of, tally
from transferscope.config.channel_strategies import family_of
from transferscope.config.paths import StudyPaths
from transferscope.config.probed import Probed
from transferscope.config.probes import AggregateSettings
from transferscope.config.results import CompareSettings
from transferscope.probes.score_table import FLOOR, STORE
from transferscope.probes.variants import (
    FIELDS,
    TILE,
    VARIANT,
    Variant,
    has_fields,
    scored_at_levels,
    variants_of,
)
from transferscope.stores.parquet import write_parquet

LEVEL_COLUMNS = [
    *STORE,
    *VARIANT,
    "head",
    "k",
    "scheme",
    "metric",
    "mean",
    "ci_low",
    "ci_high",
    "n_groups",
]
DIFFERENCE_COLUMNS = [
    "kind",
    *STORE,
    "head",
    "k",
    "scheme",
    "metric",
    *(f"first_{name}" for name in VARIANT),
    *(f"second_{name}" for name in VARIANT),
    *FOUND,
]
FAMILY = ["kind", "dataset", "head", "k", "scheme"]


@dataclass(frozen=True)
class Levels:
    """Prediction tables of one store at all levels.

    Parameters
    ----------
    dataset, store
        Store; random orders of its channels are merged.
    paths
        Prediction tables of each variant: one, or one per random order.
    """

    dataset: str
    store: Store
    paths: Mapping[Variant, Sequence[Path]]


def levels_of(
    probed: Sequence[Probed], settings: AggregateSettings, paths: StudyPaths
) -> list[Levels]:
    """Return the prediction tables of all stores; random orders of one store are merged.

    Parameters
    ----------
    probed
        All evaluated stores.
    settings
        Levels and methods.
    paths
        Paths of the study.
    """
    stores: dict[tuple[str, Store], dict[Variant, list[Path]]] = {}
    for p in scored_at_levels(probed, settings):
        store = Store(p.representation, family_of(p.channels))
        found = stores.setdefault((p.dataset, store), {})
        for variant in variants_of(settings, has_fields(p, probed, settings)):
            path = paths.aggregate_predictions(
                variant.name, p.dataset, p.representation, p.channels
            )
            found.setdefault(variant, []).append(path)
    return [Levels(dataset, store, found) for (dataset, store), found in stores.items()]


def compare_levels(stores: Sequence[Levels], settings: CompareSettings, folder: Path) -> None:
    """Write `aggregate` and `aggregate_differences` (Parquet and CSV) of a study.

    Parameters
    ----------
    stores
        Scored stores.
    settings
        Headline metric, number of draws, coverage and seed.
    folder
        Output folder.
    """
    scores: list[pd.DataFrame] = []
    rows: list[dict[str, Any]] = []
    with_precision = settings.metric == "macro_average_precision"
    for dataset in dict.fromkeys(levels.dataset for levels in stores):
        own = [levels for levels in stores if levels.dataset == dataset]
        paths = [path for levels in own for each in levels.paths.values() for path in each]
        groups = sorted(set().union(*map(groups_of, paths)))
        # The same draws as in `compare`.
        weights = draw_weights(len(groups), settings.bootstrap, settings.seed, dataset)
        for levels in own:
            found = {
                variant: tally(each, groups, weights, settings, 1.0, with_precision)
                for variant, each in levels.paths.items()
            }
            for variant, counted in found.items():
                table = intervals_of(counted, dataset, levels.store, settings.confidence)
                table = matching(table, metric=settings.metric).rename(columns={"point": "mean"})
                scores.append(table.assign(**variant.columns))
            rows += _differences(levels, found, settings, len(groups))
    gaps = pd.DataFrame(rows, columns=DIFFERENCE_COLUMNS).astype({"k": "Int64"})
    if rows:
        gaps = corrected(gaps, FAMILY, settings.confidence)
    tables = {
        "aggregate": pd.concat(scores, ignore_index=True)[LEVEL_COLUMNS],
        "aggregate_differences": gaps,
    }
    for name, table in tables.items():
        write_parquet(rounded(table), folder / f"{name}.parquet", {})
        write_csv(table, folder / f"{name}.csv")


def _differences(
    levels: Levels, found: Mapping[Variant, Tally], settings: CompareSettings, n_groups: int
) -> Iterator[dict[str, Any]]:
    sides = {variant: counted.folds for variant, counted in found.items()}
    for kind, first, second in _pairs(list(found)):
        for head, scheme in sorted(set(sides[first]) & set(sides[second])):
            if head.kind == FLOOR:
                continue
            one, other = (Side(levels.store, sides[v][head, scheme]) for v in (first, second))
            yield {
                "kind": kind,
                "dataset": levels.dataset,
                **levels.store.columns,
                **head.columns,
                "scheme": scheme,
                "metric": settings.metric,
                **{f"first_{name}": value for name, value in first.columns.items()},
                **{f"second_{name}": value for name, value in second.columns.items()},
                **difference(one, other, n_groups, settings.confidence),
                "n_groups": n_groups,
            }


def _pairs(variants: Sequence[Variant]) -> Iterator[tuple[str, Variant, Variant]]:
    """Yield comparisons of interest: aggregates with tiles, medians with means, whole fields."""
    for one, other in product(variants, variants):
        if kind := _kind(one, other):
            yield kind, one, other


def _kind(one: Variant, other: Variant) -> str:
    """Return the kind of comparison of two variants; empty if it is of no interest."""
    if one.level == TILE or other.level == TILE:
        return "tile" if one.level != TILE else ""
    if one.level != other.level:
        return ""
    if one.source == other.source:
        return "method" if (one.method, other.method) == ("median", "mean") else ""
    # A single field has one embedding, whatever the method.
    comparable = one.level == "fov" or one.method == other.method
    return "fields" if other.source == FIELDS and comparable else ""
