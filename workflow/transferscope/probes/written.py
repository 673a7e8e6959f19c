"""The tables of several probes of the same data, written as one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from transferscope.config.model import Model
from transferscope.probes.evaluation import (
    Division,
    ProbeData,
    ResultTables,
    Sink,
    scores_in_halves,
)
from transferscope.probes.probe import FrozenProbe
from transferscope.stores.parquet import parquet_parts, write_parquet


@dataclass(frozen=True)
class ScoreFiles:
    """Tables to write: scores, predictions, and scores in halves of the groups."""

    scores: Path
    predictions: Path
    halves: Path


def write_all(
    data: ProbeData,
    in_halves: Sequence[Division],
    probes: Mapping[FrozenProbe, Model],
    files: ScoreFiles,
    described: Mapping[str, Any],
) -> None:
    """Run probes on all divisions, and in halves of the groups, and write their tables.

    Parameters
    ----------
    data
        Data of the probes, with the divisions.
    in_halves
        Divisions in halves of the groups.
    probes
        Probes with their settings.
    files
        What is written.
    described
        Metadata of the tables.
    """
    metadata = dict(described)
    scores, halves = [], []
    with parquet_parts(files.predictions, metadata) as sink:
        for probe, settings in probes.items():
            run = _with(probe, settings)
            halves.append(scores_in_halves(data, in_halves, run))
            results = run(data, sink)
            results.flush()
            scores.append(results.scores())
    write_parquet(pd.concat(halves, ignore_index=True), files.halves, metadata)
    write_parquet(pd.concat(scores, ignore_index=True), files.scores, metadata)


def _with(probe: FrozenProbe, settings: Model) -> Callable[[ProbeData, Sink], ResultTables]:
    run = probe.load()

    def found(data: ProbeData, sink: Sink) -> ResultTables:
        results: ResultTables = run(data, settings, sink=sink)
        return results

    return found
