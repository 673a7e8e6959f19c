"""Aggregation of tiles to fields and groups: embeddings, labels, divisions and scores.

The embedding of an aggregate (a field or a group) is the elementwise mean or median over its tiles.
Only tiles that are in a split count. An aggregate has each class of any of its tiles; in a
single-label task, aggregates whose tiles have different classes are left out. An aggregate has the
role of its tiles, so that all levels are compared on the same folds. Groups are therefore scored
only with the scheme `group`: with `image` their tiles are on both sides. In halves of the groups,
too, an aggregate is where its tiles are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from transferscope.config.jobs import AggregateProbe
from transferscope.config.probed import Probed
from transferscope.config.probes import AggregationMethod, SplitSettings
from transferscope.errors import user_error
from transferscope.probes.evaluation import (
    Division,
    ProbeData,
    ResultTables,
    Sink,
    scores_in_halves,
)
from transferscope.probes.halves import can_be_halved
from transferscope.probes.heads import run_heads
from transferscope.probes.knn import run_knn
from transferscope.probes.labels import LabelledTiles, joint_labels
from transferscope.probes.score_table import HALF_COLUMNS, SCORE_COLUMNS
from transferscope.probes.variants import FIELDS, TILE, VARIANT, Variant, variants_of
from transferscope.runtime.arrays import Floats32, Integers, Texts
from transferscope.stores.embedding_store import EmbeddingStore
from transferscope.stores.origin import check_store, check_tiles
from transferscope.stores.parquet import parquet_parts, read_tile_table, write_parquet

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Aggregates:
    """The fields or groups of a dataset.

    Parameters
    ----------
    level
        `fov` or `group`.
    names
        Name of each aggregate, str [A].
    codes
        Aggregate of each tile, int64 [N]; -1 if it is in none.
    data
        Labels, groups and divisions of the aggregates; with empty embeddings, [A, 0].
    """

    level: str
    names: Texts
    codes: Integers
    data: ProbeData

    @classmethod
    def of(cls, tiles: ProbeData, level: str) -> Aggregates:
        """Aggregate the tiles in splits by field or group.

        Parameters
        ----------
        tiles
            The tiles; their embeddings are not read.
        level
            `fov` or `group`.

        Raises
        ------
        UserError
            If a fold has no training or test aggregate.
        """
        dataset = tiles.identity["dataset"]
        divisions = [d for d in tiles.divisions if level != "group" or d.scheme == "group"]
        divided = np.unique(np.concatenate([_rows_of(d) for d in divisions] or [np.empty(0, int)]))
        own = tiles.tiles.fovs if level == "fov" else tiles.tiles.groups
        names, codes = _known_codes(own, divided, tiles, level)
        found = replace(
            tiles,
            embeddings=np.empty((len(names), 0), dtype=np.float32),
            tiles=_merged(tiles.tiles, names, codes),
            divisions=[_of_aggregates(division, codes) for division in divisions],
        )
        if not divisions or any(not len(d.train) or not len(d.test) for d in found.divisions):
            what = f"the tiles of a {level} have different classes, so that none is left to score"
            fix = f"Take {level} out of `aggregate.levels`, or {dataset} out of the study."
            raise user_error(f"dataset {dataset}", what, fix)
        return cls(level, names, codes, found)

    def in_halves(self, divisions: Sequence[Division], settings: SplitSettings) -> list[Division]:
        """Return the divisions of these aggregates, given those of their tiles, in halves.

        None where the aggregates, of which some may have been left out, are too few to halve.
        """
        schemes = {division.scheme for division in self.data.divisions}
        found = [_of_aggregates(d, self.codes) for d in divisions if d.scheme in schemes]
        what = f"{self.data.identity['dataset']}, level {self.level}"
        if not found or not can_be_halved(self.data.tiles, settings, what):
            return []
        if any(not len(d.train) or not len(d.test) for d in found):
            logger.warning("%s: no half-samples, errors are larger: a fold would be empty", what)
            return []
        return found

    def embed(
        self, embeddings: Floats32, method: AggregationMethod, codes: Integers | None = None
    ) -> ProbeData:
        """Return the data of a probe, from embeddings [N, D] of the tiles, or of given codes."""
        codes = self.codes if codes is None else codes
        merged = aggregate(embeddings, codes, len(self.names), method)
        return replace(self.data, embeddings=merged)


def aggregate(
    embeddings: Floats32, codes: Integers, n_aggregates: int, method: AggregationMethod
) -> Floats32:
    """Return the elementwise mean or median of each aggregate, [A, D] float32.

    Parameters
    ----------
    embeddings
        [N, D].
    codes
        Aggregate of each row, int64 [N]; negative: none. No aggregate is empty.
    n_aggregates
        A.
    method
        `mean` or `median`.
    """
    order = np.argsort(codes, kind="stable")
    order = order[codes[order] >= 0]
    starts = np.searchsorted(codes[order], np.arange(n_aggregates))
    merged = np.empty((n_aggregates, embeddings.shape[1]), dtype=np.float32)
    for place, rows in enumerate(np.split(order, starts[1:])):
        own = embeddings[rows].astype(np.float64)
        merged[place] = own.mean(axis=0) if method == "mean" else np.median(own, axis=0)
    return merged


@dataclass(frozen=True)
class LevelFiles:
    """What the scores of a store at all levels are written to.

    Parameters
    ----------
    scores
        Table of the scores: `VARIANT`, then `SCORE_COLUMNS`.
    predictions
        Tables of the predictions, by name of the variant.
    halves
        Table of the scores in halves of the groups: `VARIANT`, then `HALF_COLUMNS`.
    """

    scores: Path
    predictions: Mapping[str, Path]
    halves: Path


def score_aggregates(
    data: ProbeData,
    halves: Sequence[Division],
    fields: tuple[Floats32, LabelledTiles] | None,
    probe: AggregateProbe,
    files: LevelFiles,
) -> None:
    """Score a store at every level, and in halves of the groups; write all tables.

    Parameters
    ----------
    data
        The tiles, with divisions of the full fraction.
    halves
        Divisions of the tiles in all halves, from `halves.half_divisions`; may be empty.
    fields
        Embeddings [F, D] of whole fields by the same backbone, and their tiles, if there are any.
    probe
        Levels, methods and heads.
    files
        What to write.

    Raises
    ------
    UserError
        If no aggregate is left at a level, or a field is missing.
    """
    described = {"classes": data.tiles.classes, "task": data.tiles.task}
    tables, in_halves = [], []
    for variant, own, halved in _data_of_variants(data, halves, fields, probe):
        with parquet_parts(files.predictions[variant.name], described) as sink:
            table = _score(own, probe, sink)
        tables.append(table.assign(**variant.columns)[[*VARIANT, *SCORE_COLUMNS]])
        of_halves = [scores_in_halves(own, halved, run) for run in _heads(probe)]
        table = pd.concat(of_halves, ignore_index=True)
        in_halves.append(table.assign(**variant.columns)[[*VARIANT, *HALF_COLUMNS]])
    write_parquet(pd.concat(tables, ignore_index=True), files.scores, described)
    write_parquet(pd.concat(in_halves, ignore_index=True), files.halves, described)


def read_fields(
    manifest: Path, representation: str, channels: str, table: Path
) -> tuple[Floats32, LabelledTiles]:
    """Read the embeddings [F, D] of whole fields, and their names.

    Parameters
    ----------
    manifest, representation, channels
        Embedding store, `backbone` or `backbone@output`, and channel strategy.
    table
        Tile table of the fields; its labels are not read.
    """
    store, tiles = EmbeddingStore(manifest), read_tile_table(table)
    probed = Probed("", representation, channels)
    check_store(manifest, store.attributes, probed)
    check_tiles(table, tiles, store)
    embeddings = store.read(probed.output, channels)
    return embeddings, LabelledTiles.from_table(tiles, [], "multi-label")


def _heads(probe: AggregateProbe) -> list[Callable[[ProbeData, Sink], ResultTables]]:
    """Return what runs the floor with logistic regression, and what runs k-NN."""
    heads = probe.heads.model_copy(update={"kinds": ["logreg"]})
    return [
        lambda data, sink: run_heads(data, heads, sink=sink),
        lambda data, sink: run_knn(data, probe.knn, sink=sink),
    ]


def _score(data: ProbeData, probe: AggregateProbe, sink: Sink) -> pd.DataFrame:
    tables = []
    for run in _heads(probe):
        results = run(data, sink)
        results.flush()
        tables.append(results.scores())
    return pd.concat([table for table in tables if len(table)], ignore_index=True)


def _data_of_variants(
    data: ProbeData,
    halves: Sequence[Division],
    fields: tuple[Floats32, LabelledTiles] | None,
    probe: AggregateProbe,
) -> Iterator[tuple[Variant, ProbeData, Sequence[Division]]]:
    """Yield each variant with its data and its divisions in halves."""
    levels: dict[str, Aggregates] = {
        level: Aggregates.of(data, level) for level in probe.settings.levels
    }
    in_halves = {
        level: found.in_halves(halves, probe.splits) if halves else []
        for level, found in levels.items()
    }
    for variant in variants_of(probe.settings, with_fields=fields is not None):
        if variant.level == TILE:
            yield variant, data, halves
            continue
        found, halved = levels[variant.level], in_halves[variant.level]
        if variant.source != FIELDS:
            yield variant, found.embed(data.embeddings, variant.method), halved
        elif fields is not None:
            codes = _codes_of_fields(fields[1], data.tiles, found)
            yield variant, found.embed(fields[0], variant.method, codes), halved


def _codes_of_fields(fields: LabelledTiles, tiles: LabelledTiles, found: Aggregates) -> Integers:
    """Return the aggregate of each field: that of the tiles that name it in `fov`."""
    inside = found.codes >= 0
    known = dict(zip(tiles.fovs[inside], found.codes[inside], strict=True))
    if missing := sorted(set(known) - set(fields.fovs)):
        what = f"{len(missing)} fields are not in the dataset of fields, first {missing[0]}"
        fix = "Give both datasets the same `fov` names, or take it out of `aggregate.fields`."
        raise user_error("aggregate.fields", what, fix)
    return np.array([known.get(fov, -1) for fov in fields.fovs], dtype=np.int64)


def _rows_of(division: Division) -> Integers:
    return np.concatenate([division.train, division.validation, division.test])


def _known_codes(
    own: Texts, divided: Integers, tiles: ProbeData, level: str
) -> tuple[Texts, Integers]:
    """Return the names of the aggregates, and the aggregate of each tile; -1: none."""
    inside, names = pd.factorize(own[divided], sort=True)
    kept = np.ones(len(names), dtype=bool)
    if not tiles.is_multi_label:
        kept = joint_labels(tiles.tiles.matrix[divided], inside, len(names)).sum(axis=1) == 1
        if not kept.all():
            logger.warning(
                "%s: %d of %d of level %s have tiles of different classes and are left out",
                tiles.identity["dataset"],
                (~kept).sum(),
                len(kept),
                level,
            )
    renumbered = np.where(kept, np.cumsum(kept) - 1, -1)
    codes = np.full(len(own), -1, dtype=np.int64)
    codes[divided] = renumbered[inside]
    return np.asarray(names, dtype=object)[kept], codes


def _merged(tiles: LabelledTiles, names: Texts, codes: Integers) -> LabelledTiles:
    inside = np.flatnonzero(codes >= 0)
    _, first = np.unique(codes[inside], return_index=True)
    rows = inside[first]
    return LabelledTiles(
        matrix=joint_labels(tiles.matrix[inside], codes[inside], len(names)),
        classes=tiles.classes,
        task=tiles.task,
        tile_ids=names,
        groups=tiles.groups[rows],
        fovs=names,
        batches=tiles.batches[rows],
        columns={name: values[rows] for name, values in tiles.columns.items()},
    )


def _of_aggregates(division: Division, codes: Integers) -> Division:
    """Give each aggregate the role of its tiles."""
    inside = codes[division.train] >= 0
    train, first = np.unique(codes[division.train][inside], return_index=True)
    return replace(
        division,
        train=train,
        validation=_known(codes[division.validation]),
        test=_known(codes[division.test]),
        train_shares=division.train_shares[inside][first],
    )


def _known(codes: Integers) -> Integers:
    distinct: Integers = np.unique(codes[codes >= 0])
    return distinct
