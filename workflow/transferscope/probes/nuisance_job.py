"""The step that asks a store for what it knows besides biology, and writes what it found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from transferscope.config.jobs import NuisanceProbe
from transferscope.errors import UserError
from transferscope.probes.evaluation import ProbeData
from transferscope.probes.nuisance import (
    Predicted,
    Target,
    column_targets,
    predict,
)
from transferscope.probes.nuisance_columns import (
    nuisance_problems,
    numbers_of,
    texts_of,
    usual_columns,
)
from transferscope.probes.nuisance_scores import NUMBER
from transferscope.probes.robustness import (
    Neighbourhood,
    common_to_two,
    index,
    shuffled_indices,
    strata_of,
    without_each_group,
)
from transferscope.probes.robustness_errors import variance
from transferscope.runtime.arrays import Texts
from transferscope.runtime.progress import progress_bar
from transferscope.runtime.seeds import derive_rng
from transferscope.stores.parquet import read_parquet, write_parquet

TARGET_COLUMNS = ["target", "kind", "n_values", "n_left_out", "reason"]
INDEX_COLUMNS = [
    "column",
    "k",
    "robustness_index",
    "variance",
    "shuffled",
    "p",
    "n_tiles",
    "n_groups",
    "n_classes",
    "reason",
]
REPLICATE_COLUMNS = ["column", "group", "stratum", "value"]


@dataclass(frozen=True)
class Asked:
    """What is asked of one dataset.

    Parameters
    ----------
    targets
        What is predicted.
    robustness
        Column -> its values, str [N].
    """

    targets: list[Target]
    robustness: dict[str, Texts]


def asked_of(
    table: pd.DataFrame, measures: pd.DataFrame | None, job: NuisanceProbe, where: Path
) -> Asked:
    """Return what is asked of the tiles of a table.

    Parameters
    ----------
    table
        Tile table, with the columns of the sheet.
    measures
        One column per measure, one row per tile; None: they are not predicted.
    job
        Settings.
    where
        File of the table, for messages.

    Raises
    ------
    UserError
        If a named column is missing, or one of numbers has something else.
    """
    settings = job.nuisance
    if problems := nuisance_problems(table, job.nuisance.named, str(where)):
        raise UserError(problems)
    usual = usual_columns(table, job.roles)
    columns, robust = (
        own if given is None else given
        for own, given in zip(usual, (settings.columns, settings.robustness), strict=True)
    )
    position = job.roles.of([str(name) for name in table.columns]).position
    targets = [
        each
        for name in columns
        for each in column_targets(name, texts_of(table[name]), is_position=name == position)
    ]
    for name in settings.numbers:
        targets.append(Target(name, NUMBER, numbers_of(table[name])))
    if measures is not None:
        own = measures.set_index("tile_id").loc[list(table["tile_id"].astype(str))]
        targets += [Target(str(n), NUMBER, own[n].to_numpy(np.float64)) for n in own.columns]
    return Asked(targets, {name: texts_of(table[name]) for name in robust})


def measure_nuisances(
    data: ProbeData,
    table: pd.DataFrame,
    measures: Path | None,
    job: NuisanceProbe,
    where: Path,
    files: Sequence[Path],
) -> None:
    """Predict all that is asked for, find the robustness indices, and write all tables.

    Parameters
    ----------
    data
        Embeddings, labels and divisions.
    table
        Tile table of the same tiles.
    measures
        Table of the measures of the tiles; None: they are not predicted.
    job
        Settings.
    where
        File of the tile table, for messages.
    files
        What is written, in the order of `config.nuisance.TABLES`.
    """
    measured = None if measures is None else read_parquet(measures, ["tile_id"])
    asked = asked_of(table, measured, job, where)
    found = []
    with progress_bar("Besides biology", len(asked.targets) + len(asked.robustness), "") as bar:
        for each in predict(data, asked.targets, job.heads, job.splits):
            found.append(each)
            bar.update(1)
        indices, replicates = [], []
        for name, values in asked.robustness.items():
            row, own = robustness(data, name, values, job)
            indices.append(row)
            replicates.append(own)
            bar.update(1)
    tables = (
        _targets(found),
        *(_joined([getattr(each, name) for each in found]) for name in ("predictions", "halves")),
        pd.DataFrame(indices, columns=INDEX_COLUMNS),
        _joined(replicates) if replicates else pd.DataFrame(columns=REPLICATE_COLUMNS),
    )
    for frame, path in zip(tables, files, strict=True):
        write_parquet(_typed(frame), path, dict(data.identity))


def _targets(found: Sequence[Predicted]) -> pd.DataFrame:
    rows = [
        (each.target.name, each.target.kind, each.n_values, each.n_left_out, each.reason)
        for each in found
    ]
    return pd.DataFrame(rows, columns=TARGET_COLUMNS)


def _joined(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    filled = [part for part in parts if not part.empty]
    if filled:
        return pd.concat(filled, ignore_index=True)
    return parts[0] if parts else pd.DataFrame()


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose columns of texts have that type, also where it is empty."""
    texts = ("target", "kind", "reason", "column", "group")
    return table.astype({name: "str" for name in texts if name in table})


def robustness(
    data: ProbeData, column: str, values: Texts, job: NuisanceProbe
) -> tuple[dict[str, object], pd.DataFrame]:
    """Return the robustness index against one column, and the index without each group.

    Only labelled tiles with a value count, as queries and as neighbours.

    Parameters
    ----------
    data
        Embeddings, labels and groups.
    column, values
        Name of the column, and its values, str [N]; empty where unknown.
    job
        Number of neighbours and of permutations.
    """
    rows = np.flatnonzero(data.tiles.labelled & (values != ""))
    groups, names = pd.factorize(data.tiles.groups[rows], sort=True)
    batches, known = pd.factorize(values[rows], sort=True)
    matrix = data.tiles.matrix[rows]
    row: dict[str, object] = dict.fromkeys(INDEX_COLUMNS, np.nan)
    row |= {"column": column, "k": job.nuisance.k, "n_tiles": len(rows), "n_groups": len(names)}
    row |= {"n_classes": len(np.unique(matrix, axis=0)), "reason": ""}
    nothing = pd.DataFrame(columns=REPLICATE_COLUMNS)
    if len(known) < 2:
        return row | {"reason": "all labelled tiles have the same value"}, nothing
    hood = Neighbourhood.of(
        data.embeddings[rows],
        matrix,
        batches.astype(np.int64),
        groups.astype(np.int64),
        job.nuisance.k,
    )
    value = index(hood)
    if not np.isfinite(value):
        return row | {"reason": WHY_NOT}, nothing
    replicates, strata = without_each_group(hood), strata_of(hood)
    rng = derive_rng("robustness", data.identity["dataset"], column)
    null = shuffled_indices(hood, job.nuisance.permutations, rng)
    row |= {
        "k": hood.k,
        "robustness_index": value,
        "variance": variance(replicates, strata, common_to_two(hood)),
        "shuffled": float(np.nanmean(null)),
        "p": (1 + int((null <= value).sum())) / (1 + len(null)),
    }
    own = {"column": column, "group": names, "stratum": strata, "value": replicates}
    return row, pd.DataFrame(own)[REPLICATE_COLUMNS]


WHY_NOT = (
    "no tile has both a tile of its class with another value and a tile of another class with the "
    "same value: each class is of one value, or each value of one class"
)
