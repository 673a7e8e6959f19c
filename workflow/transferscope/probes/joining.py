"""Probes of several stores as one, and of the one of them that validation tiles choose.

Two backbones may know different things: heads that see the columns of both may do better than on
either. What joining gains is its score minus that of the better store, and which one is better is
not known beforehand: in each fold it is the one whose own head scores higher on the validation
tiles, so that no test tile takes part in the choice. Each store alone is tested, too: a chosen
store may be the wrong one, which is easier to beat than the better one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from transferscope.config.joining import CHOSEN, JOINED, SCHEME, part
from transferscope.config.model import Model
from transferscope.config.probes import SplitSettings
from transferscope.config.vocabulary import Metric
from transferscope.errors import user_error
from transferscope.probes.evaluation import Division, ProbeData, ResultTables, Tested
from transferscope.probes.halves import half_divisions
from transferscope.probes.probe import FrozenProbe
from transferscope.probes.score_table import FLOOR
from transferscope.probes.written import ScoreFiles
from transferscope.stores.parquet import parquet_parts, write_parquet


def join(
    parts: Sequence[ProbeData],
    name: str,
    splits: SplitSettings,
    probes: Mapping[FrozenProbe, Model],
    metric: Metric,
    files: ScoreFiles,
) -> None:
    """Test the probes of joined stores and of each alone, and write all tables.

    Parameters
    ----------
    parts
        The stores, of the same tiles, with all divisions at the largest fraction.
    name
        Name of the joined store.
    splits
        The study's `splits`.
    probes
        Probes with their settings, which scale joined stores by `ProbeData.parts`.
    metric
        By which a store is chosen on validation tiles.
    files
        What is written; the column `scheme` is `joined`, `chosen`, `part-1` and so on.

    Raises
    ------
    UserError
        If the stores are of different tiles.
    """
    sides = _Sides(joined(parts, name), parts, metric)
    data = sides.joined
    divisions = [division for division in data.divisions if division.scheme == SCHEME]
    by_group = splits.model_copy(update={"schemes": [SCHEME]})
    largest = max(division.fraction for division in divisions)
    halves = half_divisions(data.tiles, by_group, [largest], data.identity["dataset"])
    described: dict[str, Any] = {"classes": data.tiles.classes, "task": data.tiles.task}
    scores, in_halves = [], []
    with parquet_parts(files.predictions, described) as sink:
        for probe, settings in probes.items():
            halved = ResultTables(data, _ignore)
            for pair in _pairs(halves):
                sides.test(probe, settings, pair, halved)
            in_halves.append(halved.half_scores())
            whole = ResultTables(data, sink)
            sides.test(probe, settings, divisions, whole)
            whole.flush()
            scores.append(whole.scores())
    write_parquet(pd.concat(in_halves, ignore_index=True), files.halves, described)
    write_parquet(pd.concat(scores, ignore_index=True), files.scores, described)


def joined(parts: Sequence[ProbeData], name: str) -> ProbeData:
    """Return the data of several stores as those of one, with the columns of all.

    Raises
    ------
    UserError
        If they are of different tiles.
    """
    first, *others = parts
    for other in others:
        if list(other.tiles.tile_ids) != list(first.tiles.tile_ids):
            what = f"{other.identity['backbone']} is of other tiles"
            raise user_error(name, what, "Give stores of the same dataset and study.")
    return replace(
        first,
        embeddings=np.concatenate([each.embeddings for each in parts], axis=1),
        identity={**first.identity, "backbone": name},
        number_format=None,
        store=None,
        parts=tuple(each.embeddings.shape[1] for each in parts),
    )


@dataclass(frozen=True)
class _Sides:
    """What is compared: the joined store, its parts, and the chosen one of these."""

    joined: ProbeData
    parts: Sequence[ProbeData]
    metric: Metric

    def test(
        self,
        probe: FrozenProbe,
        settings: Model,
        divisions: Sequence[Division],
        into: ResultTables,
    ) -> None:
        """Train and test a probe on each side, and add all to some tables."""
        run = probe.load()
        results = [
            run(replace(data, divisions=list(divisions)), settings)
            for data in (self.joined, *self.parts)
        ]
        whole, *single = map(_by_head, results)
        for key, tested in whole.items():
            alone = [each[key] for each in single]
            _add(tested, JOINED, into)
            for number, each in enumerate(alone, 1):
                _add(each, part(number), into)
            known = [
                found.on_validation(each, self.metric)
                for found, each in zip(results[1:], alone, strict=True)
            ]
            # The first of equals, and where nothing is known.
            _add(alone[int(np.argmax(np.nan_to_num(known, nan=-np.inf)))], CHOSEN, into)


def _by_head(results: ResultTables) -> dict[tuple[Any, ...], Tested]:
    """Return what was predicted by head and division; not by the floor, which uses no store."""
    return {
        (each.head, each.k, each.division.seed, *each.division.names): each
        for each in results.tested
        if each.head != FLOOR
    }


def _add(tested: Tested, side: str, into: ResultTables) -> None:
    division = replace(tested.division, scheme=side)
    predicted = tested.predicted, tested.scores, tested.validation
    into.add(tested.head, tested.k, division, *predicted)


def _pairs(halves: Sequence[Division]) -> Iterator[list[Division]]:
    """Yield the divisions of one pair of halves after the other, so that few are in memory."""
    found: dict[int, list[Division]] = {}
    for division in halves:
        if division.half is not None:
            found.setdefault(division.half // 2, []).append(division)
    yield from found.values()


def _ignore(_predictions: pd.DataFrame) -> None:
    """Receive predictions of halves, of which only the scores are kept."""
