"""Embeddings of rows to relate: of a store, or of a table of features from anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from transferscope.config.channel_strategies import store_strategy
from transferscope.config.probed import CORRECTED_BY
from transferscope.config.roles import YES, RoleColumns, RoleSettings
from transferscope.correction.role_checks import roles_in, texts
from transferscope.errors import UserError, user_error
from transferscope.raw.text_tables import Finding, as_problems, missing_columns, read_table
from transferscope.runtime.arrays import Bools, Floats32, Texts
from transferscope.stores.embedding_store import EmbeddingStore
from transferscope.stores.origin import check_origin, check_tiles
from transferscope.stores.parquet import read_parquet

METADATA_PREFIX = "Metadata_"


@dataclass(frozen=True)
class Roles:
    """What columns of a table mean.

    Parameters
    ----------
    named
        Columns of the perturbation (the entity of a row), the batch, and what tells a control.
    labels, targets
        Columns of labels and of targets; None: there is none.
    ignore
        More columns that are no features.
    """

    named: RoleSettings = field(default_factory=RoleSettings)
    labels: str | None = None
    targets: str | None = None
    ignore: Sequence[str] = ()

    def columns(self, own: RoleColumns) -> list[str]:
        """Return all columns with a role, each once; `own` are those of a table."""
        found = [*own.named, self.labels, self.targets]
        return list(dict.fromkeys(column for column in found if column is not None))


@dataclass(frozen=True)
class RowMap:
    """Embeddings of rows, with their roles; all values are finite.

    Parameters
    ----------
    name
        Name of the map.
    embeddings
        float32 [N, D].
    entities, batches, labels, targets
        str [N]; empty where unknown; None if there is no such column.
    controls
        Whether a row is a negative control, bool [N].
    positions
        Well of a row within its plate, str [N]; None if there is no such column.
    skipped
        Reason -> number of rows left out.
    """

    name: str
    embeddings: Floats32
    entities: Texts
    batches: Texts | None
    controls: Bools
    positions: Texts | None = None
    labels: Texts | None = None
    targets: Texts | None = None
    skipped: dict[str, int] = field(default_factory=dict)


def read_map(
    name: str,
    path: Path,
    roles: Roles,
    tiles: Path | None = None,
    output: str | None = None,
    strategy: str | None = None,
) -> RowMap:
    """Read the embeddings of an embedding store (.json), or of a table (.parquet, .csv, .tsv).

    In a table, all columns are features, except those with a role, those to ignore, and those
    whose name begins with `Metadata_`.

    Parameters
    ----------
    name, path
        Name of the map, and its file.
    roles
        Columns of the table, or of the tile table of a store.
    tiles
        Tile table (.parquet) or other table of the rows of a store, in their order.
    output, strategy
        Output and channel strategy to read from a store; None: the first output, all passes.

    Raises
    ------
    UserError
        With everything that is wrong with the columns or values.
    """
    if path.suffix == ".json":
        if tiles is None:
            fix = "Give the tile table of its dataset as `--table`."
            raise user_error(path, "a store does not say what its rows are", fix)
        store = EmbeddingStore(path)
        table, place = _read(tiles), tiles
        if len(table) != len(store):
            what = f"has {len(table)} rows, but {path.name} has {len(store)}"
            raise user_error(tiles, what, "Give the tile table of the same dataset and study.")
        check_tiles(tiles, table, store)
        if strategy is not None:
            corrected = CORRECTED_BY in store.attributes
            stored = strategy if corrected else store_strategy(strategy)
            check_origin(path, store.attributes, {"strategy": stored})
        own = _own_columns(place, table, roles)
        values = store.read(output, strategy)
    else:
        table, place = _read(path), path
        own = _own_columns(place, table, roles)
        values = _features(path, table, {*roles.columns(own), *roles.ignore})
    return _with_roles(name, place, table, values, roles, own)


def _read(path: Path) -> pd.DataFrame:
    """Return a table of people or programs; the only place where maps are read from a file."""
    if path.suffix == ".parquet":
        table = read_parquet(path)
        table.columns = table.columns.map(str)
        return table
    return read_table(path, "table")


def _own_columns(path: Path, table: pd.DataFrame, roles: Roles) -> RoleColumns:
    """Return the columns of a table with a role, all of which it has."""
    columns = list(table.columns)
    own = roles_in(table, roles.named)
    if missing := missing_columns(path, columns, roles.columns(own)):
        raise UserError(missing)
    return own


def _features(path: Path, table: pd.DataFrame, left_out: set[str]) -> Floats32:
    """Return the feature columns, float32 [N, D]; an empty cell is NaN."""
    names = [
        column
        for column in table.columns
        if column not in left_out and not column.startswith(METADATA_PREFIX)
    ]
    if not names:
        fix = "Write one column per feature, in addition to those with a role."
        raise user_error(path, "has no column of features", fix)
    findings = []
    columns = []
    for name in names:
        cells = table[name]
        if not pd.api.types.is_numeric_dtype(cells):
            texts = cells.fillna("").astype(str).str.strip()
            cells = pd.to_numeric(texts.where(texts != "", "nan"), errors="coerce")
            wrong = cells.isna() & ~texts.str.lower().isin(["", "nan"])
            findings += [
                Finding(
                    int(row),
                    name,
                    "number",
                    f'"{texts.at[row]}" is not a number',
                    f'Write a number, or say `--ignore "{name}"` if it is no feature.',
                )
                for row in table.index[wrong]
            ]
        columns.append(cells.to_numpy(dtype=np.float32, na_value=np.nan))
    if findings:
        raise UserError(as_problems(path, findings))
    return np.stack(columns, axis=1)


def _with_roles(
    name: str,
    path: Path,
    table: pd.DataFrame,
    values: Floats32,
    roles: Roles,
    own: RoleColumns,
) -> RowMap:
    entities = texts(table[own.perturbation])
    controls = np.zeros(len(table), dtype=bool)
    if own.control is not None:
        marks = texts(table[own.control])
        controls = np.array(own.are_controls(list(marks)), dtype=bool)
        if not controls.any() and roles.named.control is not None:
            known = ", ".join(sorted(set(marks))[:5])
            wanted = own.control_values or YES
            what = f'no row of column {own.control} is "{", ".join(wanted)}"'
            raise user_error(path, what, f"Give a value of that column; it has {known}.")
    finite = np.isfinite(values).all(axis=1)
    # A direction is needed: a row of zeros has none.
    zero = finite & ~values.any(axis=1)
    nameless = (entities == "") & ~controls
    unbatched = np.zeros(len(table), dtype=bool)
    batches = None
    if own.batch is not None:
        batches = texts(table[own.batch])
        unbatched = batches == ""
    reasons = {
        "values that are not finite": ~finite,
        "zero in all features": zero,
        "no entity": nameless,
        "no batch": unbatched,
    }
    kept = ~np.any(list(reasons.values()), axis=0)
    if not kept.any():
        raise user_error(path, "has no usable row", "Check its values and its columns.")
    return RowMap(
        name=name,
        embeddings=values[kept],
        entities=entities[kept],
        batches=None if batches is None else batches[kept],
        controls=controls[kept],
        positions=texts(table[own.position])[kept] if own.position else None,
        labels=texts(table[roles.labels])[kept] if roles.labels else None,
        targets=texts(table[roles.targets])[kept] if roles.targets else None,
        skipped={reason: int(rows.sum()) for reason, rows in reasons.items() if rows.any()},
    )
