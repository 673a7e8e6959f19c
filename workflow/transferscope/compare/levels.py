"""Comparison of levels (single tiles, fields, groups) on the same folds and draws."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from transferscope.compare.bootstrap import draw_weights
from transferscope.compare.contests import Rules, Side
from transferscope.compare.differences import FOUND, compare_pairs
from transferscope.compare.halves import HalfScores, Key, read_halves_of_levels
from transferscope.compare.summary import estimates_of, with_intervals
from transferscope.compare.tables import Head, Store, matching, rounded, write_csv
from transferscope.compare.tally import Tally, groups_of, tally
from transferscope.compare.uncertainty import (
    Inflation,
    draw_noise,
    variances,
    weight_of_scores,
)
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
from transferscope.runtime.arrays import Floats
from transferscope.runtime.seeds import derive_rng
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


@dataclass(frozen=True)
class Levels:
    """Tables of one store at all levels.

    Parameters
    ----------
    dataset, store
        Store; random orders of its channels are merged.
    paths
        Prediction tables of each variant: one, or one per random order.
    halves
        Tables of scores in halves of the groups: one, or one per random order.
    """

    dataset: str
    store: Store
    paths: Mapping[Variant, Sequence[Path]]
    halves: Sequence[Path] = ()


def levels_of(
    probed: Sequence[Probed], settings: AggregateSettings, paths: StudyPaths
) -> list[Levels]:
    """Return the tables of all stores; random orders of one store are merged.

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
    halves: dict[tuple[str, Store], list[Path]] = {}
    for p in scored_at_levels(probed, settings):
        key = p.dataset, Store(p.representation, family_of(p.channels))
        halves.setdefault(key, []).append(
            paths.aggregate_halves(p.dataset, p.representation, p.channels)
        )
        found = stores.setdefault(key, {})
        for variant in variants_of(settings, has_fields(p, probed, settings)):
            path = paths.aggregate_predictions(
                variant.name, p.dataset, p.representation, p.channels
            )
            found.setdefault(variant, []).append(path)
    return [Levels(*key, found, halves[key]) for key, found in stores.items()]


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
    gaps: list[pd.DataFrame] = []
    noise = draw_noise(settings.bootstrap, derive_rng("noise", settings.seed))
    rules = Rules(settings.confidence, settings.margin, noise)
    with_precision = settings.metric == "macro_average_precision"
    for dataset in dict.fromkeys(levels.dataset for levels in stores):
        families: dict[_Family, list[_Pair]] = {}
        own = [levels for levels in stores if levels.dataset == dataset]
        paths = [path for levels in own for each in levels.paths.values() for path in each]
        groups = sorted(set().union(*map(groups_of, paths)))
        halves = _Halves(read_halves_of_levels([path for levels in own for path in levels.halves]))
        # The same draws as in `compare`.
        weights = draw_weights(len(groups), settings.bootstrap, settings.seed, dataset)
        estimates: list[pd.DataFrame] = []
        for levels in own:
            found = {
                variant: tally(each, groups, weights, settings, 1.0, with_precision)
                for variant, each in levels.paths.items()
            }
            for variant, counted in found.items():
                table = estimates_of(counted, dataset, levels.store)
                table = matching(table, metric=settings.metric)
                estimates.append(table.assign(**variant.columns))
            for key, pair in _pairs_of(levels, found, halves):
                families.setdefault(key, []).append(pair)
        # One factor for all stores at one level, as in `compare`.
        table = pd.concat(estimates, ignore_index=True)
        parts = []
        for names, rows in table.groupby(VARIANT):
            in_halves = halves.of_variant(Variant.of(*map(str, names)))
            parts.append(with_intervals(rows, in_halves, settings.confidence))
        scores.append(pd.concat(parts).sort_index().rename(columns={"point": "mean"}))
        gaps += [_compared(key, pairs, len(groups), rules) for key, pairs in families.items()]
    tables = {
        "aggregate": pd.concat(scores, ignore_index=True)[LEVEL_COLUMNS],
        "aggregate_differences": pd.concat(gaps, ignore_index=True)
        if gaps
        else pd.DataFrame(columns=DIFFERENCE_COLUMNS),
    }
    for name, table in tables.items():
        write_parquet(rounded(table), folder / f"{name}.parquet", {})
        write_csv(table, folder / f"{name}.csv")


@dataclass(frozen=True, order=True)
class _Family:
    """Comparisons that are corrected together."""

    dataset: str
    kind: str
    head: Head
    scheme: str
    metric: str


@dataclass(frozen=True)
class _Pair:
    """Two variants of one store."""

    store: Store
    variants: tuple[Variant, Variant]
    sides: tuple[Side, Side]

    @property
    def columns(self) -> dict[str, Any]:
        """Values of the columns that identify the comparison within its family."""
        first, second = (variant.columns for variant in self.variants)
        return {
            **self.store.columns,
            **{f"first_{name}": value for name, value in first.items()},
            **{f"second_{name}": value for name, value in second.items()},
        }


@dataclass(frozen=True)
class _Halves:
    """Scores in halves of the groups of one dataset, by variant."""

    by_variant: Mapping[Variant, HalfScores]

    def of_variant(self, variant: Variant) -> HalfScores:
        """Return those of a variant; empty where there are none."""
        return self.by_variant.get(variant, HalfScores())

    def side(self, variant: Variant, key: Key) -> Floats:
        """Return those of one side of a difference, [J, 2]; NaN where unknown."""
        n_pairs = max((max(f.n_pairs.values()) for f in self.by_variant.values()), default=0)
        unknown = np.full((n_pairs, 2), np.nan)
        return self.of_variant(variant).values.get(key, unknown)


def _pairs_of(
    levels: Levels, found: Mapping[Variant, Tally], halves: _Halves
) -> Iterator[tuple[_Family, _Pair]]:
    folds = {variant: counted.folds for variant, counted in found.items()}
    scores = {variant: counted.curves for variant, counted in found.items()}
    for kind, *pair in _pairs(list(found)):
        first, second = pair
        for head, scheme in sorted(set(folds[first]) & set(folds[second])):
            if head.kind == FLOOR:
                continue
            metric = found[first].headline
            key = (levels.dataset, levels.store, head, scheme, 1.0, metric, "")
            one, other = (
                Side(
                    levels.store,
                    scores[v][head, scheme, 1.0],
                    folds[v][head, scheme],
                    halves.side(v, key),
                )
                for v in pair
            )
            family = _Family(levels.dataset, kind, head, scheme, metric)
            yield family, _Pair(levels.store, (first, second), (one, other))


def _compared(family: _Family, pairs: Sequence[_Pair], n_groups: int, rules: Rules) -> pd.DataFrame:
    def weigh(draws: Floats, halves: Floats) -> Inflation:
        return _inflation([pair.variants for pair in pairs], draws, halves, n_groups)

    found = compare_pairs([pair.sides for pair in pairs], n_groups, rules, weigh)
    names = pd.DataFrame([pair.columns for pair in pairs]).assign(
        kind=family.kind,
        dataset=family.dataset,
        **family.head.columns,
        scheme=family.scheme,
        metric=family.metric,
    )
    return pd.concat([names, found], axis=1)[DIFFERENCE_COLUMNS].astype({"k": "Int64"})


def _inflation(
    variants: Sequence[tuple[Variant, Variant]], draws: Floats, halves: Floats, n_groups: int
) -> Inflation:
    """Return one factor for all stores of the same two variants, and the least df of all.

    Parameters
    ----------
    variants
        Both variants of each of the P pairs.
    draws, halves
        Differences in the draws, [1 + draws, P], and in halves, [P, J, 2].
    n_groups
        Number of groups.
    """
    bootstrapped = variances(draws)
    factors, least = np.empty(len(variants)), np.inf
    for compared in dict.fromkeys(variants):
        own = np.array([each == compared for each in variants])
        n_halved = int(np.isfinite(halves[own]).any(axis=(1, 2)).sum())
        weight = weight_of_scores(max(n_halved, 1))
        found = Inflation.of(halves[own], bootstrapped[own], n_groups, weight)
        factors[own], least = found.factor, min(least, found.df)
    return Inflation(factors, least)


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
