"""Recall of known pairs by the embeddings of entities: one tidy table of all maps and sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from transferscope.config.relations import RelationSettings
from transferscope.errors import user_error
from transferscope.relations.cosines import (
    STEPS,
    CosineCounts,
    count_cosines,
    pair_steps,
    unit_vectors,
)
from transferscope.relations.entities import Entities
from transferscope.relations.intervals import draw_entities, intervals
from transferscope.relations.pairs import KnownPairs
from transferscope.relations.percentiles import Measure, measures
from transferscope.relations.permutations import permuted
from transferscope.relations.table_names import (
    ALL_PAIRS,
    AUROC,
    COLLAPSED,
    FEW_ENTITIES,
    NO_PAIRS,
    SAME_STRATUM,
    SCORED,
)
from transferscope.runtime.arrays import Bools, Floats, Floats32

RECALL_COLUMNS = [
    "map",
    "correction",
    "source",
    "null",
    "measure",
    "threshold",
    "value",
    "low",
    "high",
    "chance",
    "enrichment",
    "chance_low",
    "chance_high",
    "p",
    "n_entities",
    "n_pairs",
    "n_paired_entities",
    "status",
]
DIFFERENCE_COLUMNS = [
    "map",
    "correction",
    "reference",
    "reference_correction",
    "source",
    "null",
    "measure",
    "threshold",
    "difference",
    "low",
    "high",
    "n_pairs",
]


# A map and its correction.
MapName = tuple[str, str]


@dataclass(frozen=True)
class SourceRecall:
    """Recall of one source by one map.

    Parameters
    ----------
    rows
        Rows of the table, of `RECALL_COLUMNS` without the map's name.
    values
        By kind of null: measures, pairs, and what each pair is worth, [K, M]; none if not scored.
    """

    rows: list[dict[str, Any]]
    values: dict[str, tuple[list[Measure], KnownPairs, Floats]]


def recall(
    maps: Mapping[MapName, Entities], sources: Sequence[KnownPairs], settings: RelationSettings
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the recall of all sources by all maps, and the paired differences of maps.

    Parameters
    ----------
    maps
        Maps of the same entities, in the same order. Each is compared with the first map in the
        same correction, and with itself in the first correction.
    sources
        Known pairs among these entities.
    settings
        Thresholds, draws and permutations.

    Raises
    ------
    UserError
        If the maps have different entities.
    """
    first = next(iter(maps))
    names = maps[first].names
    for name, entities in maps.items():
        if entities.names != names:
            what = f"has other entities than {first[0]}"
            raise user_error(name[0], what, "Choose the entities that all maps have.")
    weights = draw_entities(max(len(names), 1), settings.draws, settings.seed)
    found = {name: _of_map(entities, sources, settings, weights) for name, entities in maps.items()}
    table = [
        {"map": name, "correction": correction, **row}
        for (name, correction), each in found.items()
        for one in each
        for row in one.rows
    ]
    differences = [
        {
            "map": other[0],
            "correction": other[1],
            "reference": reference[0],
            "reference_correction": reference[1],
            **row,
        }
        for other, reference in _compared(list(maps))
        for mine, its in zip(found[other], found[reference], strict=True)
        for row in _differences(mine, its, settings, weights)
    ]
    return (
        pd.DataFrame(table, columns=RECALL_COLUMNS),
        pd.DataFrame(differences, columns=DIFFERENCE_COLUMNS),
    )


def _compared(names: Sequence[MapName]) -> Iterator[tuple[MapName, MapName]]:
    """Yield each map with every one that it is compared with."""
    first_map, first_correction = names[0]
    for name, correction in names:
        if name != first_map:
            same = first_map, correction
            yield (name, correction), same if same in names else names[0]
        before = name, first_correction
        if correction != first_correction and before in names:
            yield (name, correction), before


def _of_map(
    entities: Entities,
    sources: Sequence[KnownPairs],
    settings: RelationSettings,
    weights: Floats32,
) -> list[SourceRecall]:
    units = unit_vectors(entities.vectors)
    nulls: list[tuple[str, Bools | None]] = [(ALL_PAIRS, None)]
    if (members := entities.members()) is not None:
        nulls.append((SAME_STRATUM, members))
    enough = len(units) >= settings.min_entities
    counted = [(null, own, count_cosines(units, own)) for null, own in nulls if enough]
    found = []
    for source in sources:
        one = SourceRecall([], {})
        for null, own, counts in counted:
            _add_source(one, units, source, (null, own, counts), settings, weights)
        if not enough:
            one.rows.append(_empty(source, ALL_PAIRS, len(units), FEW_ENTITIES))
        found.append(one)
    return found


def _add_source(
    found: SourceRecall,
    units: Floats,
    source: KnownPairs,
    null: tuple[str, Bools | None, CosineCounts],
    settings: RelationSettings,
    weights: Floats32,
) -> None:
    """Add the recall of a source against one kind of null."""
    kind, members, counts = null
    pairs = source if members is None else _within(source, members)
    if counts.is_collapsed or not len(pairs):
        status = COLLAPSED if counts.is_collapsed else NO_PAIRS
        found.rows.append(_empty(pairs, kind, len(units), status))
        return
    steps = pair_steps(units, pairs.first, pairs.second)
    known = CosineCounts(np.bincount(steps, minlength=STEPS))
    wanted = measures(counts, known, settings.thresholds)
    values = np.stack([measure.by_step[steps] for measure in wanted], axis=1)
    found.values[kind] = (wanted, pairs, values)
    with_intervals = intervals(values, pairs, weights, settings.level, if_equal=1)
    low = high = p = np.full(len(wanted), np.nan)
    # Permuted pairs leave their stratum, so there is no such null within strata.
    if settings.permutations and members is None:
        permuted_values = permuted(units, pairs, wanted, settings.permutations, settings.seed)
        p = permuted_values.p(values.mean(axis=0))
        low, high = permuted_values.band(settings.level)
    for column, (measure, interval) in enumerate(zip(wanted, with_intervals, strict=True)):
        found.rows.append(
            {
                **_empty(pairs, kind, len(units), SCORED),
                "measure": measure.name,
                "threshold": measure.threshold,
                "value": interval.value,
                "low": max(interval.low, 0.0),
                "high": min(interval.high, 1.0),
                "chance": measure.chance,
                "enrichment": np.nan if measure.name == AUROC else interval.value / measure.chance,
                "chance_low": low[column],
                "chance_high": high[column],
                "p": p[column],
            }
        )


def _within(source: KnownPairs, members: Bools) -> KnownPairs:
    """Return the known pairs that share a stratum."""
    kept = (members[source.first] & members[source.second]).any(axis=1)
    return KnownPairs(
        source.source,
        source.first[kept],
        source.second[kept],
        source.n_listed,
        source.n_self,
        source.n_repeated,
        source.n_outside,
        source.n_unknown,
    )


def _empty(pairs: KnownPairs, kind: str, n_entities: int, status: str) -> dict[str, Any]:
    sizes = {"n_entities": n_entities, "n_pairs": len(pairs)}
    more = {"n_paired_entities": pairs.n_entities if len(pairs) else 0, "status": status}
    return {"source": pairs.source, "null": kind, **sizes, **more}


def _differences(
    mine: SourceRecall, first: SourceRecall, settings: RelationSettings, weights: Floats32
) -> list[dict[str, Any]]:
    """Return the paired differences of a map from the reference, where both are scored."""
    rows = []
    for kind, (wanted, pairs, values) in mine.values.items():
        if kind not in first.values:
            continue
        gained = values - first.values[kind][2]
        for measure, interval in zip(
            wanted, intervals(gained, pairs, weights, settings.level), strict=True
        ):
            rows.append(
                {
                    "source": pairs.source,
                    "null": kind,
                    "measure": measure.name,
                    "threshold": measure.threshold,
                    "difference": interval.value,
                    "low": interval.low,
                    "high": interval.high,
                    "n_pairs": len(pairs),
                }
            )
    return rows
