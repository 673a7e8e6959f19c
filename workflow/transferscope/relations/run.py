"""From maps of rows and sources of pairs to all tables: correct, aggregate, score."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from transferscope.config.correction import NONE, CorrectionName
from transferscope.config.relations import RelationSettings
from transferscope.correction.methods import correct
from transferscope.correction.rows import Rows
from transferscope.errors import user_error
from transferscope.relations.best import best_map
from transferscope.relations.complexes import COLUMNS as SIMILARITY_COLUMNS
from transferscope.relations.complexes import similarities
from transferscope.relations.entities import Entities, aggregated
from transferscope.relations.maps import RowMap
from transferscope.relations.new_pairs import new_pairs
from transferscope.relations.pairs import KnownPairs, known_pairs
from transferscope.relations.recall import MapName, recall
from transferscope.relations.replicates import COLUMNS as REPLICATE_COLUMNS
from transferscope.relations.replicates import Replicates, activity, consistency
from transferscope.relations.sources import ListedPairs
from transferscope.relations.table_names import LABELS_ONLY, RANDOM
from transferscope.runtime.arrays import Floats32
from transferscope.runtime.atomic_files import write_atomically
from transferscope.runtime.progress import progress_bar
from transferscope.runtime.seeds import derive_rng
from transferscope.runtime.spreadsheets import guarded

logger = logging.getLogger(__name__)

RANDOM_SIZE = 384
N_NEW_PAIRS = 200
P_ACTIVE = 0.05
PERMUTATIONS = 1000
# Column of `activity`: whether all replicates lie in one position of their plates.
ONE_POSITION = "one_position"


@dataclass(frozen=True)
class Related:
    """All results.

    Parameters
    ----------
    tables
        By name of the file: `recall`, `differences`, `new_pairs`, `similarity`, `activity`, which
        is empty without controls, and with targets `consistency`.
    record
        Plain data: rows and pairs left out, and what the corrections did.
    sentences
        What a reader has to know first.
    """

    tables: dict[str, pd.DataFrame]
    record: dict[str, Any]
    sentences: list[str]

    def write(self, folder: Path) -> None:
        """Write tables as CSV and the record as JSON into a folder."""
        for name, table in self.tables.items():
            write_atomically(folder / f"{name}.csv", guarded(table).to_csv(index=False))
        write_atomically(folder / "record.json", json.dumps(self.record, indent=2) + "\n")


def relate(
    maps: Sequence[RowMap],
    sources: Sequence[ListedPairs],
    settings: RelationSettings,
    *,
    references: bool = True,
) -> Related:
    """Relate maps of the same entities to known pairs.

    Parameters
    ----------
    maps
        Embeddings with the roles of their rows; the first one, with the first correction, is the
        reference of differences.
    sources
        Pairs as listed.
    settings
        Corrections, thresholds, draws and permutations.
    references
        Whether to score random embeddings and, if the rows have labels, the labels alone.

    Raises
    ------
    UserError
        If a correction needs batches or controls that a map does not have, or if the maps have no
        entity in common.
    """
    record: dict[str, Any] = {"settings": settings.model_dump(mode="json"), "maps": {}}
    found: dict[MapName, Entities] = {}
    replicates: list[pd.DataFrame] = []
    targets: list[pd.DataFrame] = []
    with progress_bar("Relating", len(maps) * len(settings.corrections), "maps") as bar:
        for one in maps:
            record["maps"][one.name] = {"n_rows": len(one.entities), "left_out": one.skipped}
            for correction in settings.corrections:
                name = one.name, correction
                vectors, done = _corrected(one, correction, settings)
                record["maps"][one.name][correction] = done
                found[name] = aggregated(vectors, _names(one), settings.aggregate, one.labels)
                replicates += _activity(one, name, vectors, settings)
                targets += _consistency(one, name, found[name], settings)
                bar.update()
    common = _common(found)
    record["n_entities"] = len(common)
    chosen = {name: entities.chosen(common) for name, entities in found.items()}
    known = [known_pairs(each.name, each.first, each.second, common) for each in sources]
    record["sources"] = {pairs.source: _counts(pairs) for pairs in known}
    scored = dict(chosen)
    if references:
        scored |= _references(next(iter(chosen.values())), settings.seed)
    table, differences = recall(scored, known, settings)
    tables = {"recall": table, "differences": differences}
    tables["new_pairs"] = _new_pairs(chosen, known, settings.min_entities)
    tables["similarity"] = _similarity(chosen, known, table)
    tables["activity"] = _joined(replicates, [*REPLICATE_COLUMNS, ONE_POSITION])
    if targets:
        tables["consistency"] = pd.concat(targets, ignore_index=True)
    return Related(tables, record, _sentences(record, tables))


def _corrected(
    one: RowMap, correction: CorrectionName, settings: RelationSettings
) -> tuple[Floats32, dict[str, Any]]:
    if correction != NONE and one.batches is None:
        logger.warning(
            "%s, %s: no batch column, so that all rows are one batch", one.name, correction
        )
    done = correct(
        one.embeddings, Rows.of(one.batches, one.controls), correction, published=settings.published
    )
    for note in done.notes:
        logger.warning("%s, %s: %s", one.name, correction, note)
    return done.embeddings, {**done.record, "notes": done.notes}


def _names(one: RowMap) -> Any:
    return np.where(one.controls, "", one.entities).astype(object)


def _activity(
    one: RowMap, name: MapName, vectors: Floats32, settings: RelationSettings
) -> list[pd.DataFrame]:
    """Return the table of activity of a map that has controls."""
    if not one.controls.any():
        return []
    codes = Rows.of(one.batches, one.controls).codes
    rows = Replicates.of(vectors, _names(one), codes, one.controls)
    table = activity(rows, PERMUTATIONS, settings.seed)
    table[ONE_POSITION] = _in_one_position(one, list(table["name"]))
    return [_named(name, table)]


def _in_one_position(one: RowMap, names: Sequence[str]) -> list[bool | None]:
    """Return whether all rows of a perturbation lie in one well position; None: unknown."""
    if one.positions is None:
        return [None] * len(names)
    positions = pd.Series(one.positions).groupby(_names(one)).nunique()
    return [bool(positions[name] == 1) for name in names]


def _consistency(
    one: RowMap, name: MapName, entities: Entities, settings: RelationSettings
) -> list[pd.DataFrame]:
    """Return the table of consistency of a map that has targets."""
    if one.targets is None:
        return []
    owned = aggregated(vectors_of_none(len(one.entities)), _names(one), "mean", one.targets)
    assert owned.strata is not None  # as targets are given
    table = consistency(entities.vectors, owned.strata, PERMUTATIONS, settings.seed)
    return [_named(name, table)]


def vectors_of_none(n_rows: int) -> Floats32:
    """Return vectors without features, [N, 0]."""
    return np.empty((n_rows, 0), dtype=np.float32)


def _named(name: MapName, table: pd.DataFrame) -> pd.DataFrame:
    table.insert(0, "map", name[0])
    table.insert(1, "correction", name[1])
    return table


def _common(maps: dict[MapName, Entities]) -> list[str]:
    """Return the entities that all maps have."""
    common = set.intersection(*(set(entities.names) for entities in maps.values()))
    for name, entities in maps.items():
        if lost := len(entities.names) - len(common):
            logger.warning("%s: %d entities are not in all maps and are left out", name[0], lost)
    if not common:
        raise user_error("maps", "have no entity in common", "Check the column of entities.")
    return sorted(common)


def _references(entities: Entities, seed: int) -> dict[MapName, Entities]:
    """Return random embeddings, and the labels as embeddings, of the same entities."""
    rng = derive_rng("random embeddings", seed)
    size = len(entities.names), RANDOM_SIZE
    vectors = rng.normal(size=size).astype(np.float32)
    found = {(RANDOM, "none"): Entities(entities.names, vectors, entities.strata)}
    if (members := entities.members()) is not None and members.any():
        labels = members.astype(np.float32)
        found[LABELS_ONLY, "none"] = Entities(entities.names, labels, entities.strata)
    return found


def _new_pairs(
    maps: dict[MapName, Entities], known: Sequence[KnownPairs], least: int
) -> pd.DataFrame:
    tables = [
        _named(name, new_pairs(entities, known, N_NEW_PAIRS))
        for name, entities in maps.items()
        if len(entities.names) >= least
    ]
    return _joined(tables, ["entity1", "entity2", "cosine"])


def _similarity(
    maps: dict[MapName, Entities], known: Sequence[KnownPairs], recalled: pd.DataFrame
) -> pd.DataFrame:
    """Return cosines within and between complexes of each source, in the map that recalls most."""
    tables = []
    for pairs in known:
        if (name := best_map(recalled, pairs.source)) is None:
            continue
        table = _named(name, similarities(maps[name], pairs))
        table.insert(0, "source", pairs.source)
        tables.append(table)
    if not tables:
        return pd.DataFrame(columns=["source", "map", "correction", *SIMILARITY_COLUMNS])
    return pd.concat(tables, ignore_index=True)


def _joined(tables: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    """Return tables below each other, or one without rows."""
    if not tables:
        return pd.DataFrame(columns=["map", "correction", *columns])
    return pd.concat(tables, ignore_index=True)


def _counts(pairs: KnownPairs) -> dict[str, int]:
    counts = {k: v for k, v in asdict(pairs).items() if k.startswith("n_")}
    return {"n_used": len(pairs), **counts}


def _sentences(record: dict[str, Any], tables: dict[str, pd.DataFrame]) -> list[str]:
    """Say what was left out, and what was not scored."""
    found = []
    for name, told in record["maps"].items():
        found += [f"{name}: {n} rows left out: {reason}" for reason, n in told["left_out"].items()]
    for source, n in record["sources"].items():
        found.append(
            f"{source}: {n['n_used']} of {n['n_listed']} listed pairs used; left out: "
            f"{n['n_repeated']} repeated, {n['n_self']} with itself, {n['n_outside']} with one of "
            f"{n['n_unknown']} names that the maps do not have"
        )
    recalled = tables["recall"]
    unscored = recalled[recalled["status"] != "scored"]
    for row in unscored.itertuples():
        found.append(f"{row.map} ({row.correction}), {row.source}: not scored: {row.status}")
    for (name, correction), own in _groups(tables.get("activity")):
        active = int((own["p_adjusted"] < P_ACTIVE).sum())
        mean = own["mean_average_precision"].mean()
        found.append(
            f"{name} ({correction}): {active} of {len(own)} perturbations active at a false "
            f"discovery rate of {P_ACTIVE:g}, mean average precision {mean:.3f}"
        )
        if fixed := int(own[ONE_POSITION].eq(True).sum()):
            found.append(
                f"{name} ({correction}): {fixed} of {len(own)} perturbations are in one well "
                "position throughout: that they are active may be due to their position"
            )
    return found


def _groups(table: pd.DataFrame | None) -> Any:
    return [] if table is None else table.groupby(["map", "correction"], sort=False)
