"""Embeddings of rows to relate: of a store, or of a table of features from anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from transferscope.config.channel_strategies import store_strategy
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
    entity
        Column of the gene, protein or compound of a row.
    batch, control, labels, targets
        Columns of the batch, of what tells a control, of labels and of targets; None: there is
        none.
    controls
        Values of the column `control` that mark a negative control.
    ignore
        More columns that are no features.
    """

    entity: str = "group"
    batch: str | None = None
    control: str | None = None
    controls: Sequence[str] = ()
    labels: str | None = None
    targets: str | None = None
    ignore: Sequence[str] = ()

    @property
    def columns(self) -> list[str]:
        """All columns with a role, each once."""
        own = [self.entity, self.batch, self.control, self.labels, self.targets]
        return list(dict.fromkeys(column for column in own if column is not None))


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
    skipped
        Reason -> number of rows left out.
    """

    name: str
    embeddings: Floats32
    entities: Texts
    batches: Texts | None
    controls: Bools
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
            check_origin(path, store.attributes, {"strategy": store_strategy(strategy)})
        _check_columns(place, table, roles)
        values = store.read(output, strategy)
    else:
        table, place = _read(path), path
        _check_columns(place, table, roles)
        values = _features(path, table, roles)
    return _with_roles(name, place, table, values, roles)


def _read(path: Path) -> pd.DataFrame:
    """Return a table of people or programs; the only place where maps are read from a file."""
    if path.suffix == ".parquet":
        table = read_parquet(path)
        table.columns = table.columns.map(str)
        return table
    return read_table(path, "table")


def _check_columns(path: Path, table: pd.DataFrame, roles: Roles) -> None:
    if missing := missing_columns(path, list(table.columns), roles.columns):
        raise UserError(missing)


def _features(path: Path, table: pd.DataFrame, roles: Roles) -> Floats32:
    """Return the feature columns, float32 [N, D]; an empty cell is NaN."""
    left_out = {*roles.columns, *roles.ignore}
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
    name: str, path: Path, table: pd.DataFrame, values: Floats32, roles: Roles
) -> RowMap:
    entities = _texts(table[roles.entity])
    controls = np.zeros(len(table), dtype=bool)
    if roles.control is not None:
        marks = _texts(table[roles.control])
        controls = np.isin(marks, list(roles.controls))
        if not controls.any():
            known = ", ".join(sorted(set(marks))[:5])
            what = f'no row of column {roles.control} is "{", ".join(roles.controls)}"'
            raise user_error(path, what, f"Give a value of that column; it has {known}.")
    finite = np.isfinite(values).all(axis=1)
    # A direction is needed: a row of zeros has none.
    zero = finite & ~values.any(axis=1)
    nameless = (entities == "") & ~controls
    unbatched = np.zeros(len(table), dtype=bool)
    batches = None
    if roles.batch is not None:
        batches = _texts(table[roles.batch])
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
        labels=_texts(table[roles.labels])[kept] if roles.labels else None,
        targets=_texts(table[roles.targets])[kept] if roles.targets else None,
        skipped={reason: int(rows.sum()) for reason, rows in reasons.items() if rows.any()},
    )


def _texts(column: pd.Series[str]) -> Texts:
    filled = column.astype(object).where(column.notna(), "")
    return np.asarray(filled.map(str).str.strip(), dtype=object)
